"""CLAM's own runs again, from their own YAML and CSV: names, tables, scores and pictures."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner

STUB = "tests.helpers.stub_encoder:create"

pytestmark = pytest.mark.slow


def run_golden(golden: Path, config: str, out: Path, **more: Any) -> Path:
    """Run one of CLAM's configs with our program; return the root of its output."""
    tree = golden / "clam" / "e2e" / "tree"
    name = {"e1": "pl1", "e2": "pl2"}[config]
    overrides = {
        "exp_arguments.raw_save_dir": str(out / "heatmaps/heatmap_raw_results"),
        "exp_arguments.production_save_dir": str(out / "heatmaps/heatmap_production_results"),
        "exp_arguments.results_dir": str(out / "heatmaps/results"),
        "data_arguments.data_dir": str(golden / "clam" / "slides"),
        "data_arguments.preset": str(tree / "fine.csv"),
        "data_arguments.process_list": str(tree / "heatmaps/process_lists" / f"{name}.csv"),
        "model_arguments.ckpt_path": str(golden / "clam/e2e" / {"e1": "ckpt_sb.pt", "e2": "ckpt_mb.pt"}[config]),
        "model_arguments.device": "cpu",
        "encoder_arguments.model_name": STUB,
        "heatmap_arguments.figure": False,
        "sample_arguments.contact_sheet": False,
        "sample_arguments.csv": False,
        "heatmap_arguments.compat": "clam",  # the fractions of a_h cut off, and E2's blur over the slide
        "run_arguments.workers": 1,
        **more,
    }
    summary = Runner(load_config(tree / "heatmaps/configs" / f"{config}.yaml", overrides)).run()
    assert summary.failed == {}
    return out


@pytest.fixture(scope="module")
def e1(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_golden(golden, "e1", tmp_path_factory.mktemp("e1"))


@pytest.fixture(scope="module")
def e2(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_golden(golden, "e2", tmp_path_factory.mktemp("e2"))


def files_of(run: dict[str, Any]) -> set[str]:
    return set(run["new_files"])


def runs(golden: Path) -> dict[str, Any]:
    import json

    data: dict[str, Any] = json.loads((golden / "clam/e2e/runs.json").read_text())
    return data


@pytest.mark.parametrize("name", ["e1", "e2"])
def test_every_file_clam_wrote_is_there_under_its_name(name: str, golden: Path, request: pytest.FixtureRequest) -> None:
    out = request.getfixturevalue(name)
    missing = {path for path in files_of(runs(golden)[name]) if not (out / path).is_file()}
    assert missing == set()


@pytest.mark.parametrize("name", ["e1", "e2"])
def test_the_results_table_has_clams_columns_and_values(
    name: str, golden: Path, request: pytest.FixtureRequest
) -> None:
    out = request.getfixturevalue(name)
    table = "pl" + name[1]
    with (golden / "clam/e2e/tree/heatmaps/results" / f"{table}.csv").open() as file:
        wanted = list(csv.DictReader(file))
    with (out / "heatmaps/results" / f"{table}.csv").open() as file:
        got = list(csv.DictReader(file))
    assert [list(row) for row in got] == [list(row) for row in wanted]
    for ours, clams in zip(got, wanted, strict=True):
        for key, value in clams.items():
            if key.startswith("p_"):
                assert float(ours[key]) == pytest.approx(float(value), abs=1e-5)
            else:
                assert ours[key] == value, key


def golden_h5(golden: Path, experiment: str) -> list[Path]:
    return sorted((golden / "clam/e2e/tree/heatmaps/heatmap_raw_results" / experiment).rglob("*.h5"))


def assert_h5_files_are_clams(out: Path, golden: Path, experiment: str) -> None:
    """Compare every dataset of every file CLAM wrote."""
    tree = golden / "clam/e2e/tree"
    paths = golden_h5(golden, experiment)
    assert len(paths) >= 3
    for path in paths:
        with h5py.File(path) as clams, h5py.File(out / path.relative_to(tree)) as ours:
            np.testing.assert_array_equal(ours["coords"][:], clams["coords"][:], err_msg=path.name)
            assert ours["coords"].dtype == clams["coords"].dtype
            for key in set(clams) - {"coords"}:
                assert ours[key].shape == clams[key].shape
                # A percentile may move by one rank where two scores differ in their last bit only.
                tolerance = 1e-5 if key == "features" or "blockmap" in path.name or "True" in path.name else 1.0
                np.testing.assert_allclose(ours[key][:], clams[key][:], atol=tolerance, err_msg=f"{path.name} {key}")


@pytest.mark.parametrize("name", ["e1", "e2"])
def test_features_scores_and_coordinates_are_clams(name: str, golden: Path, request: pytest.FixtureRequest) -> None:
    assert_h5_files_are_clams(request.getfixturevalue(name), golden, name.upper())


@pytest.mark.parametrize("name", ["e1", "e2"])
def test_masks_are_clams_to_the_byte_of_every_array(name: str, golden: Path, request: pytest.FixtureRequest) -> None:
    out, tree = request.getfixturevalue(name), golden / "clam/e2e/tree"
    for path in sorted((tree / "heatmaps/heatmap_raw_results" / name.upper()).rglob("*_mask.pkl")):
        clams = pickle.loads(path.read_bytes())
        ours = pickle.loads((out / path.relative_to(tree)).read_bytes())
        assert len(ours["tissue"]) == len(clams["tissue"])
        for a, b in zip(ours["tissue"], clams["tissue"], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        for a, b in zip(ours["holes"], clams["holes"], strict=True):
            assert [hole.tolist() for hole in a] == [hole.tolist() for hole in b]


@pytest.mark.parametrize("name", ["e1", "e2"])
def test_lossless_pictures_are_clams_pixels(name: str, golden: Path, request: pytest.FixtureRequest) -> None:
    out, tree = request.getfixturevalue(name), golden / "clam/e2e/tree"
    compared = 0
    for path in sorted((tree / "heatmaps").rglob("*.png")):
        if name.upper() not in path.parts:
            continue
        clams, ours = np.asarray(Image.open(path)), np.asarray(Image.open(out / path.relative_to(tree)))
        np.testing.assert_array_equal(ours, clams, err_msg=path.name)
        compared += 1
    assert compared >= 3


def test_jpegs_are_clams_pixels_too(e1: Path, golden: Path) -> None:
    tree = golden / "clam/e2e/tree"
    for path in sorted((tree / "heatmaps/heatmap_production_results/E1").rglob("*.jpg")):
        clams, ours = np.asarray(Image.open(path)), np.asarray(Image.open(e1 / path.relative_to(tree)))
        assert ours.shape == clams.shape
        assert np.abs(ours.astype(int) - clams).mean() < 0.5, path.name


def test_overlap_0_from_the_command_line_is_clams_run_too(golden: Path, tmp_path: Path) -> None:
    more = {"exp_arguments.save_exp_code": "E1o", "patching_arguments.overlap": 0.0}
    out, tree = run_golden(golden, "e1", tmp_path, **more), golden / "clam/e2e/tree"
    missing = {path for path in files_of(runs(golden)["e1_overlap0"]) if not (out / path).is_file()}
    assert missing == set()
    assert_h5_files_are_clams(out, golden, "E1o")
    for path in sorted((tree / "heatmaps/heatmap_production_results/E1o").rglob("*.jpg")):
        clams, ours = np.asarray(Image.open(path)), np.asarray(Image.open(out / path.relative_to(tree)))
        assert ours.shape == clams.shape
        assert np.abs(ours.astype(int) - clams).mean() < 0.5
