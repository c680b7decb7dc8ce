"""Open the levels of a TIFF slide for direct decoding, and prove that they decode to OpenSlide's pixels.

On the first use of a level, parts of a few tiles are decoded both ways. If one differs, or if anything about the file
is unusual, OpenSlide reads the level.

One difference is known. If bytes in the middle of a JPEG tile were overwritten, OpenSlide raises an error, while the
decoder used here may return wrong pixels. Tiles that are missing, blank or cut short, as in broken copies, are
detected: OpenSlide reads them instead, and they are grey if it fails as well.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.byte_cache import ByteCache
from mil_heatmaps.slides.jpeg_header import jpeg_head
from mil_heatmaps.slides.pixels import RGB
from mil_heatmaps.slides.tiff_headers import TiffDirectory, read_directories
from mil_heatmaps.slides.tiff_levels import (
    CACHE_BYTES,
    JPEG,
    PHOTOMETRIC_RGB,
    PHOTOMETRIC_YCBCR,
    TiffLevel,
    ends_as_jpeg,
)
from mil_heatmaps.slides.unreadable import TileError

logger = logging.getLogger(__name__)

VENDORS = frozenset({"generic-tiff", "aperio"})
_PHOTOMETRIC_NAMES = {PHOTOMETRIC_RGB: "RGB", PHOTOMETRIC_YCBCR: "YCBCR"}
_MOST_TABLE_BYTES = 1 << 16  # of JPEG tables, which have about 600
_MOST_PAGES = 256  # a slide has a dozen; more means a damaged or foreign file


def _tile_decoder(
    directory: TiffDirectory, tables: bytes | None, open_page: Callable[[], Any]
) -> Callable[[bytes], RGB]:
    """Return the function that decodes one tile of a TIFF directory; `open_page` opens it with tifffile."""
    if directory.compression == JPEG:
        from imagecodecs import jpeg8_decode

        tile_px, colorspace = directory.tile_px, _PHOTOMETRIC_NAMES[directory.photometric]
        right_head = b""

        def decode_jpeg(data: bytes) -> RGB:
            nonlocal right_head
            # The decoder silently fills missing data with grey; OpenSlide refuses such a tile.
            if not ends_as_jpeg(data):
                raise ValueError("the JPEG data end too early")
            # Decoders allocate the size that a tile claims before it can be compared, so the header is checked first.
            # Most tiles of a level have the same header, which is then checked only once.
            if not right_head or not data.startswith(right_head):
                claimed, head = jpeg_head(data)
                if claimed is not None and claimed != tile_px:
                    raise ValueError(f"the JPEG data claim {claimed[0]} x {claimed[1]} pixels")
                right_head = head
            # The colour space comes from the TIFF tag, because RGB JPEG tiles have no marker for it.
            tile: RGB = jpeg8_decode(data, tables=tables, colorspace=colorspace, outcolorspace="RGB")
            return tile

        return decode_jpeg

    page = open_page()

    def decode_other(data: bytes) -> RGB:
        tile: RGB = page.decode(data, 0, _fullsize=True)[0][0]  # the first axis is TIFF's depth
        return tile

    return decode_other


def _level_number(directories: Sequence[TiffDirectory], size_px: tuple[int, int]) -> int | None:
    """Return which directory is the level of this size; None if it is not one alone with 8-bit RGB tiles."""
    found = [number for number, each in enumerate(directories) if each.tile_px and each.size_px == size_px]
    if len(found) != 1:
        return None
    only = directories[found[0]]
    return found[0] if only.is_rgb8 and only.photometric in _PHOTOMETRIC_NAMES else None


def _probes(level: TiffLevel, file_bytes: int) -> list[int] | None:
    """Return tiles to compare (corners, middle, largest, one never written); None if the file holds no tile."""
    there = level.offsets + level.byte_counts <= file_bytes
    if not there.any():
        return None
    across, down = level.tiles
    last = across * down - 1
    largest = int(np.argmax(np.where(there, level.byte_counts, 0)))
    chosen = {0, across - 1, last, (down // 2) * across + across // 2, largest}
    missing = np.flatnonzero(level.byte_counts == 0)
    if len(missing):
        chosen.add(int(missing[0]))
    return sorted(chosen)


def _agrees(
    level: TiffLevel, index: int, read: Callable[[tuple[int, int], tuple[int, int]], RGB | None]
) -> bool:
    """Whether a quarter of a tile equals the reference.

    It is the lower right quarter, which an error anywhere in JPEG data without restart markers reaches; or the upper
    left one, if only that begins on a level-0 pixel. Wrong colours, tables or places show in any part.
    """
    left, top, right, bottom = level.box_px(index)
    half = -(-(right - left) // 2), -(-(bottom - top) // 2)
    for x, y in ((right - half[0], bottom - half[1]), (left, top)):
        try:
            expected = read((x, y), half)
        except TileError:
            return _fails(level, index)
        if expected is not None:
            part = level.decode(index)[y - top : y - top + half[1], x - left : x - left + half[0]]
            return np.array_equal(part, expected)
    return True


def _fails(level: TiffLevel, index: int) -> bool:
    """Whether direct decoding of a tile fails as well, as for OpenSlide."""
    try:
        level.decode(index)
    except SlideError:
        return True
    return False


class TiffLevels:
    """The levels of one slide that can be decoded directly; each is proven on first use."""

    def __init__(
        self,
        path: Path,
        vendor: str,
        level_dimensions: tuple[tuple[int, int], ...],
        read_reference: Callable[[int, tuple[int, int], tuple[int, int]], RGB | None],
    ) -> None:
        """`read_reference(level, corner_px, size_px)` returns OpenSlide's pixels, or None if it cannot tell."""
        self._path = path
        self._vendor = vendor
        self._dimensions = level_dimensions
        self._read_reference = read_reference
        self._cache: ByteCache[RGB] = ByteCache(CACHE_BYTES)
        self._lock = threading.Lock()
        self._levels: dict[int, TiffLevel | None] = {}
        self._tiff: Any = None
        self._file: BinaryIO | None = None

    def get(self, level: int) -> TiffLevel | None:
        """Return the level, or None if OpenSlide has to read it."""
        with self._lock:
            if level not in self._levels:
                try:
                    self._levels[level] = self._open(level)
                except Exception as error:  # OpenSlide reads any unusual file
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
        directories = read_directories(self._path)[:_MOST_PAGES]
        number = _level_number(directories, self._dimensions[level])
        if number is None:
            return None
        page = directories[number]
        if page.tile_px is None or page.offsets is None or page.byte_counts is None:
            return None
        self._file = file = self._file or self._path.open("rb", buffering=0)
        (width, height), tile_px = page.size_px, page.tile_px
        tiles = -(-width // tile_px[0]), -(-height // tile_px[1])
        offsets, byte_counts = page.offsets.read(file), page.byte_counts.read(file)
        if len(offsets) != tiles[0] * tiles[1] or len(byte_counts) != len(offsets):
            return None
        if self._vendor == "aperio" and not byte_counts.all():
            return None  # OpenSlide fills these from the next finer level
        if (page.jpeg_tables and page.jpeg_tables.count * page.jpeg_tables.width > _MOST_TABLE_BYTES) or (
            page.subsampling and page.subsampling.count != 2
        ):
            return None
        tables = page.jpeg_tables.read(file).astype(np.uint8).tobytes() if page.jpeg_tables else None
        chroma = tuple(page.subsampling.read(file).tolist()) if page.subsampling else (2, 2)
        is_ycbcr_jpeg = page.compression == JPEG and page.photometric == PHOTOMETRIC_YCBCR
        candidate = TiffLevel(
            path=self._path, level=level, size_px=(width, height), tile_px=tile_px, tiles=tiles,
            offsets=offsets, byte_counts=byte_counts,
            compression=page.compression, photometric=page.photometric,
            subsampling=chroma if is_ycbcr_jpeg else (1, 1), jpeg_tables=tables,
            decoder=_tile_decoder(page, tables, lambda: self._page(number)), _file=file, _cache=self._cache,
        )  # fmt: skip
        probes = _probes(candidate, os.fstat(file.fileno()).st_size)
        if probes is None:
            return None
        if all(_agrees(candidate, i, lambda c, s: self._read_reference(level, c, s)) for i in probes):
            return candidate
        logger.debug("%s level %d decodes differently from OpenSlide, which reads it", self._path, level)
        return None

    def _page(self, number: int) -> Any:
        """Return a directory as tifffile reads it, which knows every compression."""
        if self._tiff is None:
            import tifffile

            self._tiff = tifffile.TiffFile(self._path)
        return self._tiff.pages[number]

    def close(self) -> None:
        """Release the file; no level may be read afterwards."""
        with self._lock:
            self._levels = dict.fromkeys(range(len(self._dimensions)))
            for opened in (self._tiff, self._file):
                if opened is not None:
                    opened.close()
