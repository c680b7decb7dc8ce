"""Masks of labels, TIFF or PNG, and which share of each patch has which label.

Names ending ``_l0`` are level-0 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError
from mil_heatmaps.files.stand_ins import refuse_no_file
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.frames import moved
from mil_heatmaps.slides.header_checks import refuse_large_tiles
from mil_heatmaps.slides.jpeg_header import jpeg_size
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import Box, SlideSpace
from mil_heatmaps.slides.tiff_headers import JPEG_COMPRESSIONS
from mil_heatmaps.words import said_by

_MOST_BYTES = 250_000_000
"""Of the pixels: a pixel is one byte in the masks of GrandQC, HistoQC and QuPath."""

_SAME_SHAPE = 0.02
"""Share by which the ratio of the sides of slide and mask may differ: masks are rounded to whole pixels."""


@dataclass(frozen=True, repr=False, eq=False)
class LabelMask:
    """A mask on its slide.

    Attributes
    ----------
    values : (H, W) of whole numbers
    downsample : (x, y)
        Level-0 pixels a pixel.
    corner_l0 : (x, y)
        Of its first pixel: (0, 0), or the corner of the scanned area.
    """

    values: npt.NDArray[Any]
    downsample: tuple[float, float]
    corner_l0: tuple[int, int] = (0, 0)

    @property
    def notices(self) -> list[Notice]:
        """What is to be said of its place."""
        return [moved("pixels of the mask", self.corner_l0)] if any(self.corner_l0) else []

    def shares(self, grid: PatchGrid, labels: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return which share of each patch has one of `labels`, (N,), 0 to 1; see `label_shares`."""
        moved_grid = replace(grid, coords_l0=grid.coords_l0 - np.asarray(self.corner_l0))
        return label_shares(self.values, self.downsample, moved_grid, labels)


def read_label_mask(path: Path, space: SlideSpace, downsample: float | None = None) -> LabelMask:
    """Return a mask of whole numbers.

    Of a pyramid the finest level is taken that has at most 250 million bytes. The scale comes from the sizes of mask
    and slide, or scanned area, unless it is given for the mask's first level.

    Raises
    ------
    TissueError
        No image of one channel, too large, or of another shape than the slide.
    """
    full, values = _read(path)
    if values.ndim == 3 and (values.shape[2] == 1 or (values[..., :1] == values[..., 1:3]).all()):
        values = values[..., 0]  # a grey picture that was saved in colour
    if values.ndim != 2 or values.dtype.kind not in "uib":
        raise TissueError(f"{path} is not a mask of labels: it holds {values.dtype} of shape {values.shape}")
    height, width = values.shape
    if not values.size or not all(full):
        raise TissueError(f"{path} is not a mask of labels: it has {width} x {height} pixels")
    scale = None if downsample is None else (downsample * full[1] / width, downsample * full[0] / height)
    if space.size_l0 is None:
        if scale is None:
            raise TissueError(f"{path}: the size of the slide is not known: give insight_arguments.mask_downsample")
        return LabelMask(values, scale)
    areas = _areas(space)
    fits = [area for area in areas if _fits(area, (width, height), scale)]
    if not fits:
        size = f"the slide, {space.size_l0[0]} x {space.size_l0[1]}"
        size += "" if space.scanned_l0 is None else f", nor of its scanned area, {areas[-1][2]} x {areas[-1][3]}"
        at = "" if downsample is None else f" at a downsample of {downsample:g}"
        raise TissueError(
            f"{path}: a mask of {full[1]} x {full[0]} pixels{at} has not the shape of {size}: is it of another slide?"
        )
    masks = [
        LabelMask(values, scale or (area[2] / width, area[3] / height), (area[0], area[1])) for area in fits
    ]
    # A mask that may be of either is of the slide where all that it marks was scanned.
    return masks[-1] if len(masks) > 1 and not _within(masks[0], areas[-1]) else masks[0]


def _areas(space: SlideSpace) -> list[Box]:
    """Return the areas that a mask may cover: the slide, and the scanned area."""
    assert space.size_l0 is not None
    whole: Box = (0, 0, *space.size_l0)
    if space.scanned_l0 is None or space.frame == "slide":
        return [whole]
    return [space.scanned_l0] if space.frame == "bounds" else [whole, space.scanned_l0]


def _fits(area: Box, size_px: tuple[int, int], scale: tuple[float, float] | None) -> bool:
    """Whether a mask of so many pixels, of a given scale or any, has the shape of an area."""
    sides = area[2:]
    if scale is not None:
        off = [abs(s * n - side) / side for s, n, side in zip(scale, size_px, sides, strict=True)]
        return max(off) <= 0.05 + max(scale) / min(sides)
    x, y = sides[0] / size_px[0], sides[1] / size_px[1]
    return abs(x / y - 1) <= _SAME_SHAPE + 1 / min(size_px)


def _within(mask: LabelMask, area: Box) -> bool:
    """Whether all that a mask marks lies in an area, up to a pixel; what its first pixel holds marks nothing."""
    drawn = mask.values != mask.values[0, 0]
    for axis in (0, 1):
        marked = np.flatnonzero(drawn.any(axis=axis))
        if not len(marked):
            return True
        step, start = mask.downsample[axis], area[axis]
        if (marked[0] + 1) * step < start or marked[-1] * step > start + area[2 + axis]:
            return False
    return True


