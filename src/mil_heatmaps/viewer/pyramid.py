"""The levels for the browser: those of the slide, and halvings where the slide has too few.

A browser zooms smoothly, so neighbouring levels should differ by about 2. The slide's own levels are served
unchanged, as the file's own tiles where possible. A level between two of them is averaged from the finer one;
levels below the coarsest are cut from one small overview. `*_px` are pixels of the level in question, ``_l0`` of
level 0.
"""

import math
from dataclasses import dataclass
from typing import Literal

from mil_heatmaps.slides.reader import Slide

TILE_PX = 256
LARGEST_FILE_TILE_PX = 1024
OVERVIEW_PX = 4096
"""Longest side of the overview, which is held in memory: at most 48 MiB."""

Origin = Literal["slide", "shrunk", "overview"]


@dataclass(frozen=True)
class ViewLevel:
    """One level as the browser sees it.

    Attributes
    ----------
    origin : Origin
        ``slide``: level `source` unchanged. ``shrunk``: averaged from it over squares of `factor`.
        ``overview``: the same, cut from the overview.
    source, factor : int
    size_px : (width, height)
        With a factor, the last column and row may average less than a whole square.
    tile_px : (width, height)
    downsample : (x, y)
        Level-0 pixels per pixel.
    """

    origin: Origin
    source: int
    factor: int
    size_px: tuple[int, int]
    tile_px: tuple[int, int]
    downsample: tuple[float, float]

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles across and down."""
        return -(-self.size_px[0] // self.tile_px[0]), -(-self.size_px[1] // self.tile_px[1])

    def box_px(self, column: int, row: int) -> tuple[int, int, int, int]:
        """Return left, top, width, height of a tile, cut off at the right and bottom edge of the level."""
        left, top = column * self.tile_px[0], row * self.tile_px[1]
        return (
            left,
            top,
            min(self.tile_px[0], self.size_px[0] - left),
            min(self.tile_px[1], self.size_px[1] - top),
        )


def _file_tile(slide: Slide, level: int) -> tuple[int, int]:
    """Return the file's tile size where its tiles can be read whole, else ours."""
    tiff = slide.tiff_level(level)
    if tiff is None or max(tiff.tile_px) > LARGEST_FILE_TILE_PX or min(tiff.tile_px) < 128:
        return TILE_PX, TILE_PX
    return tiff.tile_px


def _shrunk(slide: Slide, source: int, factor: int, origin: Origin) -> ViewLevel:
    width, height = slide.level_dimensions[source]
    fx, fy = slide.level_downsamples[source]
    return ViewLevel(
        origin,
        source,
        factor,
        (-(-width // factor), -(-height // factor)),
        (TILE_PX, TILE_PX),
        (fx * factor, fy * factor),
    )


def view_levels(slide: Slide) -> tuple[ViewLevel, ...]:
    """Return the levels for the browser, coarsest first (OpenSeadragon's order).

    The coarsest fits in one tile. Levels of the slide that are out of order, or as large as the previous one, are
    left out.
    """
    levels: list[ViewLevel] = []
    kept = [0]
    for level in range(1, slide.level_count):
        if (
            slide.mean_downsample(level) >= 1.2 * slide.mean_downsample(kept[-1])
            and min(slide.level_dimensions[level]) > 0
        ):
            kept.append(level)
    for nth, level in enumerate(kept):
        here = slide.mean_downsample(level)
        levels.append(
            ViewLevel(
                "slide",
                level,
                1,
                slide.level_dimensions[level],
                _file_tile(slide, level),
                slide.level_downsamples[level],
            )
        )
        if nth + 1 < len(kept):
            ratio = slide.mean_downsample(kept[nth + 1]) / here
            levels += [_shrunk(slide, level, 2**k, "shrunk") for k in range(1, math.ceil(math.log2(ratio / 1.5)))]
    last = kept[-1]
    factor = 2
    overview = overview_factor(slide, last)
    while max(levels[-1].size_px) > TILE_PX:
        levels.append(_shrunk(slide, last, factor, "overview" if factor >= overview else "shrunk"))
        factor *= 2
    return tuple(reversed(levels))


def overview_factor(slide: Slide, level: int) -> int:
    """Return the power of two by which `level` is shrunk to the overview."""
    longer = max(slide.level_dimensions[level])
    return 1 << max(0, math.ceil(math.log2(longer / OVERVIEW_PX)))
