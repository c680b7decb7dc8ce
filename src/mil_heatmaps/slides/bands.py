"""Cut a tall read into bands, one OpenSlide call each, so that OpenSlide does not interpolate.

Names ending ``_px`` are rows of the level, ``_l0`` level-0 pixels.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

ON_PIXEL = 0.003
"""Distance in level pixels up to which a level-0 corner counts as lying on a pixel of the level.

OpenSlide interpolates when a corner lies between two pixels. Below 1/256 of a pixel it does not (measured).
"""

CALL_PIXELS = 4 << 20
"""Pixels of one OpenSlide call, about 60 MB during conversion; up to four times as many if necessary."""


@dataclass(frozen=True)
class Band:
    """Rows `start_px` to `stop_px` (not included); the first lies `start_l0` level-0 pixels below the top."""

    start_px: int
    stop_px: int
    start_l0: int


def cut_bands(downsample: float, width_px: int, height_px: int, call_pixels: int = CALL_PIXELS) -> list[Band]:
    """Return bands that cover rows 0 to `height_px` of a read of width `width_px`, in order.

    A level-0 corner is a whole number, so at a downsample of 4.0007 only a few rows can be addressed exactly. Bands
    begin at such rows. If the next such row is too far for a call of bounded size, the band begins at the row with the
    smallest error.
    """
    rows = np.arange(height_px, dtype=np.int64)
    rows_l0 = np.rint(rows * downsample).astype(np.int64)
    error = np.abs(rows_l0 / downsample - rows)
    exact = np.flatnonzero(error < ON_PIXEL).tolist()
    usual, most = max(1, call_pixels // width_px), max(1, 4 * call_pixels // width_px)
    bands = []
    start = 0
    while start < height_px:
        if height_px - start <= usual:
            stop = height_px
        else:
            before = bisect_right(exact, start + usual) - 1  # the last exact row within reach
            if exact[before] > start:
                stop = exact[before]
            elif before + 1 < len(exact) and exact[before + 1] <= start + most:
                stop = exact[before + 1]
            elif height_px - start <= most:
                stop = height_px
            else:
                half = max(1, most // 2)
                stop = start + half + int(np.argmin(error[start + half : start + most + 1]))
        bands.append(Band(start, stop, int(rows_l0[start])))
        start = stop
    return bands
