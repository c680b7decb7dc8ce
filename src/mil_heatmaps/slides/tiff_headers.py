"""What the directories of a TIFF declare about its tiles, read without a library that would trust them.

A slide of a few kilobytes may declare a tile of 65,520 x 65,520 pixels. OpenSlide allocates 17 GB for it, and ends the
process if it cannot. Sizes are (width, height) in pixels, offsets are bytes of the file.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import said_by

if TYPE_CHECKING:
    import numpy.typing as npt

JPEG_COMPRESSIONS = (6, 7)

MOST_TILE_BYTES = 256 << 20
"""Size of a decoded tile. Tiles of formats in use have up to 4096 x 4096 pixels, 48 MiB."""

_MOST_DIRECTORIES = 2_000
_MOST_TAGS = 4_096
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each TIFF type."""
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""How `struct` calls numbers of so many bytes."""

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR = (
    256, 257, 258, 259, 262, 266, 277, 284
)  # fmt: skip
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS, _JPEG_TABLES = 322, 323, 324, 325, 347
_SUBSAMPLING, _IMAGE_DEPTH, _TILE_DEPTH = 530, 32997, 32998
_NUMBERS = (_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _TILE_WIDTH, _TILE_LENGTH)
_DETAILS = (_PHOTOMETRIC, _FILL_ORDER, _PLANAR, _IMAGE_DEPTH, _TILE_DEPTH)
"""Tags that only reading without OpenSlide needs. One that lies beyond the file must not hide what tiles declare."""
_UNKNOWN = -1
_LISTS = (_TILE_OFFSETS, _TILE_COUNTS, _JPEG_TABLES, _SUBSAMPLING)


class TiffHeaderError(ValueError):
    """The directories cannot be right; the message continues after the file's name."""


class TileTooLargeError(TiffHeaderError):
    """A tile would take more memory than any tile of a real slide."""


