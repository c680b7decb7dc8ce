"""Coarser and coarser versions of a picture, made while its bands pass through.

A picture comes in bands of rows. Each level holds only the rows that it cannot pass on yet, so no level is ever
completely in memory.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from mil_heatmaps.slides.pixels import UInt8Array


def level_sizes(size_px: tuple[int, int], smallest: int = 512) -> list[tuple[int, int]]:
    """Return the sizes of a picture and its halves, until the longer side is at most `smallest`."""
    sizes = [size_px]
    while max(sizes[-1]) > smallest:
        width, height = sizes[-1]
        sizes.append((-(-width // 2), -(-height // 2)))
    return sizes


def halved(pixels: UInt8Array) -> UInt8Array:
    """Return the mean of squares of 2 x 2 pixels; the last row or column of an odd side counts twice."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
    size = pixels.shape[1] // 2, pixels.shape[0] // 2
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def iter_pyramid(
    bands: Iterable[UInt8Array], size_px: tuple[int, int], rows: int, levels: int
) -> Iterator[tuple[int, int, UInt8Array]]:
    """Yield (level, y0, band) of a picture and its halves, `rows` rows each (the last of a level may have fewer).

    Parameters
    ----------
    bands : iterable of (h, width, 3) uint8
        The picture from top to bottom, `rows` rows each; `rows` is even.
    size_px : (width, height)
    levels : int
        Number of levels, including the picture itself.
    """
    heights = [height for _, height in level_sizes(size_px, 1)]
    heights += [1] * (levels - len(heights))
    held: list[list[UInt8Array]] = [[] for _ in range(levels)]
    given = [0] * levels

    def pass_on(level: int, band: UInt8Array) -> Iterator[tuple[int, int, UInt8Array]]:
        yield level, given[level], band
        given[level] += len(band)
        if level + 1 == levels:
            return
        below = held[level + 1]
        below.append(halved(band))
        ready = sum(map(len, below))
        if ready == rows or given[level + 1] + ready == heights[level + 1]:
            joined = np.concatenate(below) if len(below) > 1 else below[0]
            below.clear()
            yield from pass_on(level + 1, joined)

    for band in bands:
        yield from pass_on(0, band)
