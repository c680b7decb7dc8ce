"""The score file: what is written comes back, the same bytes each time, and CLAM's own files are read."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from features_for_tests import grid_coords, tissue_coords

from src.errors import ScoreError
from src.scores.patch_scores import PatchScores, Prediction
from src.scores.score_file import ScoreFile, clam_column, read_scores, write_scores
from src.slides.patch_grid import PatchGrid

DATA = Path(os.environ.get("HEATMAP_TEST_DATA", Path(__file__).parents[2] / "shared"))
CLAM = DATA / "golden/clam/e2e/tree/heatmaps/heatmap_raw_results"


def example(n: int = 20, **changes: Any) -> ScoreFile:
    rng = np.random.default_rng(0)
    grid = PatchGrid(grid_coords(5, n // 5), (256, 256), (192, 192))
    values = rng.normal(size=(n, 2)).astype(np.float32)
    fields: dict[str, Any] = {
        "grid": grid,
        "scores": PatchScores(grid, values, ("LUAD", "LSCC"), "class_contribution", "contribution"),
        "extra": (
            PatchScores(None, rng.random((n, 1), np.float32), ("weight",), "attention_softmax", "weights"),
            PatchScores(
                grid, rng.random((n, 3), np.float32), ("head 0", "head 1", "head 2"), "similarity", "sim"
            ),
        ),
        "prediction": Prediction(
            ("LUAD", "LSCC"), np.array([0.3, 0.7], np.float32), np.array([-1.5, 2], np.float32)
        ),
        "slide_id": "TCGA-1.ä",
        "slide_size_l0": (5000, 4000),
        "level0_mpp": 0.2527,
        "model": "abmil.base.uni_v2.none",
        "checkpoint_sha256": "ab" * 32,
        "features_file": "s.h5",
        "features_fingerprint": {"size": 12, "sha256": "cd"},
        "encoder": "uni_v2",
        "program_version": "0.1.0",
    }
    return ScoreFile(**{**fields, **changes})


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
        "import sys; from src.scores.score_file import read_scores, write_scores;"
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
    text = (Path(__file__).parents[1] / "docs/score_file.md").read_text()
    with h5py.File(tmp_path / "s.h5") as file:
        attributes = dict(file["scores"].attrs)
        assert attributes["patch_size_level0"].tolist() == [256, 256]
        assert attributes["step_level0"].tolist() == [192, 192]
        assert list(attributes["names"]) == ["LUAD", "LSCC"]
        assert (attributes["level0_width"], attributes["level0_height"]) == (5000, 4000)
        names = ["attention_scores", "coords", "scores", "extra", *attributes]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_example_of_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "docs/score_file.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/score_file.md", "exec"), {})
    (path,) = tmp_path.glob("*.h5")
    got = read_scores(path)
    assert got.scores.kind == "external"
    assert got.notes == ()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scores(tmp_path / "s.h5", example())
    before = (tmp_path / "s.h5").read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("src.scores.score_schema._write_prediction", fail)
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


@pytest.mark.parametrize(
    ("file", "n", "size"),
    [
        ("E1/LUAD/B/B_blockmap.h5", 122, 256),
        ("E1/LSCC/D_single/D_single_blockmap.h5", 17, 256),
        ("E1/LUAD/B/B_0.5_roi_False.h5", 452, 256),
    ],
)
def test_clams_own_score_files_are_read(file: str, n: int, size: int) -> None:
    if not (CLAM / file).exists():
        pytest.skip(f"golden data not found at {CLAM}; set HEATMAP_TEST_DATA")
    got = read_scores(CLAM / file, patch_size_l0=size)
    with h5py.File(CLAM / file) as stored:
        np.testing.assert_array_equal(got.attention, stored["attention_scores"][:, 0])
        np.testing.assert_array_equal(got.grid.coords_l0, stored["coords"][()])
    assert got.scores.values.shape == (n, 1)
    assert got.grid.size_l0 == (256, 256)
    assert got.grid.step_l0 == ((128, 128) if "0.5" in file else (256, 256))
    assert (got.scores.kind, got.scores.score, got.scores.names) == (
        "attention_logit",
        "attention",
        ("attention",),
    )
    assert got.slide_id is got.prediction is None


def write(path: Path, attributes: dict[str, Any] | None = None, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
        file.attrs.update(attributes or {})
    return path


@pytest.mark.parametrize("shape", [(20,), (20, 1), (1, 20), (20, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_the_least_file_is_read(tmp_path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    got = read_scores(write(tmp_path / "s.h5", coords=grid_coords(), scores=data))
    wanted = data.reshape(20, -1) if shape != (1, 20) else data.T
    np.testing.assert_array_equal(got.scores.values, wanted)
    assert got.scores.values.dtype == np.float32
    assert got.scores.kind == "external"
    assert len(got.scores.names) == wanted.shape[1]
    assert got.notes == ("patch size 256 x 256 px taken from the coordinates, assuming no overlap",)


def test_attributes_may_lie_on_the_file_itself(tmp_path: Path) -> None:
    attributes = {"patch_size_level0": 512, "kind": "instance_logit", "level0_mpp": 0.5, "name": "slide"}
    got = read_scores(write(tmp_path / "s.h5", attributes, coords=grid_coords(), scores=np.zeros(20)))
    assert (got.grid.size_l0, got.grid.step_l0) == ((512, 512), (256, 256))
    assert (got.scores.kind, got.level0_mpp, got.slide_id) == ("instance_logit", 0.5, "slide")


def test_a_grid_with_holes_gives_its_step(tmp_path: Path) -> None:
    coords = tissue_coords()
    got = read_scores(write(tmp_path / "s.h5", coords=coords, scores=np.zeros(len(coords))))
    assert got.grid.step_l0 == (256, 256)


@pytest.mark.parametrize(
    ("datasets", "attributes", "message"),
    [
        ({"scores": np.zeros(20)}, {}, r"no dataset 'coords'; it holds scores float64 \(20,\)"),
        ({"coords": grid_coords()}, {}, "neither 'scores' nor 'attention_scores'; it holds coords int64"),
        ({"coords": grid_coords(), "scores": np.zeros(19)}, {}, r"20 patches but /scores has shape \(19,\)"),
        ({"coords": grid_coords(), "scores": np.zeros((3, 20))}, {}, r"\(20, K\) is needed"),
        ({"coords": grid_coords(), "scores": np.zeros((20, 0))}, {}, r"\(20, K\) is needed"),
        ({"coords": grid_coords(), "scores": np.full(20, b"x")}, {}, "numbers are needed"),
        ({"coords": grid_coords() + 0.5, "scores": np.zeros(20)}, {}, "no whole numbers"),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {"kind": "attn"},
            "unknown kind 'attn'; choose from",
        ),
        ({"coords": grid_coords(1, 1), "scores": np.zeros(1)}, {}, "pass patch_size_l0"),
        (
            {"coords": grid_coords(), "scores": np.zeros((20, 2))},
            {"names": ["a", "b", "c"]},
            r"2 columns but 3 names",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros((20, 2)), "attention_scores": np.zeros((20, 2))},
            {},
            "attention_scores have shape",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {"format": "mil-heatmaps scores", "format_version": 99},
            "version 99; this program reads up to 1",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {"prediction_classes": ["a", "b"], "prediction_logits": [1.0]},
            "2 classes, 0 probabilities and 1 logits",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {
                "prediction_classes": ["a"], "prediction_logits": [1.0], "prediction_probabilities": [1.0],
                "prediction_task": "divination",
            },
            "prediction_task: unknown task 'divination'; choose from",
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_file(
    tmp_path: Path, datasets: dict[str, Any], attributes: dict[str, Any], message: str
) -> None:
    names = attributes.pop("names", None) if "names" in attributes else None
    path = write(tmp_path / "bad.h5", attributes, **datasets)
    if names:
        with h5py.File(path, "a") as file:
            file["scores"].attrs["names"] = names
    with pytest.raises(ScoreError, match=message) as caught:
        read_scores(path)
    assert "bad.h5" in str(caught.value)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"no\.h5: does not exist"):
        read_scores(tmp_path / "no.h5")
    write_scores(tmp_path / "s.h5", example())
    (tmp_path / "s.h5").write_bytes((tmp_path / "s.h5").read_bytes()[:-100])
    with pytest.raises(ScoreError, match="damaged or incomplete"):
        read_scores(tmp_path / "s.h5")


def test_scores_of_another_slide_are_refused(tmp_path: Path) -> None:
    write_scores(tmp_path / "s.h5", example())
    assert len(read_scores(tmp_path / "s.h5", slide_size_l0=(5000, 4000))) == 20
    with pytest.raises(ScoreError, match="another slide"):
        read_scores(tmp_path / "s.h5", slide_size_l0=(9000, 4000))
