"""Levels of tiled TIFF slides, decoded tile by tile.

OpenSlide spends most of a large read on composing tiles, not on decoding them. For plain tiled TIFF and Aperio SVS
files the tiles can be read straight from the file and decoded into place: the same pixels for a sixth of the time.
That they are the same is not taken on trust: `open_tiff_level` decodes a few tiles of every level both ways and gives
up on the level when one differs.

`*_px` are pixels of the level at hand.
"""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from src.errors import SlideError
from src.slides.sources import RGB, WHITE

logger = logging.getLogger(__name__)

VENDORS = frozenset({"generic-tiff", "aperio"})
CACHE_BYTES = 48 << 20
_MOST_PAGES = 256  # a slide has a dozen; more means a damaged or foreign file
_JPEG = 7
_YCBCR = 6
_PHOTOMETRIC_NAMES = {2: "RGB", _YCBCR: "YCBCR"}


class TileCache:
    """The decoded tiles used last, up to a number of bytes; safe to share between threads."""

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._tiles: OrderedDict[tuple[int, int], RGB] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> RGB | None:
        """Return the tile, or None."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: tuple[int, int], tile: RGB) -> None:
        """Keep the tile, and forget the oldest ones while there are too many."""
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


@dataclass(frozen=True, repr=False, eq=False)
class TiffLevel:
    """One level as a table of compressed tiles, row by row from the top left.

    Attributes
    ----------
    level : int
    size_px, tile_px, tiles : (width, height)
        Size of the level, of one tile, and the number of tiles across and down.
    offsets, byte_counts : (tiles[0] * tiles[1],) int64
        Where each tile lies in the file. A count of 0 is a tile that was never written: white.
    compression, photometric : int
        The TIFF tags (7 is JPEG; 2 is RGB, 6 is YCbCr).
    subsampling : (x, y)
        Of the chroma, (1, 1) when there is none.
    jpeg_tables : bytes or None
        What every JPEG tile needs to be decoded.
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
    _file: BinaryIO = field(repr=False)
    _decode: Callable[[bytes], RGB] = field(repr=False)
    _cache: TileCache = field(repr=False)

    def __repr__(self) -> str:
        return f"TiffLevel({self.path.name!r}, level={self.level}, size={self.size_px}, tile={self.tile_px})"

    def __len__(self) -> int:
        return len(self.offsets)

    def read_raw(self, index: int) -> bytes:
        """Return the compressed bytes of one tile, b'' for one never written; SlideError when the file is cut."""
        count = int(self.byte_counts[index])
        data = os.pread(self._file.fileno(), count, int(self.offsets[index])) if count else b""
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
        tile = self._decode(data)
        if tile.shape != (self.tile_px[1], self.tile_px[0], 3) or tile.dtype != np.uint8:
            raise ValueError(f"a tile decoded to {tile.dtype} {tile.shape}")
        return tile

    def decode(self, index: int) -> RGB:
        """Return the pixels of one tile, always of the full tile size (edge tiles keep their padding)."""
        data = self.read_raw(index)
        try:
            return self.decode_raw(data)
        except Exception as error:  # every codec has errors of its own
            raise SlideError(f"{self.path}: cannot decode tile {index} of level {self.level}: {error}") from error

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
    ) -> RGB:
        """Return a rectangle of the level, white outside; `cached` keeps the tiles for neighbouring reads."""
        (left, top), (width, height) = corner_px, size_px
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, self.size_px[0]), min(top + height, self.size_px[1])
        whole = (x0, y0, x1, y1) == (left, top, left + width, top + height)
        region = np.empty((height, width, 3), np.uint8) if whole else np.full((height, width, 3), WHITE, np.uint8)
        if x0 >= x1 or y0 >= y1:
            return region
        tile_w, tile_h = self.tile_px
        fetch = self._cached if cached else self.decode
        places = [
            (column, row)
            for row in range(y0 // tile_h, (y1 - 1) // tile_h + 1)
            for column in range(x0 // tile_w, (x1 - 1) // tile_w + 1)
        ]

        def paste(part: list[tuple[int, int]]) -> None:
            for column, row in part:
                tile = fetch(row * self.tiles[0] + column)
                tx, ty = column * tile_w, row * tile_h
                ax, ay, bx, by = max(x0, tx), max(y0, ty), min(x1, tx + tile_w), min(y1, ty + tile_h)
                region[ay - top : by - top, ax - left : bx - left] = tile[ay - ty : by - ty, ax - tx : bx - tx]

        if pool is None or threads < 2 or len(places) < 2 * threads:
            paste(places)
        else:
            cuts = [len(places) * i // threads for i in range(threads + 1)]
            for done in [pool.submit(paste, places[a:b]) for a, b in pairwise(cuts)]:
                done.result()
        return region


def _tile_decoder(page: Any) -> Callable[[bytes], RGB]:
    """Return the function that decodes one tile of a TIFF page."""
    if page.compression == _JPEG:
        import imagecodecs

        tables, colorspace = page.jpegtables, _PHOTOMETRIC_NAMES[int(page.photometric)]

        def decode_jpeg(data: bytes) -> RGB:
            # The colour space comes from the tag: RGB JPEG tiles carry no marker that says so.
            tile: RGB = imagecodecs.jpeg8_decode(data, tables=tables, colorspace=colorspace, outcolorspace="RGB")
            return tile

        return decode_jpeg

    def decode_other(data: bytes) -> RGB:
        tile: RGB = page.decode(data, 0, _fullsize=True)[0][0]  # TIFF counts a depth first
        return tile

    return decode_other


def _is_plain(page: Any) -> bool:
    """Say whether a page is 8-bit RGB tiles, the only kind read here."""
    return (
        page.is_tiled
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.planarconfig == 1
        and int(page.photometric) in _PHOTOMETRIC_NAMES
        and page.fillorder == 1
        and page.imagedepth == 1
        and page.tiledepth == 1
    )


def _level_page(pages: list[Any], size_px: tuple[int, int]) -> Any | None:
    found = [page for page in pages if page.is_tiled and (page.imagewidth, page.imagelength) == size_px]
    return found[0] if len(found) == 1 and _is_plain(found[0]) else None


def _probes(level: TiffLevel, file_bytes: int) -> list[int] | None:
    """Return a few tiles to compare (corners, middle, largest, one never written), None when the file is cut."""
    if bool((level.offsets + level.byte_counts > file_bytes).any()):
        return None
    across, down = level.tiles
    last = across * down - 1
    chosen = {0, across - 1, last, (down // 2) * across + across // 2, int(np.argmax(level.byte_counts))}
    missing = np.flatnonzero(level.byte_counts == 0)
    if len(missing):
        chosen.add(int(missing[0]))
    return sorted(chosen)


def _agrees(level: TiffLevel, index: int, read: Callable[[tuple[int, int], tuple[int, int]], RGB | None]) -> bool:
    column, row = index % level.tiles[0], index // level.tiles[0]
    corner = column * level.tile_px[0], row * level.tile_px[1]
    size = (
        min(level.tile_px[0], level.size_px[0] - corner[0]),
        min(level.tile_px[1], level.size_px[1] - corner[1]),
    )
    expected = read(corner, size)
    return expected is None or np.array_equal(level.decode(index)[: size[1], : size[0]], expected)


class TiffLevels:
    """The levels of one slide that can be decoded directly, opened and proven one by one when first asked for."""

    def __init__(
        self,
        path: Path,
        vendor: str,
        level_dimensions: tuple[tuple[int, int], ...],
        read_reference: Callable[[int, tuple[int, int], tuple[int, int]], RGB | None],
    ) -> None:
        """`read_reference(level, corner_px, size_px)` is OpenSlide's reading, None where it cannot tell."""
        self._path = path
        self._vendor = vendor
        self._dimensions = level_dimensions
        self._read_reference = read_reference
        self._cache = TileCache()
        self._lock = threading.Lock()
        self._levels: dict[int, TiffLevel | None] = {}
        self._pages: list[Any] = []
        self._tiff: Any = None
        self._file: BinaryIO

    def get(self, level: int) -> TiffLevel | None:
        """Return the level, or None when OpenSlide has to read it."""
        with self._lock:
            if level not in self._levels:
                try:
                    self._levels[level] = self._open(level)
                except Exception as error:  # any oddity of a foreign file: OpenSlide reads it
                    logger.debug("%s level %d is left to OpenSlide: %s", self._path, level, error)
                    self._levels[level] = None
            return self._levels[level]

    def give_up(self, level: int, reason: Exception) -> None:
        """Leave a level to OpenSlide from now on."""
        logger.debug("%s level %d is left to OpenSlide: %s", self._path, level, reason)
        with self._lock:
            self._levels[level] = None

    def _open(self, level: int) -> TiffLevel | None:
        if self._vendor not in VENDORS:
            return None
        page = _level_page(self._read_pages(), self._dimensions[level])
        if page is None:
            return None
        tile_px = page.tilewidth, page.tilelength
        width, height = self._dimensions[level]
        tiles = -(-width // tile_px[0]), -(-height // tile_px[1])
        offsets = np.asarray(page.dataoffsets, np.int64)
        byte_counts = np.asarray(page.databytecounts, np.int64)
        if len(offsets) != tiles[0] * tiles[1] or len(byte_counts) != len(offsets):
            return None
        if self._vendor == "aperio" and not byte_counts.all():
            return None  # OpenSlide fills these from the next finer level
        is_ycbcr_jpeg = page.compression == _JPEG and int(page.photometric) == _YCBCR
        candidate = TiffLevel(
            path=self._path, level=level, size_px=(width, height), tile_px=tile_px, tiles=tiles,
            offsets=offsets, byte_counts=byte_counts,
            compression=int(page.compression), photometric=int(page.photometric),
            subsampling=tuple(page.subsampling or (2, 2)) if is_ycbcr_jpeg else (1, 1),
            jpeg_tables=page.jpegtables, _file=self._file, _decode=_tile_decoder(page),
            _cache=self._cache,
        )  # fmt: skip
        probes = _probes(candidate, os.fstat(self._file.fileno()).st_size)
        if probes is None:
            return None
        if all(_agrees(candidate, i, lambda c, s: self._read_reference(level, c, s)) for i in probes):
            return candidate
        logger.debug("%s level %d decodes differently from OpenSlide, which reads it", self._path, level)
        return None

    def _read_pages(self) -> list[Any]:
        if self._tiff is None:
            import tifffile

            self._tiff = tifffile.TiffFile(self._path)
            self._file = self._path.open("rb", buffering=0)
            self._pages = list(islice(self._tiff.pages, _MOST_PAGES))
        return self._pages

    def close(self) -> None:
        """Release the file; no level may be read afterwards."""
        with self._lock:
            self._levels = dict.fromkeys(range(len(self._dimensions)))
            if self._tiff is not None:
                self._tiff.close()
                self._file.close()
