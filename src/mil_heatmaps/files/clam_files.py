"""CLAM's helpers for HDF5 and pickle files, by their names there.

Datasets written by `save_hdf5` can be appended to. `load_pkl` builds plain containers and NumPy arrays, and
nothing that could run code.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.hdf5 import dataset, open_h5, plain
from mil_heatmaps.files.hdf5_writing import write_h5
from mil_heatmaps.files.safe_pickle import dump_pickle, load_pickle
from mil_heatmaps.words import said_by

__all__ = ["DataFileError", "load_hdf5", "load_pkl", "save_hdf5", "save_pkl"]

PathLike = str | os.PathLike[str]


class DataFileError(HeatmapError, ValueError):
    """An HDF5 file, or what should go into it, is wrong."""


def save_hdf5(
    output_path: PathLike,
    asset_dict: Mapping[str, Any],
    attr_dict: Mapping[str, Mapping[str, Any]] | None = None,
    mode: str = "a",
    *,
    chunk_size: int = 32,
) -> str:
    """Write arrays as datasets, or append them to those that are there, and return the path.

    Parameters
    ----------
    output_path : file
        Its folder is made.
    asset_dict : name -> array
        The first axis counts rows; it can grow later. Tensors on the CPU will do.
    attr_dict : name -> attributes, optional
        Attributes of the datasets, set when a dataset is made and overwritten when it is appended to.
    mode : ``a`` or ``w``
        ``a`` appends rows to datasets of that name and makes those that are missing; everything is checked
        before anything is written. ``w`` makes a new file, whole or not at all.
    chunk_size : int
        Rows a chunk of a new dataset: 32 as CLAM's feature and score files, 1 as its coordinate files.

    Raises
    ------
    DataFileError
        Unknown mode, an attribute for a dataset that is not given, a shape or type that does not fit what is
        there, or a file that cannot be read.
    """
    path = Path(output_path)
    if mode not in ("a", "w"):
        raise DataFileError(f"{path}: mode must be 'a' (append) or 'w' (write again), got {mode!r}")
    if chunk_size < 1:
        raise DataFileError(f"{path}: chunk_size must be at least 1, got {chunk_size}")
    arrays = {name: _array(name, value, path) for name, value in asset_dict.items()}
    attributes = dict(attr_dict or {})
    if unknown := sorted(set(attributes) - set(arrays)):
        raise DataFileError(f"{path}: attributes for {unknown[0]!r}, which is not among {sorted(arrays)}")
    if mode == "w" or not path.exists():
        with write_h5(path) as file:
            _write(file, arrays, attributes, chunk_size)
        return str(path)
    _check_whole(path)
    try:
        with write_h5(path, append=True) as file:
            for name, array in arrays.items():
                _check_fits(file, name, array, path)
            _write(file, arrays, attributes, chunk_size)
    except OSError as cause:
        raise DataFileError(f"{path}: cannot be appended to ({said_by(cause)})") from cause
    return str(path)


def load_hdf5(path: PathLike) -> tuple[dict[str, npt.NDArray[Any]], dict[str, dict[str, Any]]]:
    """Return all datasets and their attributes, both by name; the pair `save_hdf5` takes.

    Datasets in groups go by their path, such as ``extra/rollout``. A dataset without attributes has an empty
    dict. Text is str, attributes of one element are plain Python values.

    Raises
    ------
    DataFileError
        Missing or damaged file.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    attributes: dict[str, dict[str, Any]] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and dataset(item.file, name) is not None:
            is_text = h5py.check_string_dtype(item.dtype) is not None
            arrays[name] = np.asarray(item.asstr()[()] if is_text else item[()])
            attributes[name] = {key: plain(value) for key, value in item.attrs.items()}

    with open_h5(Path(path), DataFileError) as file:
        file.visititems(take)
    return arrays, attributes


def save_pkl(filename: PathLike, save_object: Any) -> None:
    """Write plain containers and NumPy arrays as a pickle, whole or not at all; refuses anything else."""
    dump_pickle(save_object, filename)


def load_pkl(filename: PathLike) -> Any:
    """Return what a pickle holds: plain containers and NumPy arrays; anything else is refused, not run."""
    return load_pickle(filename)


def _check_whole(path: Path) -> None:
    try:
        with open_h5(path, DataFileError):
            pass
    except DataFileError as cause:
        raise DataFileError(f"{path}: cannot be appended to ({said_by(cause)})") from cause


def _array(name: str, value: Any, path: Path) -> npt.NDArray[Any]:
    array = np.asarray(value)
    is_text = array.dtype == object and all(isinstance(item, str) for item in array.flat)
    if is_text or array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind not in "biufcS":
        raise DataFileError(f"{path}: {name!r} holds {array.dtype}; numbers or text are needed")
    return array


def _is_text(array: npt.NDArray[Any]) -> bool:
    return array.dtype == object


def _check_fits(file: h5py.File, name: str, array: npt.NDArray[Any], path: Path) -> None:
    there = file.get(name)
    if there is None:
        return
    if not isinstance(there, h5py.Dataset):
        raise DataFileError(f"{path}: {name!r} is a group, not a dataset")
    if there.ndim == 0 or there.maxshape[0] is not None:
        raise DataFileError(f"{path}: {name!r} of shape {there.shape} cannot grow: save_hdf5 did not make it")
    if array.shape[1:] != there.shape[1:] or array.ndim != there.ndim:
        raise DataFileError(
            f"{path}: {name!r} has rows of shape {there.shape[1:]}; an array of shape {array.shape} does not"
            " fit"
        )
    stored_text = h5py.check_string_dtype(there.dtype) is not None
    if _is_text(array) != stored_text or (
        not stored_text and not np.can_cast(array.dtype, there.dtype, casting="same_kind")
    ):
        raise DataFileError(f"{path}: {name!r} holds {there.dtype}; {array.dtype} would not fit without loss")


def _write(
    file: h5py.File,
    arrays: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Mapping[str, Any]],
    chunk_size: int,
) -> None:
    for name, array in arrays.items():
        if name in file:
            there = file[name]
            start = there.shape[0]
            there.resize(start + len(array), axis=0)
            there[start:] = array
        else:
            there = _create(file, name, array, chunk_size)
        there.attrs.update(attributes.get(name, {}))


def _create(file: h5py.File, name: str, array: npt.NDArray[Any], chunk_size: int) -> h5py.Dataset:
    dtype = h5py.string_dtype() if _is_text(array) else array.dtype
    if array.ndim == 0 or 0 in array.shape[1:]:
        return file.create_dataset(name, data=array, dtype=dtype)
    return file.create_dataset(
        name,
        data=array,
        dtype=dtype,
        chunks=(chunk_size, *array.shape[1:]),
        maxshape=(None, *array.shape[1:]),
    )
