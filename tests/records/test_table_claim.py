"""Two runs never write the same table of results."""

import shutil
from pathlib import Path

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.records.layout import ExperimentLayout
from mil_heatmaps.records.table_claim import claim_table
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_abmil


def layout_of(root: Path, experiment: str) -> ExperimentLayout:
    layout = ExperimentLayout.of(f"{root}/raw", f"{root}/prod", f"{root}/results", experiment, "list.csv")
    layout.raw_root.mkdir(parents=True, exist_ok=True)
    layout.results_csv.parent.mkdir(exist_ok=True)
    return layout


def claimed(root: Path, experiment: str) -> str:
    layout, _ = claim_table(layout_of(root, experiment))
    layout.results_csv.touch()
    return layout.results_csv.name


def test_the_second_run_of_a_list_takes_another_name_and_each_keeps_its_own(tmp_path: Path) -> None:
    assert claimed(tmp_path, "first") == "list.csv"
    layout, said = claim_table(layout_of(tmp_path, "second"))
    assert layout.results_csv.name == "list_second.csv"
    kept = f"list.csv in {tmp_path}/results belongs to another run and is kept"
    assert said == f"{kept}: predictions are in list_second.csv"
    again = [claimed(tmp_path, name) for name in ("first", "second", "first")]
    assert again == ["list.csv", "list_second.csv", "list.csv"]


def test_a_table_of_an_earlier_version_or_of_a_hand_is_kept(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, "E")
    layout.results_csv.write_text("mine")
    layout.results_csv.with_name("list_E.csv").write_text("mine as well")
    assert claimed(tmp_path, "E") == "list_E_2.csv"
    assert layout.results_csv.read_text() == "mine"


def test_a_claim_survives_a_kill_before_the_table_and_a_move_of_both_folders(tmp_path: Path) -> None:
    claim_table(layout_of(tmp_path / "here", "first"))
    assert claimed(tmp_path / "here", "second") == "list_second.csv"
    assert claimed(tmp_path / "here", "first") == "list.csv"
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert claimed(tmp_path / "there", "first") == "list.csv"


def test_a_file_left_empty_by_a_kill_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    layout = layout_of(tmp_path, "E")
    (layout.raw_root / ".run_id").touch()
    assert claimed(tmp_path, "E") == "list.csv"
    assert len((layout.raw_root / ".run_id").read_text()) == 32


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    cohort = make_small_cohort(tmp_path)
    cohort.rows = cohort.rows[:1]
    return cohort


def test_predictions_of_two_runs_with_one_list_are_both_there(cohort: SmallCohort) -> None:
    assert Runner(load_config(cohort.write())).run().exit_code == 0
    first = (cohort.root / "results" / "list.csv").read_bytes()
    write_abmil(cohort.checkpoint, seed=5)
    cohort.config["exp_arguments"]["save_exp_code"] = "F"
    summary = Runner(load_config(cohort.write())).run()
    assert any("predictions are in list_F.csv" in note for note in summary.cohort.notes)
    assert (cohort.root / "results" / "list.csv").read_bytes() == first
    assert (cohort.root / "results" / "list_F.csv").read_bytes() != first
