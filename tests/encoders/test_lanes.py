"""Several cores encode: the same bytes as one, in order, with bounded memory, and reading goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mil_heatmaps.encoders.base import ModuleEncoder
from mil_heatmaps.encoders.batch_size import BatchEncoder, find_batch_size, is_out_of_memory
from mil_heatmaps.encoders.extract import extract_features
from mil_heatmaps.encoders.lanes import in_lanes, lanes_for, share_out
from mil_heatmaps.encoders.preprocessing import Preprocessing
from mil_heatmaps.errors import ModelError
from mil_heatmaps.slides.patch_reader import PatchReader
from mil_heatmaps.slides.reader import open_slide
from tests.encoders.test_extract import GRID
from tests.helpers.stub_encoder import MeanGrid, convolutions
from tests.helpers.waiting import LONG_S

# In lanes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(lanes: int) -> None:
    assert list(in_lanes(lambda n: [n, -n], range(1, 8), lanes)) == [x for n in range(1, 8) for x in (n, -n)]


def test_as_many_items_are_at_work_as_there_are_lanes() -> None:
    together = threading.Barrier(2)

    def step(item: int) -> list[int]:
        together.wait(LONG_S)
        return [item]

    assert list(in_lanes(step, range(6), 2)) == [0, 1, 2, 3, 4, 5]


def test_no_more_items_are_taken_than_there_are_lanes() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    results = in_lanes(lambda item: [item], items(), 3)
    assert next(results) == 0
    assert len(taken) == 4  # three at work, and the one that waited for the first
    assert next(results) == 1
    assert len(taken) == 5
    results.close()


def test_an_error_ends_the_lanes_after_the_results_before_it() -> None:
    def step(item: int) -> list[int]:
        if item == 3:
            raise ModelError("the third")
        return [item]

    got: list[int] = []
    with pytest.raises(ModelError, match="the third"):
        got.extend(in_lanes(step, range(9), 2))
    assert got == [0, 1, 2]


def test_torchs_own_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = list(in_lanes(lambda _: [torch.get_num_threads()], range(4), 2))
        assert (seen, torch.get_num_threads()) == ([1, 1, 1, 1], 2)
    finally:
        torch.set_num_threads(before)


def test_an_encoder_that_does_not_say_it_may_run_in_threads_is_left_in_one() -> None:
    class Own:
        name, width = "own", 2

    own: Any = Own()
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [lanes_for(own, cpu, 4), lanes_for(own, gpu, 4)] == [0, 0]
    assert [lanes_for(convolutions(), cpu, 4), lanes_for(convolutions(), gpu, 4)] == [4, 2]


@pytest.mark.parametrize(
    ("size", "lanes", "device", "part", "used"),
    [
        (256, 2, "cpu", 8, 2),
        (256, 64, "cpu", 8, 32),
        (4, 2, "cpu", 4, 1),
        (12, 2, "cpu", 8, 1),
        (256, 2, "cuda", 128, 2),
        (1, 2, "cuda", 1, 1),
        (32, 0, "cpu", 32, 0),
    ],
)
def test_all_lanes_together_have_one_batch_at_work(size: int, lanes: int, device: str, part: int, used: int) -> None:
    assert share_out(size, lanes, torch.device(device)) == (part, used)
    assert part * max(1, used) <= size


# Features ---------------------------------------------------------------------------------------------------


def test_features_are_the_same_bytes_with_any_number_of_threads(tiny_slide: Path, tmp_path: Path) -> None:
    files, before = [], torch.get_num_threads()
    try:
        for threads, torch_threads in ((1, 1), (1, 2), (2, 2), (3, 1)):
            torch.set_num_threads(torch_threads)
            out = tmp_path / f"{threads}_{torch_threads}" / "tiny.h5"
            with open_slide(tiny_slide) as slide:
                extract_features(slide, GRID, convolutions(), out, threads=threads)
            files.append(out.read_bytes())
    finally:
        torch.set_num_threads(before)
    assert len(set(files)) == 1


def test_patches_are_read_while_a_batch_is_encoded(
    tiny_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, later = PatchReader._read_into, threading.Event()
    count = 0

    def counting(self: PatchReader, out: Any, indices: npt.NDArray[np.int64], tiles: Any) -> None:
        nonlocal count
        read(self, out, indices, tiles)
        count += len(indices)
        if count > 20:
            later.set()

    class Waiting(ModuleEncoder):
        def encode(self, tensor: torch.Tensor, **options: Any) -> torch.Tensor:
            assert later.wait(LONG_S), "nothing is read while the first batch is encoded"
            return super().encode(tensor, **options)

    monkeypatch.setattr(PatchReader, "_read_into", counting)
    encoder = Waiting("waiting", MeanGrid(), 48, Preprocessing(resize_px=32), weights="none")
    with open_slide(tiny_slide) as slide:
        assert extract_features(slide, GRID, encoder, tmp_path / "t.h5", batch_size=8, threads=1).encoded == 60


def test_a_batch_size_meant_for_a_gpu_does_not_fill_the_memory_of_every_core(tiny_slide: Path, tmp_path: Path) -> None:
    with open_slide(tiny_slide) as slide:
        done = extract_features(slide, GRID, convolutions(), tmp_path / "t.h5", batch_size=384, threads=2)
    assert (done.batch_size, done.encoded) == (8, 60)


def test_the_batch_size_of_a_gpu_follows_from_the_memory_a_few_patches_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU in name only: what torch tells of its memory is made up."""
    used, free = 100 << 20, 16 << 30
    to = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *wanted, **how: self if wanted == (gpu,) else to(self, *wanted, **how)
    )
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: used)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: used + 8 * each)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    example, gpu = np.zeros((1, 8, 8, 3), np.uint8), torch.device("cuda")
    sizes = []
    for each in (100 << 20, 1 << 30, 20 << 30, 1 << 10):  # noqa: B007 (read by the function above)
        sizes.append(find_batch_size(Small(64), example, gpu, 2))
    assert sizes == [64, 8, 1, 512]
    assert find_batch_size(Small(4), example, gpu, 2) == 1


