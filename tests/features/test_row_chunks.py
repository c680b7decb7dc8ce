"""The fast way through datasets stored row by row gives HDF5's own numbers."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.features.row_chunks import read_rows
from tests.helpers.features import numbers


@pytest.mark.parametrize("rows_a_chunk", [1, 3])
@pytest.mark.parametrize("n", [255, 256, 1000, 1001])
def test_row_chunks_are_read_exactly(tmp_path: Path, n: int, rows_a_chunk: int) -> None:
    """Also when other data lie in between, the dataset grew in steps, and its last chunk is not full."""
    values = numbers(n, 5)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        for name, width in (("a", 5), ("b", 2)):
            file.create_dataset(
                name, (0, width), np.float32, maxshape=(None, width), chunks=(rows_a_chunk, width)
            )
        for start in range(0, n, 100):
            for name in ("a", "b"):
                part = values[start : start + 100, : file[name].shape[1]]
                file[name].resize(start + len(part), axis=0)
                file[name][start:] = part
    with h5py.File(tmp_path / "s.h5", "r") as file:
        np.testing.assert_array_equal(read_rows(file["a"]), values)
        np.testing.assert_array_equal(read_rows(file["b"]), values[:, :2])


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "lzf", "shuffle": True},
        {"fletcher32": True},
        {"dtype": ">f4"},
        {"chunks": (1, 2)},
        {"chunks": None},
    ],
)
def test_other_storage_is_read_as_well(tmp_path: Path, options: dict[str, Any]) -> None:
    values = numbers(600, 4)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("a", data=values, **{"chunks": (1, 4), **options})
    with h5py.File(tmp_path / "s.h5", "r") as file:
        np.testing.assert_array_equal(read_rows(file["a"]), values)


def test_rows_never_written_hold_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("a", (600, 4), np.float32, chunks=(1, 4), fillvalue=7)[:300] = 1
    with h5py.File(tmp_path / "s.h5", "r") as file:
        np.testing.assert_array_equal(read_rows(file["a"])[:, 0], np.repeat([1, 7], 300))


def test_a_dataset_without_a_place_for_numbers_is_read_as_hdf5_reads_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["a"] = h5py.Empty("f4")
        assert read_rows(file["a"]) == np.asarray(file["a"][()])
