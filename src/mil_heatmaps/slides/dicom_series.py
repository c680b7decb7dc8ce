"""DICOM slides: the files of one series in a folder, one file per level, are one slide.

This module reads only the headers, without pydicom, so that listing a cohort does not need it.
"""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from mil_heatmaps.errors import SlideError
from mil_heatmaps.words import first_of

_TRANSFER_SYNTAX, _IMAGE_TYPE, _SERIES = 0x0002_0010, 0x0008_0008, 0x0020_000E
_ROWS, _COLUMNS = 0x0028_0010, 0x0028_0011
_TOTAL_COLUMNS, _TOTAL_ROWS = 0x0048_0006, 0x0048_0007
_WANTED = (_TRANSFER_SYNTAX, _IMAGE_TYPE, _SERIES, _ROWS, _COLUMNS, _TOTAL_COLUMNS, _TOTAL_ROWS)
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Value representations with a length field of four bytes."""

_UNDEFINED = 0xFFFF_FFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_LONGEST = 4096
_DEEPEST = 16
_MOST_ELEMENTS = 100_000
"""A header has hundreds; a file of nothing but elements would keep the listing of a cohort busy for long."""


@dataclass(frozen=True)
class DicomHeader:
    """What the header of a DICOM file says about its place in a slide.

    Attributes
    ----------
    series_uid : str
        SeriesInstanceUID; equal for all files of a slide.
    columns, rows : int
        Size of the level in pixels.
    is_level : bool
        False for a label, an overview or a thumbnail.
    """

    series_uid: str
    columns: int
    rows: int
    is_level: bool


def read_header(path: Path) -> DicomHeader | None:
    """Return the header of a DICOM file; None for a file that is not DICOM, is damaged, or names no series."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return _read_header(os.fspath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _read_header(path: str, size: int, mtime_ns: int) -> DicomHeader | None:
    try:
        with open(path, "rb") as file:
            values = _values(file, size)
    except (OSError, struct.error, ValueError):
        return None
    series = _text(values.get(_SERIES))
    if not series:
        return None
    columns = _number(values.get(_TOTAL_COLUMNS)) or _number(values.get(_COLUMNS))
    rows = _number(values.get(_TOTAL_ROWS)) or _number(values.get(_ROWS))
    kinds = _text(values.get(_IMAGE_TYPE)).upper().split("\\")
    return DicomHeader(series, columns, rows, not {"LABEL", "OVERVIEW", "THUMBNAIL"} & set(kinds))


def _text(value: bytes | None) -> str:
    return (value or b"").decode("ascii", "replace").strip(" \0")


def _number(value: bytes | None) -> int:
    return int.from_bytes(value, "little") if value and len(value) in (2, 4) else 0


def _values(file: BinaryIO, size: int) -> Mapping[int, bytes]:
    """Return the raw values of `_WANTED`; empty if the file is not DICOM or has a transfer syntax not used for slides.

    Raises ValueError or struct.error if the file is damaged.
    """
    if file.read(132)[128:] != b"DICM":
        return {}
    found: dict[int, bytes] = {}
    explicit, in_meta = True, True
    left = iter(range(_MOST_ELEMENTS))
    while file.tell() < size:
        start = file.tell()
        tag = _tag(file.read(4))
        if in_meta and tag >> 16 != 2:  # the rest follows the transfer syntax
            in_meta, syntax = False, _text(found.get(_TRANSFER_SYNTAX))
            if syntax in (_BIG_ENDIAN, _DEFLATED):
                return {}
            explicit = syntax != _IMPLICIT
        if tag > _TOTAL_ROWS:
            break
        file.seek(start)
        tag, length = _element(file, explicit, left)
        if length == _UNDEFINED:
            _skip_nested(file, explicit, left, 0)
        elif tag in _WANTED and length <= _LONGEST:
            found[tag] = file.read(length)
            if len(found[tag]) < length:
                raise ValueError("the file is cut short")
        else:
            file.seek(length, os.SEEK_CUR)
    return found


def _tag(data: bytes) -> int:
    group, element = struct.unpack("<HH", data)
    return int(group << 16 | element)


def _element(file: BinaryIO, explicit: bool, left: Iterator[int]) -> tuple[int, int]:
    """Read the header of an element; return its tag and the length of its value. `left` counts those that are left."""
    if next(left, None) is None:
        raise ValueError("the header has too many elements")
    tag = _tag(file.read(4))
    if not explicit or tag >> 16 == 0xFFFE:
        return tag, struct.unpack("<I", file.read(4))[0]
    kind = file.read(2)
    if kind in _LONG:
        return tag, struct.unpack("<2xI", file.read(6))[0]
    return tag, struct.unpack("<H", file.read(2))[0]


def _skip_nested(file: BinaryIO, explicit: bool, left: Iterator[int], depth: int) -> None:
    """Skip a sequence or item of undefined length."""
    if depth > _DEEPEST:
        raise ValueError("sequences are nested too deep")
    while True:
        tag, length = _element(file, explicit, left)
        if tag in (_SEQUENCE_END, _ITEM_END):
            return
        if length == _UNDEFINED:
            _skip_nested(file, explicit, left, depth + 1)
        else:
            file.seek(length, os.SEEK_CUR)


def series_of(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Return DICOM files by series, the file of the finest level first; files without a header are left out."""
    headers = {path: header for path in files if (header := read_header(path)) is not None}
    series: dict[str, list[Path]] = {}
    for path in sorted(headers, key=lambda path: _rank(path, headers[path])):
        series.setdefault(headers[path].series_uid, []).append(path)
    return series


def _rank(path: Path, header: DicomHeader) -> tuple[bool, int, str]:
    return not header.is_level, -header.columns * header.rows, path.name


def slides_in(folder: Path, files: Iterable[Path], *, inside: bool) -> list[Path]:
    """Return the slides among the DICOM files of one folder.

    Parameters
    ----------
    folder : Path
    files : paths
        Its files that end with .dcm.
    inside : bool
        Whether the folder lies in a folder of slides. If so, and if it holds one series, the folder itself is a slide.

    Returns
    -------
    list of Path
        The folder, or the file of the finest level of each series. Files without a header are included, so that opening
        them reports what is wrong.
    """
    files = list(files)
    series = series_of(files)
    known = {path for paths in series.values() for path in paths}
    slides = [folder] if inside and len(series) == 1 else [paths[0] for paths in series.values()]
    return sorted([*slides, *(path for path in files if path not in known)])


def data_file(path: Path) -> Path:
    """Return the file to open for a slide: `path`, or the finest level of the only series in the folder `path`.

    Raises
    ------
    SlideError
        If the folder holds no DICOM series, or several.
    """
    if not path.is_dir():
        return path
    series = series_of(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if not series:
        raise SlideError(f"{path} is a folder without a DICOM series: a slide is a file, or the folder of one series")
    if len(series) > 1:
        files = [paths[0].name for paths in series.values()]
        raise SlideError(f"{path} holds {len(series)} DICOM series; name a file of one of them: {first_of(files, 5)}")
    return next(iter(series.values()))[0]
