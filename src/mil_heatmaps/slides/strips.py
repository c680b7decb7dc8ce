"""Read levels of any size in strips, and shrink them on the way.

Pixels are (H, W, 3) uint8 RGB; rows and sizes are pixels of the level at hand.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mil_heatmaps.slides.pixels import RGB

if TYPE_CHECKING:
    from mil_heatmaps.slides.reader import Slide

_SHRINK_ROWS = 512


def iter_strips(slide: "Slide", level: int, rows: int, stops: Iterator[int]) -> Iterator[tuple[int, RGB]]:
    """Yield (y0, strip) of a level, `rows` rows each; pixels are read up to each of `stops` in turn.

    The stops are where reading is cheap to interrupt, so no pixel is decoded twice.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    width, height = slide.level_dimensions[level]
    held, held_from = np.empty((0, width, 3), np.uint8), 0
    for y0 in range(0, height, rows):
        y1 = min(y0 + rows, height)
        parts = [held[y0 - held_from :]]
        while (read_to := held_from + len(held)) < y1:
            held, held_from = slide.read_rows(level, read_to, next(stops)), read_to
            parts.append(held[: y1 - held_from])
        strip = parts[-1] if not len(parts[0]) and len(parts) == 2 else np.concatenate(parts)
        yield y0, strip[: y1 - y0]


def read_shrunk(slide: "Slide", level: int, factor: int) -> RGB:
    """Return a level averaged over squares of `factor` pixels; edge cells repeat the pixels they lack."""
    import cv2

    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    if factor == 1:
        return slide.read_level(level)
    width, height = slide.level_dimensions[level]
    columns = -(-width // factor)
    out = np.empty((-(-height // factor), columns, 3), np.uint8)
    for y0, strip in slide.iter_strips(level, rows=max(1, _SHRINK_ROWS // factor) * factor):
        cells = -(-len(strip) // factor)
        below, right = cells * factor - len(strip), columns * factor - width
        if below or right:
            strip = cv2.copyMakeBorder(strip, 0, below, 0, right, cv2.BORDER_REPLICATE)
        top = y0 // factor
        out[top : top + cells] = cv2.resize(strip, (columns, cells), interpolation=cv2.INTER_AREA)
    return out


def thumbnail(slide: "Slide", max_px: int) -> RGB:
    """Return the whole slide with its longer side `max_px`, or smaller when the slide is."""
    import cv2

    if max_px < 1:
        raise ValueError(f"max_px must be at least 1, got {max_px}")
    longer = max(slide.dimensions_l0)
    if longer <= max_px:
        return slide.read_level(0)
    level = slide.level_for_downsample(longer / max_px)
    picture = slide.read_shrunk(level, max(1, max(slide.level_dimensions[level]) // (2 * max_px)))
    width, height = (max(1, round(side * max_px / longer)) for side in slide.dimensions_l0)
    small: RGB = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return small
