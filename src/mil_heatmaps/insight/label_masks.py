"""Masks of labels, TIFF or PNG, and which share of each patch has which label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.words import said_by

_MOST_PIXELS = 250_000_000
_SAME_SHAPE = 0.02
"""Share by which the ratio of the sides of slide and mask may differ: masks are rounded to whole pixels."""


def read_label_mask(
    path: Path, size_l0: tuple[int, int] | None, downsample: float | None = None
) -> tuple[npt.NDArray[Any], tuple[float, float]]:
    """Return a mask of whole numbers, (H, W), and how many level-0 pixels one of its pixels is along x and y.

    Of a pyramid the finest level is taken that has at most 250 million pixels. The scale comes from the two sizes,
    unless it is given for the mask's first level.

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
    if downsample is not None:
        scale = downsample * full[1] / width, downsample * full[0] / height
        off = [abs(s * n - of) / of for s, n, of in zip(scale, (width, height), size_l0 or scale, strict=True)]
        if size_l0 is not None and max(off) > 0.05 + max(scale) / min(size_l0):
            raise TissueError(
                f"{path}: {full[1]} x {full[0]} pixels at a downsample of {downsample:g} are not the slide's "
                f"{size_l0[0]} x {size_l0[1]}"
            )
        return values, scale
    if size_l0 is None:
        raise TissueError(f"{path}: the size of the slide is not known: give insight_arguments.mask_downsample")
    return values, scale_of(path, (width, height), size_l0)


def scale_of(path: Path, size_px: tuple[int, int], size_l0: tuple[int, int]) -> tuple[float, float]:
    """Return level-0 pixels a pixel of a mask along x and y; TissueError where the mask has another shape."""
    x, y = size_l0[0] / size_px[0], size_l0[1] / size_px[1]
    slack = _SAME_SHAPE + 1 / min(size_px)
    if abs(x / y - 1) > slack:
        raise TissueError(
            f"{path}: a mask of {size_px[0]} x {size_px[1]} pixels has not the shape of the slide, {size_l0[0]} x "
            f"{size_l0[1]}: is it of another slide?"
        )
    return x, y


def _read(path: Path) -> tuple[tuple[int, int], npt.NDArray[Any]]:
    """Return the (height, width) of the first level, and the pixels of the level that is used."""
    try:
        if path.suffix.lower() == ".png":
            from PIL import Image

            with Image.open(path) as image:
                return (image.height, image.width), np.asarray(image)
        import tifffile

        with tifffile.TiffFile(path) as file:
            levels = file.series[0].levels
            full = _sides(levels[0])
            for level in levels:
                if np.prod(_sides(level)) <= _MOST_PIXELS:
                    return full, np.asarray(level.asarray())
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TissueError(f"cannot read {path}: {said_by(error)}") from error
    raise TissueError(
        f"{path} has {full[1]} x {full[0]} pixels and no smaller level: save the mask as a pyramid, or smaller"
    )


def _sides(level: Any) -> tuple[int, int]:
    shape = dict(zip(level.axes, level.shape, strict=True))
    return int(shape["Y"]), int(shape["X"])


def label_shares(
    mask: npt.NDArray[Any], downsample: tuple[float, float], grid: PatchGrid, labels: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return which share of each patch has one of `labels`, (N,), 0 to 1; what lies beyond the mask has none.

    Pixels of the mask count by the area they share with a patch, from sums over rows and columns.
    """
    chosen = np.isin(mask, labels)
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.float64)
    np.cumsum(np.cumsum(chosen, axis=0, dtype=np.float64), axis=1, out=total[1:, 1:])
    scale = np.asarray(downsample)
    low = np.clip(grid.coords_l0 / scale, 0, mask.shape[::-1])
    high = np.clip((grid.coords_l0 + np.asarray(grid.size_l0)) / scale, 0, mask.shape[::-1])

    def up_to(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The sum left of x and above y, linear within a pixel."""
        i, j = (np.minimum(v.astype(np.intp), n - 1) for v, n in ((y, mask.shape[0]), (x, mask.shape[1])))
        fy, fx = y - i, x - j
        upper = total[i, j] * (1 - fx) + total[i, j + 1] * fx
        lower = total[i + 1, j] * (1 - fx) + total[i + 1, j + 1] * fx
        return np.asarray(upper * (1 - fy) + lower * fy)

    inside = up_to(high[:, 0], high[:, 1]) - up_to(low[:, 0], high[:, 1])
    inside -= up_to(high[:, 0], low[:, 1]) - up_to(low[:, 0], low[:, 1])
    area = grid.size_l0[0] / scale[0] * (grid.size_l0[1] / scale[1])
    return np.asarray(np.clip(inside / area, 0, 1))