def _read(path: Path) -> tuple[tuple[int, int], npt.NDArray[Any]]:
    """Return the (height, width) of the first level, and the pixels of the level that is used."""
    refuse_no_file(path, TissueError)
    try:
        return _png(path) if path.suffix.lower() == ".png" else _tiff(path)
    except TissueError:
        raise
    except Exception as error:  # a damaged picture fails in as many ways as there are decoders
        raise TissueError(f"cannot read {path}: {said_by(error)}") from error


def _png(path: Path) -> tuple[tuple[int, int], npt.NDArray[Any]]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height * len(image.getbands()) > _MOST_BYTES:
                raise TissueError(f"{path} has {image.width} x {image.height} pixels: save the mask smaller")
            return (image.height, image.width), np.asarray(image)
    except Image.DecompressionBombError as error:  # Pillow's own limit, of pixels
        raise TissueError(f"{path}: {said_by(error).partition(',')[0]}: save the mask smaller, or as TIFF") from error


def _tiff(path: Path) -> tuple[tuple[int, int], npt.NDArray[Any]]:
    import tifffile

    refuse_large_tiles(path)
    with tifffile.TiffFile(path) as file:
        levels = file.series[0].levels
        full = _sides(levels[0])
        for level in levels:
            if math.prod(level.shape) * level.dtype.itemsize <= _MOST_BYTES:
                _check_jpegs(level, path)
                return full, np.asarray(level.asarray(maxworkers=1))
    raise TissueError(
        f"{path} has {full[1]} x {full[0]} pixels and no smaller level: save the mask as a pyramid, or smaller"
    )


def _check_jpegs(level: Any, path: Path) -> None:
    """Refuse a JPEG inside that claims to be larger than its tile or strip: its decoder would believe it."""
    for page in level.pages:
        if page is None or int(page.compression) not in JPEG_COMPRESSIONS:
            continue
        most = max(page.tilewidth or 0, page.imagewidth), max(page.tilelength or 0, page.imagelength)
        for data, number in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
            size = jpeg_size(data or b"")
            if size is not None and (size[0] > most[0] or size[1] > most[1]):
                raise TissueError(f"{path}: its part {number} claims {size[0]} x {size[1]} pixels, more than there are")


def _sides(level: Any) -> tuple[int, int]:
    shape = dict(zip(level.axes, level.shape, strict=True))
    return int(shape["Y"]), int(shape["X"])


def label_shares(
    mask: npt.NDArray[Any], downsample: tuple[float, float], grid: PatchGrid, labels: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return which share of each patch has one of `labels`, (N,), 0 to 1; what lies beyond the mask has none.

    Pixels of the mask count by the area they share with a patch, from sums over rows and columns.
    """
    scale = np.asarray(downsample)
    low = np.clip(grid.coords_l0 / scale, 0, mask.shape[::-1])
    high = np.clip((grid.coords_l0 + np.asarray(grid.size_l0)) / scale, 0, mask.shape[::-1])
    rows, columns = (np.minimum(np.concatenate([low[:, k], high[:, k]]).astype(np.intp), mask.shape[1 - k] - 1)
                     for k in (1, 0))  # fmt: skip
    # Sums are made only at the rows and columns where a patch begins or ends: of all they would take 8 bytes a pixel.
    rows, columns = (np.unique(np.concatenate([[0], found, found + 1])) for found in (rows, columns))
    total = _sums_up_to(mask, labels, rows, columns)

    def up_to(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The sum left of x and above y, linear within a pixel."""
        i, j = (np.minimum(v.astype(np.intp), n - 1) for v, n in ((y, mask.shape[0]), (x, mask.shape[1])))
        fy, fx = y - i, x - j
        top, left = np.searchsorted(rows, i), np.searchsorted(columns, j)
        below, right = np.searchsorted(rows, i + 1), np.searchsorted(columns, j + 1)
        upper = total[top, left] * (1 - fx) + total[top, right] * fx
        lower = total[below, left] * (1 - fx) + total[below, right] * fx
        return np.asarray(upper * (1 - fy) + lower * fy)

    inside = up_to(high[:, 0], high[:, 1]) - up_to(low[:, 0], high[:, 1])
    inside -= up_to(high[:, 0], low[:, 1]) - up_to(low[:, 0], low[:, 1])
    area = grid.size_l0[0] / scale[0] * (grid.size_l0[1] / scale[1])
    return np.asarray(np.clip(inside / area, 0, 1))


def _sums_up_to(
    mask: npt.NDArray[Any], labels: tuple[int, ...], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Return how many pixels above row i and left of column j have one of `labels`, for the rows and columns given."""
    total = np.zeros((len(rows), len(columns)), np.float64)
    for k in range(1, len(rows)):
        band = np.isin(mask[rows[k - 1] : rows[k]], labels).sum(axis=0, dtype=np.int64)
        total[k] = total[k - 1] + np.concatenate([[0], np.cumsum(band)])[columns]
    return total
