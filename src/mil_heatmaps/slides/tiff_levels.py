"""Levels of tiled TIFF slides, decoded tile by tile.

OpenSlide spends most of a large read on composing tiles, not on decoding them. The tiles of plain tiled TIFF and
Aperio SVS files can be read directly from the file and decoded in place, which gives the same pixels in a sixth of the
time.

Names ending ``_px`` are pixels of the current level.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.byte_cache import ByteCache
from mil_heatmaps.slides.pixels import RGB, WHITE
from mil_heatmaps.words import said_by

JPEG, DEFLATE = 7, 8
PHOTOMETRIC_RGB, PHOTOMETRIC_YCBCR = 2, 6
"""TIFF codes of a tile's compression (above) and of its colours."""

START_OF_JPEG, END_OF_JPEG = b"\xff\xd8", b"\xff\xd9"
_MOST_PADDING = 64  # bytes that some writers leave after the end of the data

CACHE_BYTES = 48 << 20
"""Most bytes of decoded tiles to keep for neighbouring reads."""


def ends_as_jpeg(data: bytes) -> bool:
    """Whether JPEG data are complete up to the end marker."""
    return data.rfind(END_OF_JPEG, -_MOST_PADDING) >= 0


@dataclass(frozen=True, repr=False, eq=False)
class TiffLevel:
    """One level as a table of compressed tiles, row by row from the top left.

    Attributes
    ----------
    level : int
    size_px, tile_px, tiles : (width, height)
        Size of the level, of one tile, and the number of tiles across and down.
    offsets, byte_counts : (tiles[0] * tiles[1],) int64
        Where each tile lies in the file. A count of 0 means a tile that was never written, which is white.
    compression, photometric : int
        The TIFF tags; see `JPEG` and `PHOTOMETRIC_RGB`.
    subsampling : (x, y)
        Subsampling of the chroma; (1, 1) without subsampling.
    jpeg_tables : bytes or None
        Tables shared by all JPEG tiles.
    decoder : callable
        Turns the compressed bytes of a tile into pixels; it may raise any exception.
    """

    path: Path
    level: int
    size_px: tuple[int, int]
    tile_px: tuple[int, int]
    tiles: tuple[int, int]
    offsets: npt.NDArray[np.int64]
    byte_counts: npt.NDArray[np.int64]
    compression: int
    photometric: int
    subsampling: tuple[int, int]
    jpeg_tables: bytes | None
    decoder: Callable[[bytes], RGB]
    _file: BinaryIO
    _cache: ByteCache[RGB]

    def __repr__(self) -> str:
        return f"TiffLevel({self.path.name!r}, level={self.level}, size={self.size_px}, tile={self.tile_px})"

    def __len__(self) -> int:
        return len(self.offsets)

    def box_px(self, index: int) -> tuple[int, int, int, int]:
        """Return (left, top, right, bottom) of one tile on the level."""
        row, column = divmod(index, self.tiles[0])
        left, top = column * self.tile_px[0], row * self.tile_px[1]
        return left, top, min(left + self.tile_px[0], self.size_px[0]), min(top + self.tile_px[1], self.size_px[1])

    def looks_damaged(self, data: bytes) -> bool:
        """Whether compressed bytes are not a complete JPEG stream; True for other compressions: only decoding tells."""
        if self.compression != JPEG:
            return True
        return not data.startswith(START_OF_JPEG) or not ends_as_jpeg(data)

    def read_raw(self, index: int) -> bytes:
        """Return one tile's compressed bytes, b'' if it was never written; SlideError if the file is cut short."""
        count = int(self.byte_counts[index])
        try:
            data = os.pread(self._file.fileno(), count, int(self.offsets[index])) if count else b""
        except OSError as error:  # a bad sector
            what = f"tile {index} of level {self.level}"
            raise SlideError(f"{self.path}: cannot read {what}: {said_by(error)}") from error
        if len(data) != count:
            raise SlideError(
                f"{self.path} is cut short: tile {index} of level {self.level} needs {count} bytes at "
                f"{int(self.offsets[index])}, got {len(data)}"
            )
        return data

    def decode_raw(self, data: bytes) -> RGB:
        """Return the pixels of compressed tile bytes, always of the full tile size."""
        if not data:
            return np.full((self.tile_px[1], self.tile_px[0], 3), WHITE, np.uint8)
        tile = self.decoder(data)
        if tile.shape != (self.tile_px[1], self.tile_px[0], 3) or tile.dtype != np.uint8:
            raise ValueError(f"a tile decoded to {tile.dtype} {tile.shape}")
        return tile

    def decode(self, index: int) -> RGB:
        """Return the pixels of one tile, always of the full tile size (edge tiles keep their padding)."""
        data = self.read_raw(index)
        try:
            return self.decode_raw(data)
        except Exception as error:  # every codec raises different errors
            raise SlideError(
                f"{self.path}: cannot decode tile {index} of level {self.level}: {said_by(error)}"
            ) from error

    def _cached(self, index: int) -> RGB:
        tile = self._cache.get((self.level, index))
        if tile is None:
            tile = self.decode(index)
            self._cache.put((self.level, index), tile)
        return tile

    def read(
        self,
        corner_px: tuple[int, int],
        size_px: tuple[int, int],
        *,
        pool: ThreadPoolExecutor | None = None,
        threads: int = 1,
        cached: bool = False,
        instead: Callable[[int, SlideError], RGB] | None = None,
    ) -> RGB:
        """Return a rectangle of the level, white outside; `cached` keeps the tiles for neighbouring reads.

        `instead(index, error)` returns the pixels of a tile that cannot be decoded; without it, the error is raised.
        """
        (left, top), (width, height) = corner_px, size_px
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, self.size_px[0]), min(top + height, self.size_px[1])
        whole = (x0, y0, x1, y1) == (left, top, left + width, top + height)
        region = (
            np.empty((height, width, 3), np.uint8) if whole else np.full((height, width, 3), WHITE, np.uint8)
        )
        if x0 >= x1 or y0 >= y1:
            return region
        rows = region.reshape(height, -1)
        tile_w, tile_h = self.tile_px
        fetch = self._cached if cached else self.decode
        places = [
            (column, row)
            for row in range(y0 // tile_h, (y1 - 1) // tile_h + 1)
            for column in range(x0 // tile_w, (x1 - 1) // tile_w + 1)
        ]

        def paste(part: list[tuple[int, int]]) -> None:
            for column, row in part:
                index = row * self.tiles[0] + column
                try:
                    tile = fetch(index)
                except SlideError as error:
                    if instead is None:
                        raise
                    tile = instead(index, error)
                tx, ty = column * tile_w, row * tile_h
                ax, ay, bx, by = max(x0, tx), max(y0, ty), min(x1, tx + tile_w), min(y1, ty + tile_h)
                # As bytes in rows, which NumPy copies faster than pixels of three bytes.
                rows[ay - top : by - top, 3 * (ax - left) : 3 * (bx - left)] = tile.reshape(tile_h, -1)[
                    ay - ty : by - ty, 3 * (ax - tx) : 3 * (bx - tx)
                ]

        if pool is None or threads < 2 or len(places) < 2 * threads:
            paste(places)
        else:
            cuts = [len(places) * i // threads for i in range(threads + 1)]
            for done in [pool.submit(paste, places[a:b]) for a, b in pairwise(cuts)]:
                done.result()
        return region
