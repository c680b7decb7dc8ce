"""The tiles of a slide that cannot be read: they are painted grey and counted, and too many of them are an error.

Tiles are those of a level's tile grid; boxes are (left, top, right, bottom) in pixels of the level.
"""

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.pixels import RGB
from mil_heatmaps.words import counted, whole_number

UNREADABLE = 211
"""Grey level of unreadable tiles. Without colour they never count as tissue; darker than glass, they are visible."""

USUAL_TILE_PX = 256
"""Side of a tile if the format does not state it."""

Box = tuple[int, int, int, int]


class TileError(SlideError):
    """Pixels of an open slide cannot be decoded; the rest of it may be fine."""


class UnreadableTiles:
    """Which tiles of a slide were requested, and which of them cannot be read. Several threads may write at once.

    Attributes
    ----------
    cause : str
        Why the first bad tile could not be read; empty if there is none.
    """

    def __init__(self, level_dimensions: tuple[tuple[int, int], ...], properties: Mapping[str, str]) -> None:
        self.cause = ""
        self._tiles = [_tile_size(properties, level) for level in range(len(level_dimensions))]
        self._shapes = [
            (-(-height // tile_h), -(-width // tile_w))
            for (width, height), (tile_w, tile_h) in zip(level_dimensions, self._tiles, strict=True)
        ]
        # Two arrays per level, with entries that are only ever set, so no thread can undo another thread's entry.
        self._needed: dict[int, npt.NDArray[np.bool_]] = {}
        self._bad: dict[int, npt.NDArray[np.bool_]] = {}
        self._lock = threading.Lock()

    def tile_px(self, level: int) -> tuple[int, int]:
        """Return (width, height) of a level's tiles."""
        return self._tiles[level]

    def begin(self) -> None:
        """Begin a new piece of work: forget which tiles were requested, but not which are bad."""
        with self._lock:
            self._needed = {}

    def need(self, level: int, box_px: Box) -> None:
        """Record that the pixels of a box are requested."""
        self._grid(self._needed, level)[self._within(level, box_px)] = True

    def need_tiles(self, level: int, tiles: npt.NDArray[np.bool_]) -> None:
        """Record that tiles (down, across) are requested."""
        needed = self._grid(self._needed, level)
        if needed.shape == tiles.shape:
            needed |= tiles

    def add(self, level: int, box_px: Box, cause: object) -> None:
        """Record that the tile in a box cannot be read."""
        with self._lock:
            self.cause = self.cause or str(cause)
        self._grid(self._bad, level)[self._within(level, box_px)] = True

    def any_on(self, level: int) -> bool:
        """Whether a level has bad tiles, as far as known from reads so far."""
        return level in self._bad

    def touches(self, level: int, box_px: Box) -> bool:
        """Whether a bad tile lies in a box."""
        return level in self._bad and bool(self._bad[level][self._within(level, box_px)].any())

    def touched(self, level: int, boxes_px: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return, as (N,), which of the boxes (N, 4) contain a bad tile."""
        return np.array([self.touches(level, (a, b, c, d)) for a, b, c, d in boxes_px.tolist()], np.bool_)

    def used(self) -> list[tuple[int, int, int]]:
        """Return (level, column, row) of the bad tiles that were requested since `begin`, in order."""
        return [
            (level, int(column), int(row))
            for level, bad in sorted(self._bad.items())
            if level in self._needed
            for row, column in np.argwhere(bad & self._needed[level])
        ]

    def check(self) -> None:
        """Raise SlideError with the first cause if more than half of the tiles requested since `begin` are bad."""
        if not (bad := len(self.used())):
            return
        needed = sum(int(tiles.sum()) for tiles in self._needed.values())
        if 2 * bad > needed:
            what = f"{bad} of the {counted(needed, 'tile')} needed cannot be read"
            raise SlideError(f"{what}; the first: {self.cause}")

    def _within(self, level: int, box_px: Box) -> tuple[slice, slice]:
        """Return the rows and columns of the tiles that a box touches."""
        (left, top, right, bottom), (width, height) = box_px, self._tiles[level]
        return (
            slice(max(top, 0) // height, -(-max(bottom, 0) // height)),
            slice(max(left, 0) // width, -(-max(right, 0) // width)),
        )

    def _grid(self, grids: dict[int, npt.NDArray[np.bool_]], level: int) -> npt.NDArray[np.bool_]:
        grid = grids.get(level)
        if grid is None:
            with self._lock:
                grid = grids.setdefault(level, np.zeros(self._shapes[level], np.bool_))
        return grid


def grey(size_px: tuple[int, int]) -> RGB:
    """Return (height, width, 3) pixels in the grey of unreadable tiles."""
    return np.full((size_px[1], size_px[0], 3), UNREADABLE, np.uint8)


def _tile_size(properties: Mapping[str, str], level: int) -> tuple[int, int]:
    """Return a level's tile size from OpenSlide's properties."""
    said = [properties.get(f"openslide.level[{level}].tile-{side}", "") for side in ("width", "height")]
    width, height = (whole_number(side) or USUAL_TILE_PX for side in said)
    return width, height
