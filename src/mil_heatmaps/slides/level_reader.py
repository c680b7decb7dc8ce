"""Read pixels of a slide's levels: directly from the file's tiles if this is proven correct, else from the source.

Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the current level; sizes are (width, height), pixels are
(H, W, 3) uint8 RGB. Pixels that are transparent or outside the slide are white; tiles that cannot be read are grey.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.bands import ON_PIXEL, Band, cut_bands
from mil_heatmaps.slides.levels import Levels
from mil_heatmaps.slides.pixels import RGB, WHITE
from mil_heatmaps.slides.sources import Source
from mil_heatmaps.slides.tiff_levels import TiffLevel
from mil_heatmaps.slides.tiff_proof import TiffLevels
from mil_heatmaps.slides.tile_headers import TileHeaders
from mil_heatmaps.slides.unreadable import TileError, UnreadableTiles, grey
from mil_heatmaps.words import said_by

_CACHED_PIXELS = 2 << 20
"""Tiles of regions up to this size are cached, because neighbouring regions are likely to be read next."""

_ASKED = 16
"""Bad tiles of a level that the source tries as well; if it can read none of them, it is not asked again."""


class LevelReader:
    """Reads regions and rows of the levels of one source, in several threads at once.

    The caller checks levels and sizes.

    Attributes
    ----------
    unreadable : UnreadableTiles
        Which tiles were requested, and which of them are grey because neither way can read them.
    """

    def __init__(self, path: Path, source: Source, levels: Levels, threads: int) -> None:
        self.path = path
        self._source = source
        self._levels = levels
        self._threads = threads
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._tiff = TiffLevels(path, source.vendor, source.level_dimensions, self._reference)
        self._headers = TileHeaders(path, source.vendor)
        self.unreadable = UnreadableTiles(source.level_dimensions, source.properties)
        self._asked: dict[int, int] = {}

    def close(self) -> None:
        """Release the file and the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._tiff.close()
        self._source.close()
        self._headers.close()

    def tiff_level(self, level: int) -> TiffLevel | None:
        """Return the level as a table of compressed tiles; None if only the source can read it."""
        return self._tiff.get(level)

    def region(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        """Return `size_px` pixels of `level` with the top-left corner at the level-0 point `corner_l0`."""
        (x, y), (width, height) = corner_l0, size_px
        if width == 0 or height == 0:
            return np.empty((height, width, 3), np.uint8)
        downsample = self._levels.mean_downsample(level)
        # As in OpenSlide, the part to the left of or above the slide is cut off in whole pixels.
        left, top = (min(int(max(-c, 0) / downsample), side) for c, side in ((x, width), (y, height)))
        if left or top:
            region = np.full((height, width, 3), WHITE, np.uint8)
            region[top:, left:] = self.region((max(x, 0), max(y, 0)), level, (width - left, height - top))
            return region
        x, y = max(x, 0), max(y, 0)
        x_px, y_px = round(x / downsample), round(y / downsample)
        self.unreadable.need(level, (x_px, y_px, x_px + width, y_px + height))
        on_pixel = max(abs(x / downsample - x_px), abs(y / downsample - y_px)) < ON_PIXEL
        if on_pixel and (tiff := self._tiff.get(level)) is not None:
            few = width * height <= _CACHED_PIXELS
            threads = 1 if few else self._threads
            decoded = self._from_tiff(tiff, (x_px, y_px), (width, height), threads, cached=few)
            if decoded is not None:
                return decoded
        out = np.empty((height, width, 3), np.uint8)
        for band in cut_bands(downsample, width, height):
            size = width, band.stop_px - band.start_px
            out[band.start_px : band.stop_px] = self._from_source((x, y + band.start_l0), level, size)
        return out

    def rows(self, level: int, y0: int, y1: int, threads: int) -> RGB:
        """Return rows `y0` to `y1` (not included) of a level; with one of the `threads`, read where this is called."""
        width = self._levels.level_dimensions[level][0]
        self.unreadable.need(level, (0, y0, width, y1))
        if (tiff := self._tiff.get(level)) is not None:
            rows = self._from_tiff(tiff, (0, y0), (width, y1 - y0), threads, cached=False)
            if rows is not None:
                return rows
        out = np.empty((y1 - y0, width, 3), np.uint8)

        def read_band(band: Band) -> None:
            first, stop = max(band.start_px, y0), min(band.stop_px, y1)
            rows = self._from_source((0, band.start_l0), level, (width, stop - band.start_px))
            out[first - y0 : stop - y0] = rows[first - band.start_px :]

        bands = [band for band in self._bands(level) if band.start_px < y1 and band.stop_px > y0]
        pool = self._threads_pool(threads)
        if pool is None:
            for band in bands:
                read_band(band)
        else:
            list(pool.map(read_band, bands))
        return out

    def row_stops(self, level: int, rows: int) -> Iterator[int]:
        """Yield rows, about `rows` apart, at which reads of a level should end so that no tile is decoded twice."""
        height = self._levels.level_dimensions[level][1]
        tiff = self._tiff.get(level)
        if tiff is None:
            yield from (band.stop_px for band in self._bands(level))
        else:
            step = max(1, rows // tiff.tile_px[1]) * tiff.tile_px[1]
            yield from (min(stop, height) for stop in range(step, height + step, step))

    def _from_source(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        """Return the pixels from one call of the source; if this fails, from one call per tile."""
        downsample = self._levels.mean_downsample(level)
        left, top = (int(c / downsample + ON_PIXEL) for c in corner_l0)
        if not self.unreadable.touches(level, (left, top, left + size_px[0], top + size_px[1])):
            with suppress(TileError):
                return self._read(corner_l0, level, size_px)
        return self._tile_by_tile((left, top), level, size_px)

    def _read(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        try:
            self._check_headers(corner_l0, level, size_px)
            return self._source.read(corner_l0, level, size_px)
        except TileError as error:
            raise TileError(f"cannot read {self._named(corner_l0, level, size_px)}: {said_by(error)}") from error
        except SlideError:
            raise
        except Exception as error:  # OpenSlide raises many kinds of errors, mostly without a position
            raise SlideError(f"cannot read {self._named(corner_l0, level, size_px)}: {said_by(error)}") from error

    def _check_headers(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> None:
        """Raise TileError if a tile of a region claims a wrong size, because decoders would trust it."""
        downsample = self._levels.mean_downsample(level)
        left, top = (int(c / downsample + ON_PIXEL) for c in corner_l0)
        more = (int(c / downsample - start > ON_PIXEL) for c, start in zip(corner_l0, (left, top), strict=True))
        right, bottom = (start + side + on for start, side, on in zip((left, top), size_px, more, strict=True))
        box = left, top, right, bottom
        if (lie := self._headers.first_lie(self._levels.level_dimensions[level], box)) is not None:
            raise TileError(lie)

    def _named(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> str:
        return f"level {level}, {size_px[0]} x {size_px[1]} pixels at level-0 {corner_l0}, of slide {self.path}"

    def _tile_by_tile(self, corner_px: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        """Return a region with unreadable tiles, which are grey."""
        (left, top), (width, height) = corner_px, size_px
        out = np.full((height, width, 3), WHITE, np.uint8)
        (level_w, level_h), (tile_w, tile_h) = self._levels.level_dimensions[level], self.unreadable.tile_px(level)
        for y0, y1 in _cut(top, min(top + height, level_h), tile_h):
            for x0, x1 in _cut(left, min(left + width, level_w), tile_w):
                out[y0 - top : y1 - top, x0 - left : x1 - left] = self._piece(level, (x0, y0, x1, y1))
        return out

    def _piece(self, level: int, box_px: tuple[int, int, int, int]) -> RGB:
        """Return pixels of one tile from the source; if it cannot be read, mark the tile and return grey."""
        left, top, right, bottom = box_px
        size = right - left, bottom - top
        if self.unreadable.touches(level, box_px):
            return grey(size)
        downsample = self._levels.mean_downsample(level)
        x, y = ceil(left * downsample - ON_PIXEL), ceil(top * downsample - ON_PIXEL)
        try:
            return self._read((x, y), level, size)
        except TileError as error:
            between = max(x / downsample - left, y / downsample - top) > 0
            if between and min(size) > 1:
                # A corner between pixels also needs a pixel of the next tile, which may be the bad one.
                with suppress(TileError):
                    pixels = grey(size)
                    pixels[:-1, :-1] = self._read((x, y), level, (size[0] - 1, size[1] - 1))
                    return pixels
            self.unreadable.add(level, box_px, error)
            return grey(size)

    def _from_tiff(
        self, tiff: TiffLevel, corner_px: tuple[int, int], size_px: tuple[int, int], threads: int, *, cached: bool
    ) -> RGB | None:
        """Return a rectangle decoded directly; None if this fails, so that the caller reads it through OpenSlide."""
        pool = self._threads_pool(threads)

        def instead(index: int, error: SlideError) -> RGB:
            return self._instead(tiff, index, error)

        try:
            return tiff.read(corner_px, size_px, pool=pool, threads=threads, cached=cached, instead=instead)
        except SlideError as error:
            self._tiff.give_up(tiff.level, error)
            return None

    def tile(self, tiff: TiffLevel, index: int) -> RGB:
        """Return the pixels of one tile by index, always of the full tile size; grey if it cannot be read."""
        try:
            return tiff.decode(index)
        except SlideError as error:
            return self._instead(tiff, index, error)

    def tile_bytes(self, tiff: TiffLevel, index: int) -> bytes | None:
        """Return one tile's compressed bytes; b'' if it was never written, None if it cannot be read."""
        try:
            data = tiff.read_raw(index)
            if data and tiff.looks_damaged(data):
                tiff.decode(index)
        except SlideError as error:
            self._instead(tiff, index, error)
            return None
        return None if self.unreadable.touches(tiff.level, tiff.box_px(index)) else data

    def _instead(self, tiff: TiffLevel, index: int, error: SlideError) -> RGB:
        """Return a tile that cannot be decoded directly from the source; grey if the source cannot read it either."""
        left, top, right, bottom = box = tiff.box_px(index)
        level, asked = tiff.level, self._asked.get(tiff.level, 0)
        whole = grey(tiff.tile_px)
        if self.unreadable.touches(level, box):
            return whole
        if asked >= _ASKED:
            self.unreadable.add(level, box, error)
            return whole
        self._asked[level] = asked + 1
        pixels = self._piece(level, box)
        if not self.unreadable.touches(level, box):
            self._tiff.give_up(level, error)  # the source can read it, so it reads this level from now on
        whole[: bottom - top, : right - left] = pixels
        return whole

    def _reference(self, level: int, corner_px: tuple[int, int], size_px: tuple[int, int]) -> RGB | None:
        """Return a part of a level as the source reads it; None if no whole level-0 pixel lies on its corner."""
        downsample = self._levels.mean_downsample(level)
        x_l0, y_l0 = (round(c * downsample) for c in corner_px)
        if max(abs(x_l0 / downsample - corner_px[0]), abs(y_l0 / downsample - corner_px[1])) < ON_PIXEL:
            return self._read((x_l0, y_l0), level, size_px)
        return None

    def _bands(self, level: int) -> list[Band]:
        width, height = self._levels.level_dimensions[level]
        return cut_bands(self._levels.mean_downsample(level), width, height)

    def _threads_pool(self, threads: int) -> ThreadPoolExecutor | None:
        """Return the thread pool for one large read; None if only one thread is allowed."""
        if threads < 2:
            return None
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="tiles")
            return self._pool


def _cut(start: int, stop: int, side: int) -> list[tuple[int, int]]:
    """Return the pixels `start` to `stop` cut into parts within one tile each; tiles are `side` pixels long."""
    return list(pairwise([start, *range(start - start % side + side, stop, side), stop])) if start < stop else []
