"""The unit of coordinates: level-0 pixels, or micrometres as in STAMP, which are converted to pixels here.

Names ending ``_l0`` are level-0 pixels, ``_um`` micrometres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.geometry import geometry_from_attributes, positive_pair
from mil_heatmaps.features.grid_step import SeenStep, infer_step
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace

FEATS = "dataset feats"
"""Key in attributes of a file with data that TRIDENT and CLAM do not write, in words: `feats`, or float coords.

The program that wrote it may count in other pixels, or in µm.
"""

_STAMP_1_PX = 224
_STAMP_1_UM = 256.0
"""STAMP before 2.0 resampled slides so that patches of 224 pixels cover 256 µm, and counts those pixels."""

_BY_FILE, _BY_KEY, _BY_STEP = "as the file says", "as coords_unit says", "as their step of 224 shows"
BY_NOBODY = "as nothing says otherwise"

_WORDS: dict[str, float | None] = {
    **dict.fromkeys(("px", "pixel", "pixels"), None),
    **dict.fromkeys(("um", "\u03bcm", "micron", "microns"), 1.0),  # the micro sign case-folds to the Greek letter
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 1e4),
}


@dataclass(frozen=True)
class Unit:
    """The unit of coordinates.

    Attributes
    ----------
    um : float or None
        Micrometres per unit; None for level-0 pixels.
    name : str
        For messages.
    said : str
        How the unit is known.
    """

    um: float | None
    name: str = "px"
    said: str = _BY_FILE


@dataclass(frozen=True)
class InPixels:
    """Coordinates in level-0 pixels, not yet checked, and their description.

    Attributes
    ----------
    values : as stored, or (N, 2) float64 of whole numbers
    attributes : with the patch size in pixels, where the file states it in micrometres
    seen : the step in micrometres; pixels are rounded and show it only approximately
    """

    values: npt.NDArray[Any]
    attributes: dict[str, Any]
    seen: SeenStep | None = None
    notes: list[Notice] = field(default_factory=list)


def unit_of(attributes: Mapping[str, Any], values: npt.NDArray[Any] | None, space: SlideSpace, where: str) -> Unit:
    """Return the unit of coordinates: from the file, else from `space.unit`, else pixels.

    `values` are used only for files with `feats` and no stated unit; otherwise they may be None.

    Raises
    ------
    FeatureError
        The unit is unknown, or `feats` have a unit that cannot be determined.
    """
    word = attributes.get("unit")
    folded = word.strip().casefold() if isinstance(word, str) else ""
    if folded in _WORDS:
        return Unit(_WORDS[folded], "px" if _WORDS[folded] is None else "µm" if _WORDS[folded] == 1 else folded)
    if not folded and "tile_size_um" in attributes:
        return Unit(1.0, "µm")
    if space.unit != "auto":
        return Unit(1.0, "µm", _BY_KEY) if space.unit == "um" else Unit(None, said=_BY_KEY)
    if folded:
        raise FeatureError(
            f"{where}: its coordinates are in {word!r}, a unit that is not known; known are px, um, nm, mm and cm, and "
            "data_arguments.coords_unit (px or um) decides"
        )
    finite = values is not None and (values.dtype.kind != "f" or bool(np.isfinite(values).all()))
    if FEATS in attributes and values is not None and finite and geometry_from_attributes(attributes).size_l0 is None:
        if not _is_stamp_1(attributes, values):
            raise FeatureError(
                f"{where}: holds {attributes[FEATS]} and does not say whether its coords are pixels or µm (no "
                "attribute unit, tile_size_um or patch_size_level0); say it with data_arguments.coords_unit: px or um"
            )
        name = f"pixels of {_STAMP_1_UM:g}/{_STAMP_1_PX} µm (STAMP before 2.0)"
        return Unit(_STAMP_1_UM / _STAMP_1_PX, name, _BY_STEP)
    return Unit(None, said=BY_NOBODY)


def needed_mpp(unit: Unit, space: SlideSpace, where: str) -> float:
    """Return the resolution that coordinates in `unit` need; FeatureError when it is unknown."""
    if space.mpp is None:
        raise FeatureError(
            f"{where}: its coordinates are {unit.name}, {unit.said}, and the slide's resolution (mpp) is not known, "
            "without which they cannot be turned into pixels; give it in the column mpp of the process list, or as "
            "data_arguments.slide_mpp"
        )
    return space.mpp


def in_pixels(values: npt.NDArray[Any], attributes: Mapping[str, Any], space: SlideSpace, where: str) -> InPixels:
    """Return coordinates, and the patch attributes, in level-0 pixels.

    Raises
    ------
    FeatureError
        As `unit_of`; or micrometres on a slide of unknown resolution.
    """
    unit = unit_of(attributes, values, space, where)
    notes = _against_key(unit, space)
    tile_um = _tile_um(attributes, unit)
    if unit.um is None:
        if tile_um is not None and space.mpp is not None and geometry_from_attributes(attributes).size_l0 is None:
            return InPixels(values, _with_size(attributes, tile_um, space.mpp), notes=notes)
        return InPixels(values, dict(attributes), notes=notes)
    mpp = needed_mpp(unit, space, where)
    if values.dtype.kind not in "iuf" or values.size == 0:  # errors in them are reported where they are checked
        return InPixels(values, dict(attributes), notes=notes)
    values_um = values.astype(np.float64) * unit.um
    text = f"coordinates are {unit.name}, {unit.said}: turned into pixels at {mpp:.6g} µm per pixel"
    notes.append(Notice("units", text))
    described = dict(attributes) if tile_um is None else _with_size(attributes, tile_um, mpp)
    return InPixels(np.rint(values_um / mpp), described, _seen_step(values_um, mpp), notes)


def corners_um(
    values: npt.NDArray[Any], attributes: Mapping[str, Any], grid: PatchGrid, space: SlideSpace, where: str
) -> npt.NDArray[np.float64] | None:
    """Return corners (N, 2) in micrometres: as stored where the file has a unit of length, else from the grid.

    None for pixels of a slide whose resolution is unknown.
    """
    unit = unit_of(attributes, values, space, where)
    if unit.um is not None:
        return values.astype(np.float64).reshape(-1, 2) * unit.um
    return None if space.mpp is None else np.asarray(grid.coords_l0 * space.mpp, np.float64)


def check_extent(
    reach_l0: tuple[int, int], attributes: Mapping[str, Any], space: SlideSpace, where: str
) -> list[Notice]:
    """Return a note on micrometres that cover less than a quarter of the slide, or more than four times the slide.

    Parameters
    ----------
    reach_l0 : (x, y)
        Extent of the patches.
    """
    if space.size_l0 is None or space.mpp is None or unit_of(attributes, None, space, where).um is None:
        return []
    shares = [reach / side for reach, side in zip(reach_l0, space.size_l0, strict=True)]
    if 0.25 <= max(shares) <= 4:
        return []
    (x, y), (width, height) = ([round(side * space.mpp) for side in pair] for pair in (reach_l0, space.size_l0))
    text = (
        f"coordinates reach {x} x {y} µm, but the slide has {width} x {height} µm at {space.mpp:.6g} µm per pixel: "
        "compare the resolution with that of the features"
    )
    return [Notice("units", text)]


def _is_stamp_1(attributes: Mapping[str, Any], values: npt.NDArray[Any]) -> bool:
    tile = positive_pair(attributes, "tile_size")
    if tile is not None:
        return round(tile[0]) == _STAMP_1_PX
    points = values[0] if values.ndim == 3 and len(values) == 1 else values
    if points.dtype.kind not in "iuf" or points.ndim != 2 or points.shape[1] != 2:
        return False
    gaps = [float(np.diff(distinct).min()) for axis in (0, 1) if len(distinct := np.unique(points[:, axis])) > 1]
    return bool(gaps) and round(min(gaps)) == _STAMP_1_PX


def _tile_um(attributes: Mapping[str, Any], unit: Unit) -> tuple[float, float] | None:
    """Return width and height of a patch in micrometres, where the file states them."""
    if (tile := positive_pair(attributes, "tile_size_um")) is not None:
        return tile
    if unit.um is None:
        return None
    if (tile := positive_pair(attributes, "tile_size")) is not None:
        return tile[0] * unit.um, tile[1] * unit.um
    return (_STAMP_1_UM, _STAMP_1_UM) if unit.um == _STAMP_1_UM / _STAMP_1_PX else None


def _with_size(attributes: Mapping[str, Any], tile_um: tuple[float, float], mpp: float) -> dict[str, Any]:
    size_l0 = np.maximum(1, np.rint(np.array(tile_um) / mpp))
    return {**attributes, "patch_size_level0": size_l0}


def _seen_step(values_um: npt.NDArray[np.float64], mpp: float) -> SeenStep | None:
    """Return the step of a grid in micrometres, as pixels, rounded up: 128.5 pixels (128 and 129 in turn) gives 129.

    So squares of that size leave no gaps.
    """
    points = values_um.reshape(-1, 2) if values_um.shape[-1:] == (2,) else np.empty((0, 2))
    if len(points) < 2 or not np.isfinite(points).all() or np.abs(points).max() > 1e8:
        return None
    seen = infer_step(np.rint(points * 10).astype(np.int64))  # float32 resolves a tenth of a µm on every slide
    if seen is None:
        return None
    steps = []
    for span, rough in zip(np.ptp(points, axis=0).tolist(), seen.step_l0, strict=True):
        count = round(span * 10 / rough)
        step_um = span / count if count and abs(span * 10 / count - rough) < 0.5 else rough / 10
        steps.append(max(1, math.ceil(step_um / mpp - 0.01)))
    return SeenStep((steps[0], steps[1]), seen.is_sure)


def _against_key(unit: Unit, space: SlideSpace) -> list[Notice]:
    if unit.said != _BY_FILE or space.unit == "auto" or (unit.um is None) == (space.unit == "px"):
        return []
    return [Notice("units", f"coordinates are {unit.name}, as the file says, not {space.unit} as coords_unit does")]
