"""A run read back from its folder."""

import os
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.slide_record import SlideRecord


def record(folder: Path, slide_id: str, status: str = "processed", **values: Any) -> Path:
    path = folder / slide_id / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    SlideRecord(path, slide_id, status, **values).save()
    return path


def test_an_outcome_is_what_the_record_says(tmp_path: Path) -> None:
    prediction = {"classes": ["b", "a"], "values": [0.75, 0.25]}
    record(tmp_path / "a", "A", summary={"bag_size": 5, "prediction": prediction})
    record(tmp_path / "b", "B", "failed", failed_stage="coords", error="no tissue")
    record(tmp_path / "b", "odd", summary={"prediction": {"classes": ["a"], "values": []}})
    record(tmp_path / "b", "torn").write_text('{"slide_id": "torn", "sta')
    run = FinishedRun(tmp_path)
    assert {slide_id: path.parents[1].name for slide_id, path in run.records.items()} == {
        "A": "a", "B": "b", "odd": "b", "torn": "b",
    }  # fmt: skip
    a, b = run.outcome("A"), run.outcome("B")
    assert (a.status, a.bag_size, a.classes, a.probabilities) == ("processed", 5, ("b", "a"), (0.75, 0.25))
    assert (b.status, b.failed_stage, b.error) == ("failed", "coords", "no tissue")
    assert [run.outcome(name).status for name in ("odd", "torn", "none")] == ["tbp"] * 3
    assert run.record("torn") is run.record("none") is None


def test_the_newer_of_two_records_of_a_slide_counts(tmp_path: Path) -> None:
    paths = record(tmp_path / "a", "A"), record(tmp_path / "b", "A")
    for newer, older in (paths, reversed(paths)):
        os.utime(newer, ns=(2, 2))
        os.utime(older, ns=(1, 1))
        assert FinishedRun(tmp_path).records == {"A": newer}


def test_records_of_the_flat_layout_have_no_folder_for_each_group(tmp_path: Path) -> None:
    path = record(tmp_path, "A")
    assert FinishedRun(tmp_path).records == {"A": path}


def test_rows_are_those_of_the_first_table_that_names_slides(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path)
    assert (run.is_there, run.configs, run.columns, run.rows) == (False, [], [], [])
    (tmp_path / "heatmap_results.csv").write_text("slide_id,status,error\nB,failed,why\n")
    (tmp_path / "run.yaml").touch()
    (row,) = FinishedRun(tmp_path).rows
    assert (row.slide_id, row.outcome.status, row.outcome.error) == ("B", "failed", "why")
    (tmp_path / "process_list.csv").write_text("slide_id,status,failed_stage,error\n\nA.svs,odd,coords,why\nB,failed\n")
    run = FinishedRun(tmp_path)
    assert run.is_there
    assert run.configs == [tmp_path / "run.yaml"]
    assert run.columns == ["slide_id", "status", "failed_stage", "error"]
    assert [(row.line, row.slide_id, row.outcome.status) for row in run.rows] == [(3, "A", "tbp"), (4, "B", "failed")]
    assert run.rows[1].cells == {"slide_id": "B", "status": "failed", "failed_stage": "", "error": ""}


def test_a_table_that_cannot_be_read_is_an_error_but_tells_nothing_to_a_run_at_work(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path)
    assert run.process_list.told() == {}
    header = "slide_id,predicted_own,status,failed_stage,error,seconds,bag_size,Pred_0,p_0,predicted_risk\n"
    rows = "A.svs,7,processed,,,1.5,3,x,0.5,\nB,,processed,,,,,,,2.5\nB,,failed,,,,,,,\n"
    run.process_list.path.write_text(header + rows)
    outcomes = run.process_list.outcomes()
    assert list(outcomes) == ["A.svs", "B"]
    assert (outcomes["A.svs"].classes, outcomes["A.svs"].numbers) == (("x",), ())
    assert (outcomes["B"].status, outcomes["B"].numbers) == ("processed", (("predicted_risk", 2.5),))
    run.process_list.path.write_text(header + 'A,,"processed"x,,,,,,,\n')
    assert run.process_list.outcomes() == {}
    with pytest.raises(ProcessListError, match="is not a CSV"):
        run.process_list.read()
