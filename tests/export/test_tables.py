"""CSV and NPZ, opened by pandas and NumPy."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mil_heatmaps.export.tables import write_csv, write_npz
from mil_heatmaps.models.inference import predict
from mil_heatmaps.scores.external_scores import read_external_scores
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.patch_grid import PatchGrid
from tests.helpers.features import grid_coords


def scores_of(n: int = 20, columns: int = 2) -> ScoreFile:
    rng = np.random.default_rng(n)
    grid = PatchGrid(grid_coords(5, n // 5), (256, 200), (256, 200))
    values = rng.normal(size=(n, columns)).astype(np.float32)
    values[3, 0] = np.nan
    names = ("LUAD", "LSCC")[:columns]
    main = PatchScores(grid, values, names, "class_contribution", "contribution")
    extra = PatchScores(
        grid, rng.random((n, 1), np.float32) * 1e-6, ("weight",), "attention_softmax", "weight"
    )
    prediction = Prediction(
        ("LUAD", "LSCC"), np.array([0.25, 0.75], np.float32), np.array([0, 1], np.float32)
    )
    return ScoreFile(grid, main, extra=(extra,), prediction=prediction, slide_id="ä,b")


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz"])
@pytest.mark.parametrize("n", [20, 45_000])
def test_pandas_reads_the_same_numbers(tmp_path: Path, name: str, n: int) -> None:
    scores = scores_of(n)
    write_csv(tmp_path / name, scores)
    table = pd.read_csv(tmp_path / name)
    assert list(table.columns) == [
        *("x", "y", "width", "height", "contribution LUAD", "contribution LSCC", "weight"),
        *("contribution LUAD percentile", "contribution LSCC percentile"),
    ]
    np.testing.assert_array_equal(table[["x", "y"]], scores.grid.coords_l0)
    assert (table["width"] == 256).all()
    assert (table["height"] == 200).all()
    np.testing.assert_array_equal(table["contribution LSCC"].astype(np.float32), scores.scores.values[:, 1])
    np.testing.assert_array_equal(table["weight"].astype(np.float32), scores.extra[0].values[:, 0])
    np.testing.assert_array_equal(table.index[table["contribution LUAD"].isna()], [3])
    wanted = rank_percentiles(scores.scores.values[:, 0])
    np.testing.assert_allclose(table["contribution LUAD percentile"], wanted, atol=1e-6)


def test_a_table_may_be_brought_back_as_scores(tmp_path: Path) -> None:
    scores = scores_of(columns=1)
    write_csv(tmp_path / "s.csv", scores)
    got = read_external_scores(tmp_path / "s.csv")
    assert got.scores.names == ("contribution", "weight")
    np.testing.assert_array_equal(got.scores.values[:, 0], scores.scores.values[:, 0])
    assert got.grid.size_l0 == (256, 200)


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "s.npz"])
def test_equal_scores_give_equal_bytes(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Any = write_npz if name.endswith("npz") else write_csv
    write(tmp_path / name, scores_of())
    before = (tmp_path / name).read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    write(tmp_path / name, scores_of())
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_patches_give_a_header(tmp_path: Path) -> None:
    grid = PatchGrid(np.empty((0, 2), np.int64), (1, 1), (1, 1))
    empty = ScoreFile(grid, PatchScores(grid, np.empty((0, 1), np.float32), ("a",), "external", "a"))
    write_csv(tmp_path / "s.csv", empty)
    assert (tmp_path / "s.csv").read_text() == "x,y,width,height,a,a percentile\n"
    write_npz(tmp_path / "s.npz", empty)
    assert np.load(tmp_path / "s.npz")["coords"].shape == (0, 2)


def test_a_failure_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        write_csv(tmp_path / "s.csv.gz", scores_of())
    assert not list(tmp_path.iterdir())


def test_numpy_reads_every_array_without_pickles(tmp_path: Path) -> None:
    scores = scores_of()
    write_npz(tmp_path / "s.npz", scores)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as got:
        np.testing.assert_array_equal(got["coords"], scores.grid.coords_l0)
        np.testing.assert_array_equal(got["scores"], scores.scores.values)
        np.testing.assert_array_equal(got["attention"], scores.attention)
        np.testing.assert_array_equal(got["extra weight"], scores.extra[0].values)
        assert got["patch_size_level0"].tolist() == [256, 200]
        assert got["names"].tolist() == ["LUAD", "LSCC"]
        assert (str(got["kind"]), str(got["score"]), str(got["slide_id"])) == (
            "class_contribution",
            "contribution",
            "ä,b",
        )
        assert got["prediction_probabilities"].tolist() == [0.25, 0.75]


def test_a_survival_prediction_is_exported_as_one(tmp_path: Path) -> None:
    scores = replace(scores_of(), prediction=predict(np.array([0, 0], np.float32), task="survival"))
    write_npz(tmp_path / "s.npz", scores)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as got:
        assert (str(got["prediction_task"]), float(got["prediction_risk"])) == ("survival", -0.75)
        assert got["prediction_classes"].tolist() == ["interval 0", "interval 1"]
