"""Memory of one slide's numbers is used for the next one's, and never while somebody still holds it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mil_heatmaps.features import room
from mil_heatmaps.features.read import read_features
from mil_heatmaps.features.room import LEAST_BYTES, MOST_BYTES, room_for

ROWS = LEAST_BYTES // (64 * 4) + 1


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_kept", None)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_that_nobody_holds_is_used_again_also_for_fewer_numbers() -> None:
    first = room_for((ROWS + 10, 64), np.float32)
    where = address(first)
    del first
    second = room_for((ROWS, 64), np.float32)
    assert address(second) == where
    assert second.shape == (ROWS, 64)
    assert second.dtype == np.float32
    assert second.flags.c_contiguous
    assert second.flags.writeable


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array,
        lambda array: array[5:7, 3],
        lambda array: array.reshape(-1)[::2].T,
        lambda array: torch.from_numpy(array)[10:20],
        lambda array: memoryview(array),
        lambda array: np.asarray(array, dtype=np.float32).view(np.int32),
    ],
)
def test_memory_that_somebody_holds_in_any_way_is_left_alone(hold) -> None:  # type: ignore[no-untyped-def]
    first = room_for((ROWS, 64), np.float32)
    first[:] = 1
    held = hold(first)
    del first
    second = room_for((ROWS, 64), np.float32)
    second[:] = 2
    assert (np.asarray(held).view(np.float32) == 1).all()


def test_a_larger_array_takes_the_place_of_the_kept_one() -> None:
    del_me = room_for((ROWS, 64), np.float32)
    del del_me
    larger = room_for((2 * ROWS, 64), np.float32)
    assert room._kept is not None
    assert room._kept.nbytes == larger.nbytes


def test_kept_memory_goes_before_an_array_too_large_to_be_kept_is_made() -> None:
    del_me = room_for((ROWS, 64), np.float32)
    del del_me
    assert room_for((MOST_BYTES + 1,), np.uint8).nbytes == MOST_BYTES + 1
    assert room._kept is None


@pytest.mark.parametrize("bytes_", [LEAST_BYTES - 1, MOST_BYTES + 1])
def test_small_and_huge_arrays_are_not_kept(bytes_: int) -> None:
    assert room_for((bytes_,), np.uint8).shape == (bytes_,)
    assert room._kept is None


def test_features_of_one_slide_survive_the_reading_of_the_next(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"s{number}.h5")
        with h5py.File(paths[-1], "w") as file:
            file["features"] = np.full((ROWS, 64), number, np.float32)
            file["coords"] = np.stack([np.arange(ROWS) * 256, np.zeros(ROWS, int)], axis=1)
            file["coords"].attrs["patch_size_level0"] = 256
    first, second = (read_features(path).features for path in paths)
    assert (first == 0).all()
    assert (second == 1).all()
