"""The score file: what is written comes back, the same bytes each time."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.score_file import ScoreFile, clam_column
from mil_heatmaps.scores.score_schema import read_scores, write_scores
from mil_heatmaps.slides.patch_grid import PatchGrid
from tests.helpers.scores import example


def assert_equal(got: ScoreFile, wanted: ScoreFile) -> None:
    np.testing.assert_array_equal(got.grid.coords_l0, wanted.grid.coords_l0)
    assert (got.grid.size_l0, got.grid.step_l0) == (wanted.grid.size_l0, wanted.grid.step_l0)
    np.testing.assert_array_equal(got.attention, wanted.attention)
    assert set(got.all_scores) == set(wanted.all_scores)
    assert got.scores.score == wanted.scores.score
    for name, scores in wanted.all_scores.items():
        other = got.all_scores[name]
        np.testing.assert_array_equal(other.values, scores.values)
        assert (other.names, other.kind, other.grid) == (scores.names, scores.kind, got.grid)
    if wanted.prediction is None:
        assert got.prediction is None
    else:
        assert got.prediction is not None
        assert (got.prediction.classes, got.prediction.task) == (
            wanted.prediction.classes,
            wanted.prediction.task,
        )
        np.testing.assert_array_equal(got.prediction.probabilities, wanted.prediction.probabilities)
        np.testing.assert_array_equal(got.prediction.logits, wanted.prediction.logits)
    for key in ("slide_id", "slide_size_l0", "level0_mpp", "model", "checkpoint_sha256", "features_file"):
        assert getattr(got, key) == getattr(wanted, key)
    for key in ("features_fingerprint", "encoder", "program_version", "notes"):
        assert getattr(got, key) == getattr(wanted, key)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prediction": None, "extra": (), "slide_size_l0": None, "level0_mpp": None, "model": None},
        {"slide_id": None, "features_fingerprint": None, "encoder": None, "program_version": None},
    ],
)
def test_what_is_written_comes_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    wanted = example(**changes)
    write_scores(tmp_path / "s.h5", wanted)
    assert_equal(read_scores(tmp_path / "s.h5"), wanted)


def test_nan_scores_and_no_patches_come_back_too(tmp_path: Path) -> None:
    scores = example().scores.values.copy()
    scores[3, 1] = np.nan
    wanted = example(scores=PatchScores(None, scores, ("a", "b"), "external"))
    write_scores(tmp_path / "s.h5", wanted)
    assert_equal(read_scores(tmp_path / "s.h5"), wanted)
    grid = PatchGrid(np.empty((0, 2), np.int64), (256, 256), (256, 256))
    empty = ScoreFile(
        grid, PatchScores(grid, np.empty((0, 1), np.float32), ("attention",), "attention_logit")
    )
    write_scores(tmp_path / "e.h5", empty)
    assert_equal(read_scores(tmp_path / "e.h5"), empty)


def test_two_writes_give_the_same_bytes_also_in_another_process(tmp_path: Path) -> None:
    write_scores(tmp_path / "a.h5", example())
    write_scores(tmp_path / "b.h5", read_scores(tmp_path / "a.h5"))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    code = (
        "import sys; from mil_heatmaps.scores.score_schema import read_scores, write_scores;"
        "write_scores(sys.argv[2], read_scores(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.h5", tmp_path / "c.h5"], check=True)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


def test_the_bytes_do_not_depend_on_who_still_holds_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profiler that samples the writing thread, as in every Dask worker, keeps datasets open past their turn."""
    write_scores(tmp_path / "a.h5", example())
    create, held = h5py.Group.create_dataset, []

    def create_and_hold(self: h5py.Group, *args: Any, **keys: Any) -> h5py.Dataset:
        held.append(create(self, *args, **keys))
        return held[-1]

    monkeypatch.setattr(h5py.Group, "create_dataset", create_and_hold)
    write_scores(tmp_path / "b.h5", example())
    assert len(held) > 2
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_notices_are_kept_and_are_among_the_readers_notes(tmp_path: Path) -> None:
    notice = Notice("frame", "coordinates moved by (512, 256) µm", patches=3)
    write_scores(tmp_path / "s.h5", replace(example(), notices=(notice,)))
    got = read_scores(tmp_path / "s.h5")
    assert got.notices == got.notes == (notice,)
    assert (got.notices[0].code, dict(got.notices[0].counts)) == ("frame", {"patches": 3})
    write_scores(tmp_path / "plain.h5", example())
    with h5py.File(tmp_path / "plain.h5", "r+") as file:
        assert "notices" not in file["scores"].attrs
        file["scores"].attrs["notices"] = "drawn by hand"
    assert read_scores(tmp_path / "plain.h5").notices == ("drawn by hand",)


