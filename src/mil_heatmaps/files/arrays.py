"""Read untrusted arrays, ``.npy``, ``.npz``, ``.safetensors``: no pickles, no more memory than the file explains."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps import machine
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.stand_ins import refuse_no_file
from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import said_by

if TYPE_CHECKING:
    import numpy.typing as npt

_SMALL_BYTES = 16 << 20
"""Arrays up to this size are read however well they compress."""

_MOST_SQUEEZED = 100
"""As for HDF5 datasets: measurements seldom compress to a quarter."""

_MOST_ARRAYS = 100_000

_TYPES_OF_SAFETENSORS = frozenset({"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"})
"""Those that NumPy has too."""


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
        The file is missing or damaged, holds objects (which would have to be unpickled), or would take far more memory
        than its size explains or than there is. The message names the file.
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


def read_safetensors(path: Path, error: type[HeatmapError]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return the arrays of a ``.safetensors`` by name, and the texts beside them.

    Raises
    ------
    `error`
        The file is missing or damaged, or an array has a type of number that NumPy lacks. The message names the file.
    """
    from safetensors import SafetensorError, safe_open

    refuse_no_file(path, error)
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            for name in names:
                if (stored := str(file.get_slice(name).get_dtype())) not in _TYPES_OF_SAFETENSORS:
                    raise error(f"{path}: {name} is stored as {stored}: save it as 32-bit floating point (F32)")
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as cause:
        raise error(f"{path}: no whole safetensors file ({said_by(cause)}): copy it again") from cause


def _plain(path: Path) -> npt.NDArray[Any]:
    # If a header claims more than the file holds, a memory map fails, while reading would first make the array.
    return np.array(np.load(path, allow_pickle=False, mmap_mode="r"))


def _check_size(size: int, path: Path, error: type[HeatmapError]) -> None:
    if size <= _SMALL_BYTES:
        return
    stored, free = path.stat().st_size, machine.available_bytes()
    if size > _MOST_SQUEEZED * stored:
        raise error(f"{path}: {stored:,} bytes would unpack to {size:,}: measurements never compress that far")
    if free is not None and size > free:
        raise error(f"{path}: would unpack to {size:,} bytes, and this process can still take {free:,}")
