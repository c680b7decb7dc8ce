"""A case by other ways: workers, streamed features, flags alone, the viewer's list."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest

from mil_heatmaps.cli.generate_heatmaps import main
from mil_heatmaps.features.stacked import StackedRows
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.viewer.run_folder import catalog_of_runs
from tests.pipeline.test_cases import make, run, scores


def test_workers_and_streaming_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make(tmp_path / "plain")
    assert not run(plain).failed
    pooled = make(tmp_path / "pooled", run_arguments={"workers": 2, "isolate": "auto"})
    assert not run(pooled).failed
    monkeypatch.setattr("mil_heatmaps.stages.case_bag.IN_MEMORY", 0.0)
    streamed = make(tmp_path / "streamed")
    assert not run(streamed).failed
    files = [
        {name: digest for name, digest in cohort.outputs().items() if name.endswith((".h5", ".jpg", ".png"))}
        for cohort in (plain, pooled, streamed)
    ]
    assert "raw/E/cases/P1_scores.h5" in files[0]
    assert files[0] == files[1] == files[2]
    order = [entry.slide_id for entry in catalog_of_runs([plain.raw]).slides]
    assert order == ["s1", "s3", "s2"]


def test_flags_alone_ask_about_cases(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    (tmp_path / "cases.csv").write_text("slide_id,patient_id\ns1,P1\ns2,P2\ns3,P1\n")
    given = ["--checkpoint", str(cohort.checkpoint), "--h5_dir", str(cohort.features), "--slide_dir"]
    out = tmp_path / "out"
    arguments = [*given, str(cohort.slides), "--output_dir", str(out), "--cases", str(tmp_path / "cases.csv")]
    assert main(arguments) == 0
    with (out / "cases.csv").open(newline="") as file:
        rows = {row["case_id"]: row for row in csv.DictReader(file)}
    with (out / "heatmap_results.csv").open(newline="") as file:
        slides = {row["slide_id"]: row for row in csv.DictReader(file)}
    assert (rows["P1"]["slides"], rows["P1"]["num_patches"]) == ("s1;s3", "96")
    assert [slides[name]["case_id"] for name in ("s1", "s2", "s3")] == ["P1", "P2", "P1"]
    assert slides["s1"]["probabilities"] == slides["s3"]["probabilities"] == rows["P1"]["probabilities"]
    case = read_scores(out / "work" / "s3" / "s3_blockmap.h5").case
    assert case is not None
    assert case.place == "case P1, slide 2 of 2"


def test_a_slide_that_the_table_has_and_the_run_has_not_fails_its_case(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    (tmp_path / "cases.csv").write_text("slide_id,case_id\ns1,P1\ns9,P1\n")
    cohort.config["data_arguments"]["cases"] = str(tmp_path / "cases.csv")
    summary = run(cohort)
    assert summary.failed.keys() == {"s1", "s3"}
    assert "case P1 lacks s9: it is in" in summary.failed["s1"]
    cohort.config["run_arguments"]["partial_cases"] = "use"
    assert not run(cohort).failed
    case = scores(cohort, "s1").case
    assert case is not None
    assert [slide.split(" ")[0] for slide in case.lacking] == ["s9"]


def test_stacked_rows_are_those_of_the_concatenation() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(count, 3)) for count in (4, 1, 6)]
    stacked, whole = StackedRows((4, 1, 6), 3, np.dtype(float), parts.__getitem__), np.concatenate(parts)
    assert stacked.shape == whole.shape
    for start, stop in ((0, 11), (3, 6), (4, 5), (10, 11), (2, 2)):
        np.testing.assert_array_equal(stacked[start:stop], whole[start:stop])
    chosen = np.array([10, 0, 4, 4, 7])
    np.testing.assert_array_equal(stacked[chosen], whole[chosen])
    np.testing.assert_array_equal(stacked[whole[:, 0] > 0], whole[whole[:, 0] > 0])


@pytest.mark.parametrize("hold", [True, False])
def test_parts_are_loaded_once_a_pass_and_stay_from_the_second_on_where_they_may(hold: bool) -> None:
    loaded: list[int] = []

    def load(number: int) -> np.ndarray:
        loaded.append(number)
        return np.full((2, 1), number)

    stacked = StackedRows((2, 2), 1, np.dtype(float), load, hold=hold)
    for _ in range(3):
        for start in range(4):
            assert stacked[start : start + 1] == start // 2
    assert loaded == ([0, 1, 0] if hold else [0, 1] * 3)


def test_numbers_that_are_spoilt_are_found_while_the_case_is_scored(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    with h5py.File(cohort.features / "s3.h5", "r+") as file:
        file["features"][1, 0] = np.nan
    failed = run(cohort).failed
    assert failed.keys() == {"s1", "s3"}
    for told in failed.values():
        assert "case P1: s3 cannot be read" in told
        assert "1 of " in told
        assert "in row 1" in told