def test_clams_tools_find_what_they_expect(tmp_path: Path) -> None:
    write_scores(tmp_path / "s.h5", example())
    with h5py.File(tmp_path / "s.h5") as file:
        attention, coords = file["attention_scores"], file["coords"]
        assert (attention.shape, attention.dtype, attention.chunks) == ((20, 1), np.float32, (32, 1))
        assert (coords.shape, coords.dtype, coords.chunks) == ((20, 2), np.int64, (32, 2))
        assert attention.maxshape == (None, 1)
        assert not dict(coords.attrs)
        # The predicted class's column, as CLAM_MB's map.
        np.testing.assert_array_equal(attention[:, 0], example().scores.values[:, 1])


def test_the_attributes_are_as_documented(tmp_path: Path) -> None:
    write_scores(tmp_path / "s.h5", example())
    text = (Path(__file__).parents[2] / "docs/reference/score_file.md").read_text()
    with h5py.File(tmp_path / "s.h5") as file:
        attributes = dict(file["scores"].attrs)
        assert attributes["patch_size_level0"].tolist() == [256, 256]
        assert attributes["step_level0"].tolist() == [192, 192]
        assert [name.decode() for name in attributes["names"]] == ["LUAD", "LSCC"]
        assert (attributes["level0_width"], attributes["level0_height"]) == (5000, 4000)
        names = ["attention_scores", "coords", "scores", "extra", *attributes]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_example_of_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs/reference/score_file.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/reference/score_file.md", "exec"), {})
    (path,) = tmp_path.glob("*.h5")
    got = read_scores(path)
    assert got.scores.kind == "external"
    assert got.notes == ()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scores(tmp_path / "s.h5", example())
    before = (tmp_path / "s.h5").read_bytes()

    create, made = h5py.Group.create_dataset, []

    def fill_the_disk(self: h5py.Group, *args: Any, **keys: Any) -> h5py.Dataset:
        made.append(1)
        if len(made) > 2:
            raise OSError(28, "No space left on device")
        return create(self, *args, **keys)

    monkeypatch.setattr(h5py.Group, "create_dataset", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        write_scores(tmp_path / "s.h5", example(slide_id="other"))
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]
    assert (tmp_path / "s.h5").read_bytes() == before


def test_the_column_for_clam_of_a_model_without_classes() -> None:
    scores = PatchScores(None, np.array([[1, 2], [3, 6]], np.float32), ("A", "B"), "class_contribution")
    values = np.array([0.5, 0.9], np.float32)
    assert clam_column(scores, Prediction(("A", "B"), values, values, "survival")).tolist() == [1.5, 4.5]
    assert clam_column(scores, Prediction(("A", "B"), values, values, "regression")).tolist() == [1, 3]


def test_the_column_for_clam_follows_the_prediction() -> None:
    prediction = example().prediction
    values = np.array([[1, 2], [3, 4]], np.float32)
    by_class = PatchScores(None, values, ("LUAD", "LSCC"), "attention_logit")
    by_head = PatchScores(None, values, ("head 0", "head 1"), "attention_logit")
    assert clam_column(by_class, prediction).tolist() == [2, 4]
    assert clam_column(by_head, prediction).tolist() == clam_column(by_class).tolist() == [1.5, 3.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": np.zeros(19, np.float32)}, r"attention must have shape \(20,\)"),
        (
            {"scores": PatchScores(None, np.zeros((19, 1), np.float32), ("a",), "external")},
            "20 patches but 19",
        ),
        ({"scores": example().extra[0]}, "two scores are called 'weights'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        example(**changes)


def test_scores_of_other_patches_are_refused() -> None:
    other = PatchGrid(example().grid.coords_l0 + 1, (256, 256), (192, 192))
    with pytest.raises(ValueError, match="belong to other patches"):
        example(scores=PatchScores(other, np.zeros((20, 1), np.float32), ("a",), "external"))
