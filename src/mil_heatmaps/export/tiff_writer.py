"""A pyramid of tiles as BigTIFF, written front to back: first the tiles in any order, then the directories.

Every level is a directory of the main chain, where OpenSlide and libvips expect it, and a SubIFD of the first
directory, where OME-TIFF readers (QuPath, tifffile) expect it. No level is ever completely in memory.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.tiff_levels import DEFLATE, JPEG, PHOTOMETRIC_YCBCR

_SHORT, _LONG, _RATIONAL, _ASCII, _UNDEFINED, _LONG8, _IFD8 = 3, 4, 5, 2, 7, 16, 18
_SIZES = {_SHORT: 2, _LONG: 4, _RATIONAL: 8, _ASCII: 1, _UNDEFINED: 1, _LONG8: 8, _IFD8: 8}
_ICC_PROFILE = 34675
Entry = tuple[int, int, int, bytes]


@dataclass(frozen=True)
class LevelLayout:
    """How one level is stored.

    Attributes
    ----------
    size_px, tile_px : (width, height)
        Size of the level and of one tile; tile sides are multiples of 16.
    compression : `JPEG` or `DEFLATE`
    photometric : `PHOTOMETRIC_RGB` or `PHOTOMETRIC_YCBCR`
        Colours in the compressed tiles.
    subsampling : (x, y)
        Subsampling of the chroma in YCbCr tiles.
    jpeg_tables : bytes or None
        Tables for tiles copied from another file.
    """

    size_px: tuple[int, int]
    tile_px: tuple[int, int]
    compression: int = JPEG
    photometric: int = PHOTOMETRIC_YCBCR
    subsampling: tuple[int, int] = (2, 2)
    jpeg_tables: bytes | None = None

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles across and down."""
        return -(-self.size_px[0] // self.tile_px[0]), -(-self.size_px[1] // self.tile_px[1])


class PyramidWriter:
    """Writes tiles in any order, then the directories.

    Parameters
    ----------
    file : binary file open for writing, seekable
    levels : LevelLayout, finest first
    mpp : float or None
        Micrometres per pixel of the finest level; stored as TIFF resolution and in the OME description.
    name : str
        Name of the picture, for the OME description.
    notes : texts
        Further lines of the OME description.
    icc_profile : bytes or None
        Colour profile of all levels.
    """

    def __init__(
        self,
        file: BinaryIO,
        levels: Sequence[LevelLayout],
        *,
        mpp: float | None = None,
        name: str = "",
        notes: Sequence[str] = (),
        icc_profile: bytes | None = None,
    ) -> None:
        self._file = file
        self._levels = list(levels)
        self._mpp = mpp
        self._name = name
        self._notes = tuple(notes)
        self._icc_profile = icc_profile
        counts = [math.prod(level.tiles) for level in levels]
        self._offsets = [np.zeros(count, np.uint64) for count in counts]
        self._byte_counts = [np.zeros(count, np.uint64) for count in counts]
        self._shared: dict[bytes, int] = {}
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        self._end = 16

    def write_tile(self, level: int, index: int, data: bytes, *, shared: bool = False) -> None:
        """Append a compressed tile; `index` counts row by row. Empty `data` leaves the tile out.

        `shared` stores equal bytes only once, for tiles that occur many times.
        """
        if not data:
            return
        place = self._shared.get(data) if shared else None
        if place is None:
            place = self._append(data)
            if shared:
                self._shared[data] = place
        self._offsets[level][index] = place
        self._byte_counts[level][index] = len(data)

    def finish(self) -> None:
        """Write the directories, and their start into the header."""
        # Backwards, so that the offset of the next directory is known; the first directory lists all others.
        following = 0
        places: list[int] = []
        for number in reversed(range(len(self._levels))):
            entries = self._entries(number, places[::-1] if number == 0 else [])
            following = self._write_directory(entries, following)
            places.append(following)
        self._file.seek(8)
        self._file.write(struct.pack("<Q", following))
        self._file.seek(0, 2)

    def _append(self, data: bytes) -> int:
        place = self._end
        self._file.write(data)
        self._end += len(data)
        return place

    def _entries(self, number: int, sub_directories: list[int]) -> list[Entry]:
        level = self._levels[number]
        pixels_a_cm = None if self._mpp is None else 1e4 / self._mpp * level.size_px[0] / self._levels[0].size_px[0]
        entries = [
            _numbers(254, _LONG, [int(number > 0)]),
            _numbers(256, _LONG, [level.size_px[0]]),
            _numbers(257, _LONG, [level.size_px[1]]),
            _numbers(258, _SHORT, [8, 8, 8]),
            _numbers(259, _SHORT, [level.compression]),
            _numbers(262, _SHORT, [level.photometric]),
            _numbers(277, _SHORT, [3]),
            _numbers(284, _SHORT, [1]),
            _numbers(322, _LONG, [level.tile_px[0]]),
            _numbers(323, _LONG, [level.tile_px[1]]),
            _numbers(324, _LONG8, self._offsets[number]),
            _numbers(325, _LONG8, self._byte_counts[number]),
        ]
        if number == 0:
            text = self._description().encode() + b"\0"
            entries.append((270, _ASCII, len(text), text))
        if self._icc_profile is not None:
            entries.append((_ICC_PROFILE, _UNDEFINED, len(self._icc_profile), self._icc_profile))
        if sub_directories:
            entries.append(_numbers(330, _IFD8, sub_directories))
        if pixels_a_cm is not None:
            resolution = struct.pack("<II", round(pixels_a_cm * 1000), 1000)
            entries += [(282, _RATIONAL, 1, resolution), (283, _RATIONAL, 1, resolution), _numbers(296, _SHORT, [3])]
        if level.jpeg_tables is not None:
            entries.append((347, _UNDEFINED, len(level.jpeg_tables), level.jpeg_tables))
        if level.compression == DEFLATE:
            entries.append(_numbers(317, _SHORT, [2]))  # tiles hold differences from the pixel to the left
        if level.photometric == PHOTOMETRIC_YCBCR:
            entries.append(_numbers(530, _SHORT, level.subsampling))
        return sorted(entries)

    def _write_directory(self, entries: list[Entry], following: int) -> int:
        """Append one directory, with its long values first; return where the directory begins."""
        fields = []
        for tag, kind, count, data in entries:
            if len(data) > 8:
                self._append(b"\0" * (-self._end % 8))
                data = struct.pack("<Q", self._append(data))
            fields.append(struct.pack("<HHQ", tag, kind, count) + data.ljust(8, b"\0"))
        self._append(b"\0" * (-self._end % 8))
        return self._append(struct.pack("<Q", len(fields)) + b"".join(fields) + struct.pack("<Q", following))

    def _description(self) -> str:
        """Return the OME-XML of one RGB picture."""
        width, height = self._levels[0].size_px
        size = "" if self._mpp is None else f' PhysicalSizeX="{self._mpp:.6g}" PhysicalSizeY="{self._mpp:.6g}"'
        said = f"<Description>{escape(chr(10).join(self._notes))}</Description>" if self._notes else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06 '
            'http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd">'
            f'<Image ID="Image:0" Name={quoteattr(self._name)}>{said}'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" SizeY="{height}" '
            f'SizeC="3" SizeZ="1" SizeT="1" Interleaved="true"{size}>'
            '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/>'
            "</Pixels></Image></OME>"
        )


def _numbers(tag: int, kind: int, values: Sequence[int] | npt.NDArray[np.uint64]) -> Entry:
    data = np.asarray(values, dtype=f"<u{_SIZES[kind]}").tobytes()
    return tag, kind, len(values), data
