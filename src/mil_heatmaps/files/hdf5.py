"""Open HDF5 files and read whole datasets, with errors that say what is there instead.

Only functions that handle a file import h5py: a run that finds everything done does not need it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps import machine
from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.files.hdf5_guard import refusal
from mil_heatmaps.files.names import restored
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import first_of, said_by

if TYPE_CHECKING:
    import h5py
    import numpy.typing as npt

logger = logging.getLogger(__name__)

_SMALL_BYTES = 16 << 20
"""A dataset up to this size is read however well it compresses."""

_FITS_BYTES = 256 << 20
"""Up to this size free memory is not checked: a check takes a millisecond, and a slide has several datasets."""

_BLOCK_BYTES = 1 << 19
"""Numbers are looked at in parts of this size, which stay in the processor's cache."""

_MOST_SQUEEZED = 100
"""Features and scores seldom compress to a quarter; a dataset that grows more than this is not a measurement."""


class UnfitDatasetError(HeatmapError, ValueError):
    """A dataset cannot be read as numbers of one slide; `open_h5` turns it into the error of its reader."""


def lock_note(path: Path) -> Notice | None:
    """Return what a TRIDENT lock beside the file means, None without one."""
    lock = path.with_name(path.name + ".lock")
    if not lock.exists():
        return None
    text = f"{lock.name} lies beside it: the file is being written, or a failed run left the lock behind"
    return Notice("lock", text)


@contextmanager
def open_h5(path: Path, error: type[HeatmapError] = FeatureError) -> Iterator[h5py.File]:
    """Yield the file opened for reading; `error` names it and says why it cannot be opened or read."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise error(f"{path}: {what}; an HDF5 file is needed")
    hint = lock_note(path)
    tail = f" ({hint})" if hint else ""
    if path.stat().st_size == 0:
        why = "as when writing or copying was interrupted: write or copy it again"
        raise error(f"{path}: the file is empty (0 bytes), {why}{tail}")
    import h5py

    try:
        readable = h5py.is_hdf5(path)
    except OSError:
        readable = True  # the attempt to open it gives the reason
    if not readable:
        refuse_stand_in(path, error)
        raise error(f"{path}: not an HDF5 file, it begins with {_first_bytes(path)!r}{tail}")
    if (refused := refusal(path)) is not None:
        raise error(f"{path}: not read: {refused}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UnfitDatasetError as cause:
        raise error(f"{path}: {said_by(cause, 1000)}") from cause
    except HeatmapError:
        raise
    except Exception as cause:  # h5py raises nearly every kind for a damaged file
        if not isinstance(cause, OSError) and not _raised_by_h5py(cause):
            raise
        raise error(f"{path}: damaged or incomplete, cannot be read ({said_by(cause)}){tail}") from cause


def _raised_by_h5py(error: Exception) -> bool:
    """Whether an error began in h5py, and not in the code that uses the numbers."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "h5py" in Path(trace.tb_frame.f_code.co_filename).parts


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def contents(file: h5py.File) -> str:
    """Return a line that lists every dataset with type and shape."""
    import h5py

    found: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(f"{name} {item.dtype} {item.shape}")

    file.visititems(note)
    return first_of(found, 12) or "nothing"


def dataset(file: h5py.File | h5py.Group, name: str) -> h5py.Dataset | None:
    """Return the dataset, None if it does not exist or is a group.

    Raises
    ------
    UnfitDatasetError
        It has no place for numbers, or takes far more memory than the file explains or the machine has. The size is
        checked before anything is read.
    """
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        return None
    if found.shape is None:
        raise UnfitDatasetError(f"{name!r} is an empty dataset: it has a type, and no place for numbers")
    if found.nbytes > _SMALL_BYTES:
        _check_size(found, name)
    return found


def needed_dataset(file: h5py.File | h5py.Group, name: str) -> h5py.Dataset:
    """Return the dataset as `dataset` does; UnfitDatasetError when there is none."""
    found = dataset(file, name)
    if found is None:
        raise UnfitDatasetError(f"it has no dataset {name!r}")
    return found


def _check_size(found: h5py.Dataset, name: str) -> None:
    size, stored = found.nbytes, found.id.get_storage_size()
    free = machine.available_bytes() if size > _FITS_BYTES else None
    what = f"{name!r} of shape {found.shape} and type {found.dtype} takes {size:,} bytes"
    if size > _MOST_SQUEEZED * stored:
        raise UnfitDatasetError(f"{what}, of which the file holds {stored:,}: measurements never compress that far")
    if free is not None and size > free:
        raise UnfitDatasetError(f"{what}, and this process can still take {free:,}")


def attributes(file: h5py.File, *names: str) -> dict[str, Any]:
    """Return the attributes of the file and of the named datasets, later names winning; text as str."""
    import h5py

    merged: dict[str, Any] = {}
    for holder in [file, *(item for name in names if (item := dataset(file, name)) is not None)]:
        values = dict(holder.attrs).items()
        merged.update({key: plain(value) for key, value in values if not isinstance(value, h5py.Empty)})
    return merged


def plain(value: Any) -> Any:
    """Return an attribute as a Python or NumPy value: bytes as text, arrays of one as their item."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        return restored(str(value))
    return value.item() if isinstance(value, np.generic) else value


def text_attribute(values: Mapping[str, Any], key: str) -> str | None:
    """Return an attribute as text; None when absent, empty or the word TRIDENT writes for unknown."""
    value = values.get(key)
    return value if isinstance(value, str) and value not in ("", "None") else None


def first_not_finite(values: npt.NDArray[Any]) -> tuple[int, int] | None:
    """Return how many numbers are NaN or infinite and the first row that holds one; None when all are finite."""
    bad, first, rows = 0, -1, max(1, _BLOCK_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        if _is_finite(block):
            continue
        wrong = ~np.isfinite(block)
        bad += int(wrong.sum())
        if first < 0 and wrong.any():
            first = start + int(np.argmax(wrong.reshape(len(block), -1).any(axis=1)))
    return (bad, first) if bad else None


def _is_finite(block: npt.NDArray[Any]) -> bool:
    """Whether all numbers are finite, from their bits: a fifteenth of the time of `np.isfinite` for float16.

    Without the sign, infinity and NaN are the numbers with the highest bits. With it, they are so among the positive
    numbers taken as signed integers, and among all numbers taken as unsigned ones.
    """
    kind = block.dtype
    if not block.size or not kind.isnative or kind.itemsize > 8:
        return bool(np.isfinite(block).all())
    infinity, signed, unsigned = np.array(np.inf, kind), f"i{kind.itemsize}", f"u{kind.itemsize}"
    return bool(
        block.view(signed).max() < infinity.view(signed) and block.view(unsigned).max() < (-infinity).view(unsigned)
    )
