"""Strips of a level: whole rows from top to bottom, so that a level of any size fits into memory.

Pixels are (H, W, 3) uint8 RGB; rows and sizes (width, height) are pixels of the level.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from mil_heatmaps.slides.pixels import RGB


def iter_strips(
    read_rows: Callable[[int, int], RGB], size_px: tuple[int, int], rows: int, stops: Iterator[int]
) -> Iterator[tuple[int, RGB]]:
    """Yield (y0, strip) of a level of `size_px`, `rows` rows each (the last may have fewer).

    `read_rows(y0, y1)` reads every row once. Each call ends at the next of `stops`, the rows at which reading can stop
    cheaply.
    """
    width, height = size_px
    held, held_from = np.empty((0, width, 3), np.uint8), 0
    for y0 in range(0, height, rows):
        y1 = min(y0 + rows, height)
        parts = [held[y0 - held_from : y1 - held_from]]
        while (read_to := held_from + len(held)) < y1:
            held, held_from = read_rows(read_to, next(stops)), read_to
            parts.append(held[: y1 - held_from])
        filled = [part for part in parts if len(part)]
        yield y0, filled[0] if len(filled) == 1 else np.concatenate(filled)


def shrink_strips(strips: Iterable[tuple[int, RGB]], size_px: tuple[int, int], factor: int) -> RGB:
    """Return a level of `size_px` averaged over squares of `factor` pixels; incomplete squares repeat edge pixels.

    The height of every strip except the last must be a multiple of `factor`.
    """
    import cv2

    width, height = size_px
    columns = -(-width // factor)
    out = np.empty((-(-height // factor), columns, 3), np.uint8)
    for y0, strip in strips:
        cells = -(-len(strip) // factor)
        below, right = cells * factor - len(strip), columns * factor - width
        if below or right:
            strip = cv2.copyMakeBorder(strip, 0, below, 0, right, cv2.BORDER_REPLICATE)
        top = y0 // factor
        out[top : top + cells] = cv2.resize(strip, (columns, cells), interpolation=cv2.INTER_AREA)
    return out
