"""Slideflow's bags: ``S.pt`` with the centres of its tiles in ``S.index.npz``, and ``bags_config.json`` beside them.

Names ending ``_l0`` are level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.checks import clean_coords
from mil_heatmaps.files.arrays import read_arrays
from mil_heatmaps.files.json_files import read_json
from mil_heatmaps.numpy_later import np
from mil_heatmaps.slides.slide_space import SlideSpace

if TYPE_CHECKING:
    import numpy.typing as npt

CENTRES = "slideflow centres"
"""Key in attributes of coordinates that are the centres of tiles, in level-0 pixels."""

CONFIG = "bags_config.json"
_INDEX_ENDS = (".index.npz", ".index.npy")
_FARTHEST_MAGNIFICATION = 2.0
_MPP_AT_1X = 10.0


def index_beside(feature_file: Path) -> Path | None:
    """Return the index of a bag ``S.pt``, None where there is none beside it."""
    return index_of_stem(feature_file.parent, feature_file.stem) if feature_file.suffix == ".pt" else None


def index_of_stem(folder: Path, stem: str) -> Path | None:
    """Return the index of the bag `stem` in a folder, None where there is none."""
    candidates = (folder / (stem + end) for end in _INDEX_ENDS)
    return next((path for path in candidates if path.is_file()), None)


def settings_beside(path: Path) -> dict[str, Any]:
    """Return the tile settings in ``bags_config.json`` beside a file, empty without one; FeatureError if damaged."""
    return _config(path.with_name(CONFIG))


def is_index(path: Path) -> bool:
    """Say whether a file is a slideflow index, by its name."""
    return path.name.endswith(_INDEX_ENDS)


def config_beside(path: Path) -> list[Path]:
    """Return the settings file beside a slideflow index, which has the tile size; none for any other file."""
    config = path.with_name(CONFIG)
    return [config] if is_index(path) and config.is_file() else []


def read_index(path: Path) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Return the centres (N, 2) of an index as stored, and the tile attributes: `CENTRES`, tile_px, tile_um.

    Raises
    ------
    FeatureError
        The file is damaged or has more than numbers (nothing pickled is read); or ``bags_config.json`` is invalid.
    """
    arrays = read_arrays(path, FeatureError)
    if not arrays:
        raise FeatureError(f"{path}: no index of slideflow's, which has one array")
    values = arrays["arr_0"] if "arr_0" in arrays else next(iter(arrays.values()))
    return values, {CENTRES: True, **_config(path.with_name(CONFIG))}


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    told = read_json(path, FeatureError)
    if not isinstance(told, dict):
        raise FeatureError(f"{path}: holds a {type(told).__name__}, not slideflow's settings of bags")
    encoder = told.get("extractor")
    encoder = encoder.get("class") if isinstance(encoder, dict) else encoder
    plain = {"tile_px": told.get("tile_px"), "tile_um": told.get("tile_um"), "tile_size_px": told.get("tile_px")}
    named = {"extractor": encoder.rpartition(".")[2]} if isinstance(encoder, str) else {}
    return {key: value for key, value in plain.items() if value is not None} | named


def corners_of_centres(
    centres: npt.NDArray[Any],
    attributes: Mapping[str, Any],
    space: SlideSpace,
    patch_size_l0: float | tuple[float, float] | None,
    where: str,
) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Return the corners (N, 2) of tiles, and attributes with their size: centre - int(full / 2), as slideflow does.

    Raises
    ------
    FeatureError
        The size is unknown: no `bags_config.json`, no resolution, no level of that magnification, and no
        `patch_size_l0`.
    """
    full = tile_size_l0(attributes, space, patch_size_l0, where)
    corners = clean_coords(centres, where) - full // 2
    told = {key: value for key, value in attributes.items() if key not in (CENTRES, "tile_um", "tile_px")}
    return corners, {**told, "patch_size_level0": full}


def tile_size_l0(
    attributes: Mapping[str, Any],
    space: SlideSpace,
    patch_size_l0: float | tuple[float, float] | None,
    where: str,
) -> int:
    """Return how many level-0 pixels a tile covers; errors are those of `corners_of_centres`."""
    tile_um, tile_px = attributes.get("tile_um"), attributes.get("tile_px")
    missing = f"no {CONFIG} with tile_um lies beside it" if tile_um is None else ""
    if tile_um is not None and space.mpp is None:
        missing = f"{CONFIG} says tile_um {tile_um}, and the slide's resolution (mpp) is not known"
    if tile_um is not None and space.mpp is not None:
        if isinstance(tile_um, int | float) and not isinstance(tile_um, bool):
            full = int(tile_um / space.mpp) if 0 < tile_um < 1e6 else 0
        else:
            full = _at_magnification(str(tile_um), tile_px, space, where)
        if full < 1:
            raise FeatureError(
                f"{where}: {CONFIG} says tile_um {tile_um!r} and tile_px {tile_px!r}, of which no size of a tile "
                "follows: a tile_um in µm, or a magnification such as 20x with tile_px, is needed"
            )
        return full
    if patch_size_l0 is not None:
        return int(np.ravel(patch_size_l0)[0])
    raise FeatureError(
        f"{where}: slideflow's coordinates are centres of tiles, and {missing}, so the size of a tile is unknown: put "
        f"the {CONFIG} of these bags there, give the resolution (column mpp, or data_arguments.slide_mpp), or set "
        "data_arguments.patch_size_level0 to the level-0 pixels a tile covers"
    )


def _at_magnification(text: str, tile_px: Any, space: SlideSpace, where: str) -> int:
    """Return the size of a tile that was cut at "20x": at the level of the nearest magnification."""
    assert space.mpp is not None
    try:
        wanted = float(text.lower().removesuffix("x"))
        pixels = float(tile_px)
    except (TypeError, ValueError, OverflowError):
        return 0
    if not (0 < wanted < 1e6 and 0 < pixels < 1e6):  # NaN is neither
        return 0
    downsamples = space.downsamples or (1.0,)
    offered = [_MPP_AT_1X / (downsample * space.mpp) for downsample in downsamples]
    level = min(range(len(offered)), key=lambda i: abs(offered[i] - wanted))
    if abs(offered[level] - wanted) > _FARTHEST_MAGNIFICATION:
        there = ", ".join(f"{value:.3g}x" for value in offered)
        raise FeatureError(
            f"{where}: its tiles were cut at {text}, and the slide's levels are {there}: none is within "
            f"{_FARTHEST_MAGNIFICATION:g} of it; compare the slide, and its resolution ({space.mpp:.6g} µm per pixel)"
        )
    return int(downsamples[level] * pixels)