# Out of memory ----------------------------------------------------------------------------------------------


class Small(ModuleEncoder):
    """Has room for so many patches at a time."""

    def __init__(self, most: int) -> None:
        super().__init__("small", MeanGrid(), 48, Preprocessing(resize_px=32), weights="none")
        self._most = most

    def encode(self, tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        if len(tensor) > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().encode(tensor, **options)


def test_lanes_that_run_out_of_memory_together_halve_the_batch_once_each_size(
    tiny_slide: Path, tmp_path: Path
) -> None:
    with open_slide(tiny_slide) as slide:
        done = extract_features(slide, GRID, Small(5), tmp_path / "t.h5", batch_size=16, threads=3)
        assert (done.batch_size, done.encoded) == (4, 60)
        with pytest.raises(ModelError, match="out of memory on cpu with a single patch for encoder small"):
            extract_features(slide, GRID, Small(0), tmp_path / "none.h5", batch_size=16, threads=3)


def test_a_size_another_lane_halved_already_is_not_halved_again() -> None:
    batches = BatchEncoder(Small(5), torch.device("cpu"), 16)
    batches.halve(16, MemoryError())
    batches.halve(16, MemoryError())
    assert batches.size == 8


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("out of memory"), False),
    ],
)
def test_what_means_that_memory_ran_out(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_on_a_gpu_one_lane_launches_at_a_time() -> None:
    """What a batch needs while it is computed is in memory once; `Lane` stands for a tensor on the GPU."""
    at_once, most, lock = 0, 0, threading.Lock()

    class Counting(Small):
        def encode(self, tensor: torch.Tensor, **options: Any) -> torch.Tensor:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            threading.Event().wait(0.02)
            with lock:
                at_once -= 1
            return super().encode(tensor)

    batches = BatchEncoder(Counting(8), torch.device("cpu"), 8)
    batches.launching = threading.Lock()  # as for a device of type cuda
    assert len(list(in_lanes(batches.encode, [np.zeros((4, 8, 8, 3), np.uint8)] * 6, 2))) == 6
    assert most == 1
