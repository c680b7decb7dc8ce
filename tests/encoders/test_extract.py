"""Features are written as they come, taken up after a kill, and end in a file TRIDENT's readers know."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch

from mil_heatmaps.encoders.base import ModuleEncoder
from mil_heatmaps.encoders.batch_size import BatchEncoder, find_batch_size
from mil_heatmaps.encoders.create import create_encoder
from mil_heatmaps.encoders.encoding_progress import EncodingProgress
from mil_heatmaps.encoders.extract import extract_features, extraction_key
from mil_heatmaps.encoders.preprocessing import Preprocessing
from mil_heatmaps.errors import FeatureError, ModelError, SlideError
from mil_heatmaps.features.read import read_features
from mil_heatmaps.features.write_features import read_key, write_features
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.read_plan import reading_at_level, reading_for_grid
from mil_heatmaps.slides.reader import Slide, open_slide

GRID = PatchGrid(
    np.stack([np.arange(60) % 10 * 128, np.arange(60) // 10 * 128], 1).astype(np.int64), (256, 256), (128, 128)
)


@pytest.fixture
def slide(tiny_slide: Path) -> Iterator[Slide]:
    with open_slide(tiny_slide) as opened:
        yield opened


@pytest.fixture
def encoder() -> ModuleEncoder:
    made = create_encoder("tests.helpers.stub_encoder:create")
    assert isinstance(made, ModuleEncoder)
    return made


class Failing:
    """A stub that raises at a given batch, or runs out of memory above a given size."""

    name, width = "failing", 2

    def __init__(self, *, fail_at: int | None = None, most: int | None = None, value: float = 1.0) -> None:
        self.batches: list[int] = []
        self._fail_at, self._most, self._value = fail_at, most, value

    def preprocess(self, batch: npt.NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(batch)

    def encode(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._most is not None and len(tensor) > self._most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if len(self.batches) == self._fail_at:
            raise RuntimeError("the encoder broke")
        self.batches.append(len(tensor))
        means = tensor.float().mean((1, 2, 3))
        return torch.stack([means, torch.full_like(means, self._value)], 1)


def expected_features(slide: Slide, encoder: ModuleEncoder) -> npt.NDArray[np.float32]:
    batch = np.stack([slide.read_region((x, y), 0, (256, 256)) for x, y in GRID.coords_l0.tolist()])
    return encoder.encode(encoder.preprocess(batch)).numpy()


# The file ---------------------------------------------------------------------------------------------------


def test_features_come_in_the_order_of_the_grid(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    done = extract_features(slide, GRID, encoder, tmp_path / "tiny.h5", batch_size=7, threads=3)
    assert (done.n, done.width, done.encoded, done.resumed) == (60, 48, 60, 0)
    found = read_features(tmp_path / "tiny.h5", slide_size_l0=slide.dimensions_l0)
    assert np.array_equal(found.grid.coords_l0, GRID.coords_l0)
    assert (found.grid.size_l0, found.grid.step_l0) == (GRID.size_l0, GRID.step_l0)
    assert found.encoder == "stub"
    np.testing.assert_allclose(found.features, expected_features(slide, encoder), atol=1e-6)


def test_the_layout_is_tridents(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    extract_features(slide, GRID, encoder, tmp_path / "tiny.h5")
    with h5py.File(tmp_path / "tiny.h5") as file:
        assert file["features"].dtype == np.float32
        assert file["coords"].dtype == np.int64
        assert file["features"].attrs["encoder"] == b"stub"  # of fixed length: a damaged heap can keep HDF5 busy
        attributes = dict(file["coords"].attrs)
    assert attributes.pop("step_level0").tolist() == [128, 128]
    assert (attributes.pop("read_level"), attributes.pop("read_size").tolist()) == (0, [256, 256])
    assert attributes == {
        "patch_size": 256, "patch_size_level0": 256, "overlap": 128, "level0_magnification": 20,
        "target_magnification": 20, "level0_width": 2048, "level0_height": 1536, "name": b"tiny",
    }  # fmt: skip


def test_tridents_attributes_tell_of_shrunk_patches(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    reading = reading_for_grid(slide, GRID, patch_px=128)
    extract_features(slide, GRID, encoder, tmp_path / "tiny.h5", reading=reading)
    with h5py.File(tmp_path / "tiny.h5") as file:
        attributes = file["coords"].attrs
        assert (attributes["patch_size"], attributes["patch_size_level0"], attributes["overlap"]) == (128, 256, 64)
        assert attributes["target_magnification"] == 10
    assert read_features(tmp_path / "tiny.h5").grid.step_l0 == (128, 128)


def test_the_same_input_gives_the_same_bytes(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    for name, threads in (("a", 1), ("b", 4)):
        extract_features(slide, GRID, encoder, tmp_path / name / "tiny.h5", batch_size=16, threads=threads)
    assert (tmp_path / "a" / "tiny.h5").read_bytes() == (tmp_path / "b" / "tiny.h5").read_bytes()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["tiny.h5"]


def test_what_is_there_is_not_encoded_again(slide: Slide, tmp_path: Path) -> None:
    first, second = Failing(), Failing()
    extract_features(slide, GRID, first, tmp_path / "tiny.h5")
    done = extract_features(slide, GRID, second, tmp_path / "tiny.h5")
    assert second.batches == []
    assert (done.encoded, done.resumed, done.n) == (0, 0, 60)


def test_another_reading_encoder_or_grid_is_encoded_anew(slide: Slide, encoder: ModuleEncoder) -> None:
    reading = reading_for_grid(slide, GRID)
    key = extraction_key(slide, GRID, encoder, reading)
    assert key == extraction_key(slide, GRID, create_encoder("tests.helpers.stub_encoder:create"), reading)
    other_grid = PatchGrid(GRID.coords_l0[:-1], GRID.size_l0, GRID.step_l0)
    others = {
        extraction_key(slide, other_grid, encoder, reading),
        extraction_key(slide, GRID, encoder, reading_for_grid(slide, GRID, patch_px=128)),
        extraction_key(slide, GRID, encoder, reading_at_level(slide, patch_size=64, level=1)),
        extraction_key(slide, GRID, create_encoder("tests.helpers.stub_encoder:create", target_img_size=64), reading),
        extraction_key(slide, GRID, Failing(), reading),
    }
    assert key not in others
    assert len(others) == 5


def test_a_file_of_others_is_not_overwritten(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    (tmp_path / "tiny.h5").write_text("mine")
    with pytest.raises(FeatureError, match="was not written by this program"):
        extract_features(slide, GRID, encoder, tmp_path / "tiny.h5")
    assert (tmp_path / "tiny.h5").read_text() == "mine"


def test_an_empty_grid_is_an_error(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    empty = PatchGrid(np.empty((0, 2), np.int64), (256, 256), (256, 256))
    with pytest.raises(FeatureError, match=r"tiny\.tif: there are no patches"):
        extract_features(slide, empty, encoder, tmp_path / "tiny.h5")


def test_a_path_that_cannot_be_written_is_named(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureError, match=r"cannot write features to .*file"):
        extract_features(slide, GRID, encoder, tmp_path / "file" / "tiny.h5")


def test_rows_are_written_slice_by_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mil_heatmaps.features.write_features.SLICE_BYTES", 64)
    features = np.arange(70, dtype=np.float32).reshape(10, 7)
    path = write_features(
        tmp_path / "s.h5", GRID.coords_l0[:10], lambda rows: features[rows], 7,
        encoder="e", attributes={"name": "s", "patch_size_level0": 256}, key="k",
    )  # fmt: skip
    assert np.array_equal(read_features(path).features, features)
    assert read_key(path) == "k"
    assert read_key(tmp_path / "none.h5") is None


# Progress and memory ----------------------------------------------------------------------------------------


def test_progress_counts_up_and_estimates_what_is_left(slide: Slide, tmp_path: Path) -> None:
    seen: list[EncodingProgress] = []
    extract_features(slide, GRID, Failing(), tmp_path / "t.h5", batch_size=25, progress=seen.append)
    assert [p.done for p in seen] == [25, 50, 60]
    assert {p.total for p in seen} == {60}
    assert seen[-1].seconds_left == 0
    assert str(EncodingProgress(25, 60, 12.4, 75.2)) == "25/60 patches, 12/s, 1 min 15 s left"


def test_out_of_memory_halves_the_batch(slide: Slide, tmp_path: Path) -> None:
    encoder = Failing(most=5)
    done = extract_features(slide, GRID, encoder, tmp_path / "t.h5", batch_size=16)
    assert done.batch_size == 4
    assert set(encoder.batches) == {4}
    plain = Failing()
    extract_features(slide, GRID, plain, tmp_path / "plain.h5", batch_size=16)
    assert np.array_equal(read_features(tmp_path / "t.h5").features, read_features(tmp_path / "plain.h5").features)


def test_out_of_memory_with_one_patch_is_an_error_that_says_so(slide: Slide, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="out of memory on cpu with a single patch for encoder failing"):
        extract_features(slide, GRID, Failing(most=0), tmp_path / "t.h5", batch_size=8)


def test_a_gpu_that_is_lost_is_said_and_another_run_goes_on_where_it_stopped(slide: Slide, tmp_path: Path) -> None:
    class Lost(Failing):
        def encode(self, tensor: torch.Tensor) -> torch.Tensor:
            if len(self.batches) == 3:
                raise RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")
            return super().encode(tensor)

    with pytest.raises(ModelError, match=r"GPU failed .* on cpu \(.*unspecified launch failure.*\): what was done"):
        extract_features(slide, GRID, Lost(), tmp_path / "t.h5", batch_size=2, threads=1)
    again = Failing()
    done = extract_features(slide, GRID, again, tmp_path / "t.h5", batch_size=2, threads=1)
    assert done.resumed > 0
    assert sum(again.batches) == len(GRID) - done.resumed
    extract_features(slide, GRID, Failing(), tmp_path / "whole.h5", batch_size=2, threads=1)
    assert np.array_equal(read_features(tmp_path / "t.h5").features, read_features(tmp_path / "whole.h5").features)


def test_features_that_are_no_numbers_are_refused(slide: Slide, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="encoder failing returned NaN or infinite"):
        extract_features(slide, GRID, Failing(value=float("nan")), tmp_path / "t.h5")
    assert not (tmp_path / "t.h5").exists()


def test_an_overflow_of_half_precision_is_computed_again_in_full() -> None:
    class Overflowing(ModuleEncoder):
        def encode(self, tensor: torch.Tensor, *, exact: bool = False) -> torch.Tensor:
            return torch.full((len(tensor), 3), 7.0 if exact else float("inf"))

    encoder = Overflowing("half", torch.nn.Identity(), 3, Preprocessing())
    parts = list(BatchEncoder(encoder, torch.device("cpu"), 4).encode(np.zeros((6, 8, 8, 3), np.uint8)))
    assert [len(part) for part in parts] == [4, 2]
    assert (np.concatenate(parts) == 7).all()


def test_the_cpu_gets_small_batches() -> None:
    one = np.zeros((1, 8, 8, 3), np.uint8)
    assert [find_batch_size(Failing(), one, torch.device("cpu"), lanes) for lanes in (0, 1, 4)] == [8, 8, 32]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_features_of_the_gpu_are_those_of_the_cpu(slide: Slide, encoder: ModuleEncoder, tmp_path: Path) -> None:
    on_gpu = create_encoder("tests.helpers.stub_encoder:create", device="cuda")
    extract_features(slide, GRID, on_gpu, tmp_path / "t.h5")
    found = read_features(tmp_path / "t.h5").features
    np.testing.assert_allclose(found, expected_features(slide, encoder), atol=2e-2)


# Interrupted ------------------------------------------------------------------------------------------------


def test_an_error_keeps_what_was_encoded(slide: Slide, tmp_path: Path) -> None:
    broken, whole, rest = Failing(fail_at=3), Failing(), Failing()
    with pytest.raises(RuntimeError, match="the encoder broke"):
        extract_features(slide, GRID, broken, tmp_path / "t.h5", batch_size=8)
    assert not (tmp_path / "t.h5").exists()
    done = extract_features(slide, GRID, rest, tmp_path / "t.h5")
    assert (done.resumed, done.encoded) == (24, 36)
    assert rest.batches == [8, 8, 8, 8, 4]  # the batch size of before, though none was asked for
    extract_features(slide, GRID, whole, tmp_path / "w.h5", batch_size=8)
    assert (tmp_path / "t.h5").read_bytes() == (tmp_path / "w.h5").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alone", "parallel"])
def test_twenty_kills_lose_one_batch_each_at_most(kind: str, single_level_slide: Path, tmp_path: Path) -> None:
    if not hasattr(__import__("os"), "fork"):
        pytest.skip("this system has no fork")
    subprocess.run(
        [sys.executable, "-m", "tests.helpers.kill_encoding", str(single_level_slide), str(tmp_path), "20", kind],
        check=True, timeout=120, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["kills"] == 20
    assert not result["done_early"]
    assert result["encoded"] <= 400 + 20 * result["batch"]
    assert (tmp_path / "slide.h5").read_bytes() == (tmp_path / "undisturbed.h5").read_bytes()
    assert not (tmp_path / "slide.h5.encoding").exists()


def test_a_slide_that_cannot_be_read_keeps_its_batches(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, i: int, tiles: Any, out: Any) -> None:
        raise SlideError("the disk is gone")

    monkeypatch.setattr("mil_heatmaps.slides.patch_reader.PatchReader._read_shared", refuse)
    with pytest.raises(SlideError, match="the disk is gone"):
        extract_features(slide, GRID, Failing(), tmp_path / "t.h5")
    assert (tmp_path / "t.h5.encoding").exists()
