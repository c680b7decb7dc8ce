"""Find tiles whose JPEG data claim another size than the slide's directory, before a decoder trusts them.

A tile of a few hundred bytes may claim 65,500 x 65,500 pixels; OpenSlide allocates 13 GB for it before it refuses. The
beginning of each JPEG tile is therefore checked once, before OpenSlide reads the tile.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.jpeg_header import HEAD_BYTES, jpeg_size
from mil_heatmaps.slides.tiff_headers import (
    JPEG_COMPRESSIONS,
    TiffDirectory,
    TiffHeaderError,
    read_directories,
)

Box = tuple[int, int, int, int]

_ON_A_GRID = frozenset({"generic-tiff", "aperio"})
"""Formats whose tile index gives the tile's place; for other formats, all tiles of a level are checked."""

_GOOD, _LIES = 1, 2


class TileHeaders:
    """The sizes that the JPEG tiles of a slide claim; empty for files other than TIFF. Several threads may use it."""

    def __init__(self, path: Path, vendor: str) -> None:
        self._path = path
        self._grid = vendor in _ON_A_GRID
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._levels: dict[tuple[int, int], list[_Tiles]] = {}
        try:
            directories = read_directories(path)
        except (TiffHeaderError, OSError):  # no TIFF, or one that OpenSlide has to judge
            directories = ()
        for directory in directories:
            tiled = directory.tile_px is not None and min(directory.tile_px) > 0 and directory.offsets is not None
            if tiled and directory.compression in JPEG_COMPRESSIONS:
                self._levels.setdefault(directory.size_px, []).append(_Tiles(directory))

    def first_lie(self, size_px: tuple[int, int], box_px: Box | None) -> str | None:
        """Return what is wrong with a tile of the level of size `size_px`; None if nothing is.

        `box_px` limits the check to tiles in a box; None checks all. Only tiles not checked before are read.
        """
        kept = self._levels.get(size_px)
        if not kept:
            return None
        with self._lock:
            if self._file is None:
                self._file = self._path.open("rb", buffering=0)
            for tiles in kept:
                if (found := tiles.first_lie(self._file, box_px if self._grid else None)) is not None:
                    return found
        return None

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class _Tiles:
    """The tiles of one directory, and which of them were checked."""

    def __init__(self, directory: TiffDirectory) -> None:
        assert directory.tile_px is not None
        self._directory = directory
        self._tile_px = directory.tile_px
        width, height = directory.size_px
        self._across, self._down = -(-width // self._tile_px[0]), -(-height // self._tile_px[1])
        self._places: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
        self._looked: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)

    def first_lie(self, file: BinaryIO, box_px: Box | None) -> str | None:
        if self._places is None:
            offsets, counts = self._directory.offsets, self._directory.byte_counts
            none = np.zeros(0, np.int64)
            self._places = offsets.read(file) if offsets else none, counts.read(file) if counts else none
            self._looked = np.zeros(len(self._places[0]), np.uint8)
        chosen = range(len(self._looked)) if box_px is None else self._within(box_px)
        for index in chosen:
            if index >= len(self._looked):
                continue
            if not self._looked[index]:
                self._looked[index] = _LIES if self._claims(file, index) is not None else _GOOD
            if self._looked[index] == _LIES:
                claim = self._claims(file, index)
                is_px = f"{self._tile_px[0]} x {self._tile_px[1]}"
                return f"tile {index} claims {claim[0]} x {claim[1]} pixels and is {is_px}" if claim else None
        return None

    def _claims(self, file: BinaryIO, index: int) -> tuple[int, int] | None:
        """Return the size that a tile claims, if it is larger than the tile size; else None."""
        assert self._places is not None
        offsets, counts = self._places
        count = int(counts[index]) if index < len(counts) else 0
        size = None
        for most in (HEAD_BYTES, 1 << 17, 1 << 26):
            file.seek(max(0, int(offsets[index])))
            size = jpeg_size(file.read(min(most, max(count, 0))))
            if size is not None or count <= most:
                break
        too_large = size is not None and (size[0] > self._tile_px[0] or size[1] > self._tile_px[1])
        return size if too_large else None

    def _within(self, box_px: Box) -> Sequence[int]:
        left, top, right, bottom = box_px
        tile_w, tile_h = self._tile_px
        columns = range(max(left, 0) // tile_w, min(-(-right // tile_w), self._across))
        rows = range(max(top, 0) // tile_h, min(-(-bottom // tile_h), self._down))
        return [row * self._across + column for row in rows for column in columns]
