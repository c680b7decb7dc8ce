"""Size of patches and distance of neighbours, from coordinates and attributes.

Names ending ``_l0`` are level-0 pixels; pairs are (x, y) or (width, height).

Files disagree: TRIDENT floors the size (682 where the grid steps by 683), its older versions made the first step
of an overlapping grid a whole patch, CLAM starts a new grid at every piece of tissue, and many files have no
attributes at all. So the step comes from the coordinates, attributes are the check and the fallback, and every guess
leaves a note.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.grid_step import SeenStep, Size, infer_step
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.words import counted

logger = logging.getLogger(__name__)

SizeLike = float | tuple[float, float]
_MOST = 1e9


@dataclass(frozen=True)
class AttributeGeometry:
    """Size and step in the attributes of a file.

    Attributes
    ----------
    size_l0 : (width, height) or None
    step_l0 : (x, y) or None
    """

    size_l0: Size | None
    step_l0: Size | None


def build_grid(
    coords_l0: npt.NDArray[np.int64],
    attributes: Mapping[str, Any],
    *,
    patch_size_l0: SizeLike | None = None,
    seen: SeenStep | None = None,
    where: str = "coordinates",
) -> tuple[PatchGrid, list[Notice]]:
    """Return the grid and notes about guesses.

    The size of a patch comes from the attributes, else from `patch_size_l0`, else it is the step of the
    coordinates (assuming no overlap). It grows to the step when the step is one pixel larger: the size was then floored
    when written, and squares of that size would leave hairline gaps. `seen` is the step that the coordinates show,
    where it is known more precisely than from `coords_l0`.

    Raises
    ------
    FeatureError
        There is no attribute and no argument, and the coordinates show no grid.
    """
    notes: list[Notice] = []
    said = geometry_from_attributes(attributes)
    asked = None if patch_size_l0 is None else _as_size(patch_size_l0, where)
    size = said.size_l0 or asked
    seen = seen or infer_step(coords_l0)
    if said.size_l0 and asked and max(abs(a - b) for a, b in zip(said.size_l0, asked, strict=True)) > 1:
        notes.append(Notice(
            "patch_size", f"patches are {_text(said.size_l0)} by the file's attributes, not {_text(asked)} as asked"
        ))
    if size is None:
        if seen is None:
            raise FeatureError(
                f"{where}: the size of a patch is unknown: no attribute patch_size_level0, and the"
                f" {counted(len(coords_l0), 'patch', 'patches')} show no grid; pass patch_size_l0, the level-0 pixels a"
                " patch covers (in a config data_arguments.patch_size_level0)"
            )
        size = seen.step_l0
        text = f"patch size {_text(size)} taken from the coordinates, assuming no overlap"
        notes.append(Notice("patch_size", text))
    step = tuple(_settle_step(axis, size, said.step_l0, seen) for axis in (0, 1))
    if said.size_l0 is None and asked and any(t > s + 1 for t, s in zip(step, asked, strict=True)):
        text = f"patches of {_text(asked)} on a grid of {_text((step[0], step[1]))} leave gaps"
        notes.append(Notice("gaps", text))
    width, height = (t if t == s + 1 else s for t, s in zip(step, size, strict=True))
    return PatchGrid(coords_l0, (width, height), (step[0], step[1])), notes


def geometry_from_attributes(attributes: Mapping[str, Any]) -> AttributeGeometry:
    """Return size and step in TRIDENT's or CLAM's attributes, None for what they do not say.

    In this order: ``patch_size_level0``; ``patch_size`` * ``level0_magnification`` /
    ``target_magnification``; CLAM's ``patch_size`` * ``downsample`` of ``patch_level``. All are floored, as in both
    programs. Folder names are never used: they have been wrong.
    """
    explicit = positive_pair(attributes, "patch_size_level0")
    patch = positive_pair(attributes, "patch_size")
    source, target = (positive_pair(attributes, f"{name}_magnification") for name in ("level0", "target"))
    if source and target:
        ratio: Size | tuple[float, float] | None = (source[0] / target[0],) * 2
    elif (downsample := positive_pair(attributes, "downsample")) is not None:
        ratio = downsample
    elif (level := attributes.get("patch_level")) is not None and np.all(np.asarray(level) == 0):
        ratio = (1.0, 1.0)
    else:
        ratio = None
    if explicit is not None:
        size: Size | None = _floor(explicit)
    elif patch is not None and ratio is not None:
        size = _floor((patch[0] * ratio[0], patch[1] * ratio[1]))
    else:
        size = None
    step = positive_pair(attributes, "step_level0")
    return AttributeGeometry(
        size, _floor(step) if step else _trident_step(attributes, patch, explicit, ratio)
    )


def slide_size(attributes: Mapping[str, Any]) -> Size | None:
    """Return (width, height) of the slide's level 0 from the attributes, None when they do not state it."""
    try:
        width, height = int(attributes["level0_width"]), int(attributes["level0_height"])
    except (KeyError, TypeError, ValueError, OverflowError):  # infinite
        return None
    return (width, height) if min(width, height) > 0 else None


def _trident_step(
    attributes: Mapping[str, Any],
    patch: tuple[float, float] | None,
    explicit: tuple[float, float] | None,
    ratio: tuple[float, float] | None,
) -> Size | None:
    """Return round(patch * r) - round(overlap * r), where r is level-0 pixels per target pixel; None without
    `overlap`.
    """
    if patch is None or "overlap" not in attributes:
        return None
    if ratio is None and explicit is not None:
        ratio = (explicit[0] / patch[0], explicit[1] / patch[1])
    overlap = positive_pair(attributes, "overlap") or (0.0, 0.0)
    if ratio is None:
        return None
    x, y = (round(p * r) - round(o * r) for p, o, r in zip(patch, overlap, ratio, strict=True))
    return (x, y) if min(x, y) >= 1 else None


def _settle_step(axis: int, size: Size, said: Size | None, seen: SeenStep | None) -> int:
    """Return the step of one axis: that of the coordinates, unless they are too sparse to show it."""
    expected = (said or size)[axis]
    if seen is None or seen.step_l0[axis] * 32 < size[axis]:
        return expected
    step = seen.step_l0[axis]
    # A multiple of the expected step means that no two neighbours are present. Rounding may add a pixel per step.
    multiple = round(step / expected)
    if not seen.is_sure and multiple >= 2 and abs(step - multiple * expected) <= multiple:
        return step // multiple if step % multiple == 0 else expected
    return step


def positive_pair(attributes: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """Return a positive attribute as a pair, None when it is absent or not a positive number below a thousand million.

    No slide is as wide.
    """
    try:
        given = attributes.get(key)
        values = np.asarray(np.nan if given is None else given, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        return None
    if len(values) not in (1, 2) or not ((values > 0) & (values < _MOST)).all():
        return None
    return float(values[0]), float(values[-1])


def _floor(pair: tuple[float, float]) -> Size | None:
    # 511.99999999 from a division means 512.
    width, height = (math.floor(value + 1e-6) for value in pair)
    return (width, height) if min(width, height) >= 1 else None


def _as_size(value: SizeLike, where: str) -> Size:
    pair = positive_pair({"size": value}, "size")
    size = _floor(pair) if pair else None
    if size is None:
        raise FeatureError(
            f"{where}: patch_size_l0 must be a positive number or (width, height), got {value!r}"
        )
    return size


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]} px"
