"""Read arrays of NumPy, ``.npy`` and ``.npz``, of strangers: nothing pickled, no more memory than the file explains."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps import machine
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.stand_ins import refuse_no_file
from mil_heatmaps.words import said_by

_SMALL_BYTES = 16 << 20
"""Arrays up to this size are read however little of them is stored."""

_MOST_SQUEEZED = 100
"""As of datasets of HDF5: measurements are seldom squeezed to a quarter."""

_MOST_ARRAYS = 100_000


def read_npy(path: Path, error: type[HeatmapError]) -> npt.NDArray[Any]:
    """Return the array of a ``.npy``; see `read_arrays` for what is refused."""
    found = read_arrays(path, error)
    if list(found) != [""]:
        raise error(f"{path}: an archive of {len(found)} arrays; one array, as np.save writes, is needed")
    return found[""]


def read_arrays(path: Path, error: type[HeatmapError]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a ``.npz`` by name; that of a ``.npy`` by the name "".

    Raises
    ------
    `error`
        It is missing, damaged, holds objects (they would have to be unpickled), or would take far more memory than the
        file explains or than there is. The message names the file.
    """
    refuse_no_file(path, error)
    try:
        with path.open("rb") as file:
            begin = file.read(6)
        if begin == b"\x93NUMPY":
            return {"": _plain(path)}
        if begin[:2] != b"PK":
            raise error(f"{path}: holds no arrays of NumPy, it begins with {begin!r}")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if len(members) > _MOST_ARRAYS:
            raise error(f"{path}: holds {len(members):,} arrays; up to {_MOST_ARRAYS:,} are read")
        _check_size(sum(member.file_size for member in members), path, error)
        with np.load(path, allow_pickle=False) as held:
            return {name: np.asarray(held[name]) for name in held.files}
    except HeatmapError:
        raise
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror or said_by(cause)}") from cause
    except Exception as cause:  # a damaged archive fails in as many ways as zip files can
        raise error(f"{path}: damaged, or holds more than arrays of numbers and texts ({said_by(cause)})") from cause


def _plain(path: Path) -> npt.NDArray[Any]:
    # A header that claims more than the file holds: a map of it is refused, where reading would make the array first.
    return np.array(np.load(path, allow_pickle=False, mmap_mode="r"))


def _check_size(size: int, path: Path, error: type[HeatmapError]) -> None:
    if size <= _SMALL_BYTES:
        return
    stored, free = path.stat().st_size, machine.available_bytes()
    if size > _MOST_SQUEEZED * stored:
        raise error(f"{path}: {stored:,} bytes would unpack to {size:,}: measurements never compress that far")
    if free is not None and size > free:
        raise error(f"{path}: would unpack to {size:,} bytes, and this process can still take {free:,}")
