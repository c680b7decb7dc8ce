"""Check the patch features and coordinates of a file: return valid ones, or say what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.files.hdf5 import first_not_finite
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.slides.patch_grid import PatchGrid

if TYPE_CHECKING:
    import numpy.typing as npt

_FARTHEST_L0 = 1 << 31
"""No slide is wider; larger numbers mean damage or another unit."""

_GRID_SHARE, _GRID_PX, _GRID_ASKED = 32, 4, 2000
"""Neighbours within this share of a patch, or this many pixels, suggest columns and rows; number of patches tested."""


def clean_features(features: npt.NDArray[Any], where: str, patches: int | None = None) -> npt.NDArray[Any]:
    """Return features (N, D), float16 or float32, all finite; an array that already is so is not copied.

    A leading axis of 1 is removed: some public data sets have (1, N, D). `patches`, the number of coordinates, only
    makes the messages more precise.

    Raises
    ------
    FeatureError
        The file has one vector for the whole slide, another shape or type, no patch, or NaN or infinite numbers.
    """
    check_feature_shape(features.shape, features.dtype, where, patches)
    features = features[0] if features.ndim == 3 else features
    if features.dtype not in (np.float16, np.float32):
        with np.errstate(over="ignore"):
            features = features.astype(np.float32)
    if (wrong := first_not_finite(features)) is not None:
        count, row = wrong
        raise FeatureError(
            f"{where}: {count} of {features.size} feature values are NaN or infinite, the first in row {row}"
            f" of {len(features)}; extract the features of this slide again"
        )
    return features


def zeros(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Return zeros that take no memory, for numbers that are not read."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def unread_features(features: npt.NDArray[Any], where: str, patches: int | None = None) -> npt.NDArray[Any]:
    """Return `zeros` of the shape and type that `clean_features` makes of such features; its errors but the last."""
    shape = check_feature_shape(features.shape, features.dtype, where, patches)
    return zeros(shape, features.dtype if features.dtype in (np.float16, np.float32) else np.float32)


def check_feature_shape(
    shape: tuple[int, ...], dtype: Any, where: str, patches: int | None = None
) -> tuple[int, int]:
    """Return (N, D) of a features array of this shape, without reading its numbers.

    Raises
    ------
    FeatureError
        As `clean_features`.
    """
    if np.dtype(dtype).kind != "f":
        raise FeatureError(f"{where}: features are {_kind(dtype)}; floating-point numbers are needed")
    core = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if not shape or 0 in core[:1]:
        raise FeatureError(f"{where}: no patches (features {shape}): a blank slide, or no tissue was found")
    if len(core) == 1:
        of = f" for {patches} patches" if patches is not None else ""
        raise FeatureError(
            f"{where}: features of shape {shape}{of} are one vector for the whole slide; a heatmap needs the"
            " patch features (N, D), in TRIDENT the folder features_..., not slide_features_..."
        )
    if len(core) != 2:
        raise FeatureError(f"{where}: features have shape {shape}; (N, D) or (1, N, D) is needed")
    if core[1] == 0:
        raise FeatureError(f"{where}: features have shape {shape}: no numbers in a row")
    return core[0], core[1]


def _kind(dtype: Any) -> str:
    """Return the name of a number type, such as int64; types that are not numbers are text."""
    return "text" if np.dtype(dtype).kind in "SUO" else str(dtype)


def clean_coords(stored: npt.NDArray[Any], where: str) -> npt.NDArray[np.int64]:
    """Return coordinates (N, 2) as int64; a leading axis of 1 is removed, whole numbers may be stored as floats.

    Raises
    ------
    FeatureError
        There is no patch, another shape, fractions, NaN, or numbers that no slide has.
    """
    coords_l0 = stored[0] if stored.ndim == 3 and stored.shape[0] == 1 else stored
    if coords_l0.size == 0:
        raise FeatureError(f"{where}: no patches (coords {stored.shape}): a blank slide, or no tissue was found")
    if coords_l0.ndim != 2 or coords_l0.shape[1] != 2:
        raise FeatureError(
            f"{where}: coords have shape {stored.shape}; (N, 2) is needed, x and y of each corner"
        )
    if coords_l0.dtype.kind not in "iuf":
        raise FeatureError(f"{where}: coords are {_kind(coords_l0.dtype)}; whole numbers (level-0 pixels) are needed")
    if coords_l0.dtype.kind == "f":
        if (spoilt := first_not_finite(coords_l0)) is not None:
            raise FeatureError(
                f"{where}: {spoilt[0]} of {coords_l0.size} numbers of coords are NaN or infinite, the first in row "
                f"{spoilt[1]}; write the coordinates of this slide again"
            )
        wrong = coords_l0 != np.floor(coords_l0)
        if wrong.any():
            row, count = int(np.argmax(wrong.any(axis=1))), int(wrong.any(axis=1).sum())
            raise FeatureError(
                f"{where}: {count} of {len(coords_l0)} coords are no whole numbers, the first in row {row}:"
                f" {coords_l0[row].tolist()}; level-0 pixels are needed; if they are µm, set"
                " data_arguments.coords_unit: um"
            )
    if (far := np.abs(coords_l0.astype(np.float64)).max()) >= _FARTHEST_L0:
        raise FeatureError(
            f"{where}: coords reach {far:.0f}, beyond any slide: damaged, or not level-0 pixels"
        )
    return np.ascontiguousarray(coords_l0, dtype=np.int64)


def refuse_grid_positions(
    coords_l0: npt.NDArray[np.int64],
    size_l0: tuple[float, float] | None,
    step_l0: tuple[int, int] | None,
    where: str,
) -> None:
    """Raise where coordinates are columns and rows of a grid: most have a neighbour within 1/32 of a patch.

    Parameters
    ----------
    size_l0 : (width, height), optional
        Stated size of a patch; without it, neighbours within 4 pixels count.
    step_l0 : (x, y), optional
        The step that the file states: patches may be this close.

    Raises
    ------
    FeatureError
        Says what the coordinates look like, and where.
    """
    near = _GRID_PX if size_l0 is None else max(size_l0) / _GRID_SHARE
    if step_l0 is not None:
        near = min(near, min(step_l0) - 1)
    if near < 1 or len(coords_l0) < 2:
        return
    # The exact answer takes a hundred times as long. Points this close mostly share a square four times as large, or
    # slightly larger, because shifting bits is cheaper than dividing.
    bits = (4 * int(near) - 1).bit_length()
    cells = np.sort((coords_l0[:, 0] >> bits << 32) + (coords_l0[:, 1] >> bits))
    if 4 * np.count_nonzero(cells[1:] == cells[:-1]) < len(cells):
        return
    from scipy.spatial import cKDTree

    distinct = np.unique(coords_l0, axis=0)
    asked = distinct[:: max(1, len(distinct) // _GRID_ASKED)]
    if len(distinct) < 2:
        return
    distances = np.asarray(cKDTree(distinct).query(asked, k=2, p=np.inf)[0])[:, 1]
    if 2 * np.count_nonzero(distances <= near) > len(asked):
        x, y = coords_l0[0].tolist()
        raise FeatureError(
            f"{where}: coordinates ({x}, {y}), ... are at most {near:g} pixels from each other: they look like columns "
            "and rows of a grid, and level-0 pixels of each patch's top-left corner are needed; multiply them by the "
            "step of the grid in level-0 pixels"
        )


def check_on_slide(grid: PatchGrid, slide_size_l0: tuple[int, int] | None, where: str) -> list[Notice]:
    """Return a note on patches that stick out; refuse a grid that cannot belong to the slide.

    Patches may stick out on every side. None may lie entirely left of or above the slide, and at most half of
    them may have their centre outside the slide.

    Raises
    ------
    FeatureError
        A whole patch has negative coordinates, or most patches are outside `slide_size_l0`.
    """
    size = np.asarray(grid.size_l0)
    beyond = (grid.coords_l0 + size <= 0).any(axis=1)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise FeatureError(
            f"{where}: {int(beyond.sum())} of {len(grid)} patches have negative coords and lie left of or"
            f" above the slide, the first in row {row}: {grid.coords_l0[row].tolist()}; coords are the"
            " top-left corner, x and y, in level-0 pixels"
        )
    if slide_size_l0 is None:
        return []
    centre = grid.coords_l0 + size // 2
    outside = int(((centre < 0) | (centre >= np.asarray(slide_size_l0))).any(axis=1).sum())
    width, height = slide_size_l0
    if 2 * outside > len(grid):
        x, y = (grid.coords_l0 + size).max(axis=0)
        raise FeatureError(
            f"{where}: {outside} of {len(grid)} patches lie outside the slide ({width} x {height} px; the"
            f" patches reach {x} x {y}): it belongs to another slide, or its coordinates are not level-0"
            " pixels"
        )
    text = f"{outside} of {len(grid)} patches lie mostly outside the slide"
    return [Notice("outside_slide", text, outside=outside, patches=len(grid))] if outside else []


def check_slide_size(
    said: tuple[int, int] | None, slide_size_l0: tuple[int, int] | None, where: str
) -> list[Notice]:
    """Return a note when the file was made on a slide of slightly different size; refuse a very different
    size.

    Padding of a few per cent leaves coordinates valid; any other size means another slide or another level 0.
    """
    if said is None or slide_size_l0 is None or said == slide_size_l0:
        return []
    (width, height), (has_width, has_height) = said, slide_size_l0
    text = f"made on a slide of {width} x {height} px, but this one has {has_width} x {has_height}"
    if any(abs(a - b) > 0.02 * b + 512 for a, b in zip(said, slide_size_l0, strict=True)):
        raise FeatureError(
            f"{where}: {text}: another slide, or another level 0; its coordinates would be off"
        )
    return [Notice("slide_size", text)]