@dataclass(frozen=True)
class ValuesAt:
    """Where a tag's integers are stored: `count` integers of `width` bytes each, from `offset` on."""

    offset: int
    count: int
    width: int
    order: str

    def read(self, file: BinaryIO) -> npt.NDArray[np.int64]:
        """Return the integers, as many as the file holds."""
        file.seek(self.offset)
        kind = np.dtype(f"{self.order}u{self.width}")
        data = file.read(self.count * self.width)
        return np.frombuffer(data, kind, count=len(data) // self.width).astype(np.int64)


@dataclass(frozen=True)
class TiffDirectory:
    """One picture of a TIFF.

    Attributes
    ----------
    size_px, tile_px : (width, height)
        Of the picture and of a tile; `tile_px` is None if it is stored in strips.
    compression, photometric : int
        The TIFF tags.
    is_rgb8 : bool
        Whether a pixel is three numbers of eight bits, stored together.
    offsets, byte_counts, jpeg_tables, subsampling : ValuesAt or None
    """

    size_px: tuple[int, int]
    tile_px: tuple[int, int] | None
    compression: int
    photometric: int
    is_rgb8: bool
    offsets: ValuesAt | None
    byte_counts: ValuesAt | None
    jpeg_tables: ValuesAt | None
    subsampling: ValuesAt | None


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF does."""
    with path.open("rb") as file:
        return _order(file.read(4)) is not None


def read_directories(path: Path) -> tuple[TiffDirectory, ...]:
    """Return the directories of a TIFF, in order. They are read once for every state of a file.

    Raises
    ------
    TileTooLargeError
        If a tile is larger than `MOST_TILE_BYTES`.
    TiffHeaderError
        If the directories are invalid: for example, if a tag exceeds the file or directories form a cycle.
    """
    try:
        state = path.stat()
        return _directories(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    except (struct.error, OverflowError, OSError) as error:
        raise TiffHeaderError(f"its directories cannot be read ({said_by(error)})") from error


@lru_cache(maxsize=16)
def _directories(path: Path, *_state: int) -> tuple[TiffDirectory, ...]:
    """Return the directories of a file in one state, which three readers of a slide ask for one after another."""
    with path.open("rb") as file:
        return tuple(_read(file))


def _order(head: bytes) -> str | None:
    """Return the byte order in the notation of `struct`, or None if this is not a TIFF."""
    return {b"II*\0": "<", b"II+\0": "<", b"MM\0*": ">", b"MM\0+": ">"}.get(head[:4])


def _read(file: BinaryIO) -> list[TiffDirectory]:
    size = os.fstat(file.fileno()).st_size
    head = file.read(16).ljust(16, b"\0")
    order = _order(head)
    if order is None:
        raise TiffHeaderError("it is not a TIFF")
    big = b"+" in head[:4]
    place = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    found: list[TiffDirectory] = []
    seen: set[int] = set()
    while place:
        if place in seen:
            raise TiffHeaderError("its directories lead in a circle")
        if place >= size:
            raise TiffHeaderError(f"it is cut short: a directory begins at byte {place} of {size}")
        if len(found) >= _MOST_DIRECTORIES:
            raise TiffHeaderError(f"it has more than {_MOST_DIRECTORIES:,} directories")
        seen.add(place)
        directory, place = _read_one(file, order, big, place, size)
        found.append(directory)
    return found


def _read_one(file: BinaryIO, order: str, big: bool, place: int, size: int) -> tuple[TiffDirectory, int]:
    """Return one directory and the offset of the next; 0 if there is none."""
    entry, counter, pointer = (20, "Q", "Q") if big else (12, "H", "I")
    file.seek(place)
    count = struct.unpack(order + counter, file.read(struct.calcsize(counter)))[0]
    if count > _MOST_TAGS:
        raise TiffHeaderError(f"a directory says it has {count:,} tags")
    data = file.read(count * entry)
    following = struct.unpack(order + pointer, file.read(struct.calcsize(pointer)))[0]
    start = place + struct.calcsize(counter)
    numbers: dict[int, int] = {}
    lists: dict[int, ValuesAt] = {}
    for at in range(0, count * entry, entry):
        tag, kind, values = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, at)
        width = _SIZES.get(kind, 1)
        inline = at + (12 if big else 8)
        fits = values * width <= (8 if big else 4)
        if not fits and values * width > size:
            raise TiffHeaderError(f"tag {tag} says it holds {values * width:,} bytes, more than the file ({size:,})")
        offset = start + inline if fits else struct.unpack_from(order + pointer, data, inline)[0]
        if tag in _LISTS and width in _CODES:
            lists[tag] = ValuesAt(offset, values, width, order)
        elif tag in _NUMBERS and values and width in _CODES:
            numbers[tag] = _first(file, order, data[inline : inline + width] if fits else offset, width)
        elif tag in _DETAILS and values and width in _CODES:
            try:
                numbers[tag] = _first(file, order, data[inline : inline + width] if fits else offset, width)
            except struct.error:
                numbers[tag] = _UNKNOWN
    return _directory(numbers, lists), following


def _first(file: BinaryIO, order: str, place: bytes | int, width: int) -> int:
    """Return the first number of a tag, from its bytes or from where they begin in the file."""
    if isinstance(place, int):
        file.seek(place)
        place = file.read(width)
    value: int = struct.unpack(order + _CODES[width], place)[0]
    return value


def _directory(numbers: dict[int, int], lists: dict[int, ValuesAt]) -> TiffDirectory:
    tile = numbers.get(_TILE_WIDTH, 0), numbers.get(_TILE_LENGTH, 0)
    tiled = _TILE_WIDTH in numbers and _TILE_LENGTH in numbers
    if tiled:
        samples = max(3, numbers.get(_SAMPLES, 1)) * max(1, numbers.get(_BITS, 8) // 8)
        taken = tile[0] * tile[1] * max(4, samples)
        if taken > MOST_TILE_BYTES:
            raise TileTooLargeError(
                f"it declares tiles of {tile[0]} x {tile[1]} pixels, which take {taken:,} bytes each; "
                f"up to {MOST_TILE_BYTES:,} are read"
            )
    return TiffDirectory(
        size_px=(numbers.get(_WIDTH, 0), numbers.get(_LENGTH, 0)),
        tile_px=tile if tiled else None,
        compression=numbers.get(_COMPRESSION, 1),
        photometric=numbers.get(_PHOTOMETRIC, 0),
        is_rgb8=(numbers.get(_SAMPLES, 1), numbers.get(_BITS, 1)) == (3, 8)
        and all(numbers.get(tag, 1) == 1 for tag in (_PLANAR, _FILL_ORDER, _IMAGE_DEPTH, _TILE_DEPTH)),
        offsets=lists.get(_TILE_OFFSETS),
        byte_counts=lists.get(_TILE_COUNTS),
        jpeg_tables=lists.get(_JPEG_TABLES),
        subsampling=lists.get(_SUBSAMPLING),
    )
