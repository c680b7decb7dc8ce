"""Telling MLflow and Weights & Biases of a run, on this machine alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import MissingDependencyError
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from mil_heatmaps.progress import tracking
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_features


def run(cohort: SmallCohort) -> RunSummary:
    return Runner(load_config(cohort.write())).run()


def make(tmp_path: Path, **track: Any) -> SmallCohort:
    cohort = make_small_cohort(tmp_path / "run", {"run_arguments": {"workers": 1, "track": track}})
    write_features(cohort.features / "s3.h5", 3, width=24)  # fails
    return cohort


def test_mlflow_gets_config_numbers_lists_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason=f"needs {tracking.INSTALL}")
    from mlflow.tracking import MlflowClient

    uri = (tmp_path / "store").as_uri()
    cohort = make(tmp_path, kind="mlflow", uri=uri, experiment="lung", pictures=1, tags={"site": "A"})
    assert run(cohort).exit_code == 1
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
    with tracking.mlflow_file_store(uri):
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("lung")
        assert experiment is not None
        (told,) = client.search_runs([experiment.experiment_id])
        files = {item.path for item in client.list_artifacts(told.info.run_id)}
        pictures = {item.path for item in client.list_artifacts(told.info.run_id, "slides/s1")}
        slides = {item.path for item in client.list_artifacts(told.info.run_id, "slides")}
    assert (told.info.run_name, told.info.status, told.data.tags["site"]) == ("E", "FAILED", "A")
    assert told.data.params["heatmap_arguments.vis_level"] == "0"
    assert told.data.metrics["slides_processed"] == 2
    assert told.data.metrics["slides_failed"] == 1
    assert told.data.metrics["seconds_attention"] > 0
    assert {"config.yaml", "process_list.csv", "list.csv"} <= files
    assert slides == {"slides/s1"}
    heatmaps = {f"slides/s1/{path.name}" for path in (cohort.production / "a").glob("s1_0*.jpg")}
    assert heatmaps
    assert heatmaps <= pictures


@pytest.mark.slow
def test_wandb_keeps_a_run_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason=f"needs {tracking.INSTALL}")
    folder = tmp_path / "wandb_files"
    cohort = make(tmp_path, kind="wandb", uri=str(folder), offline=True, slides=["s2", "s9"], tags={"site": "A"})
    assert len(run(cohort).processed) == 2
    (kept,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data = kept.read_bytes()
    for expected in (b"mil-heatmaps", b"heatmap_arguments", b"slides_processed", b"slides/s2/", b"site:A"):
        assert expected in data
    assert b"slides/s1/" not in data
    media = {path.name for path in kept.parent.rglob("*.jpg")}
    assert any("s2" in name for name in media), media


def test_a_wandb_process_that_fails_costs_a_line_in_the_log_and_does_not_end_the_program(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason=f"needs {tracking.INSTALL}")
    teardown = wandb.teardown

    def failing() -> None:
        teardown()
        sys.exit(3)

    monkeypatch.setattr(wandb, "teardown", failing)
    cohort = make(tmp_path, kind="wandb", uri=str(tmp_path / "wandb_files"), offline=True)
    assert run(cohort).processed == ["s1", "s2"]
    assert "could not be told to wandb" in caplog.text
    assert "exit code 3" in caplog.text


def test_a_tracker_that_fails_costs_a_line_in_the_log_and_no_slide(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow", reason=f"needs {tracking.INSTALL}")
    (tmp_path / "file").write_text("not a folder")
    cohort = make(tmp_path, kind="mlflow", uri=(tmp_path / "file").as_uri())
    assert run(cohort).processed == ["s1", "s2"]
    assert "could not be told to mlflow" in caplog.text


def test_a_tracker_that_is_not_installed_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    cohort = make(tmp_path, kind="wandb")
    with pytest.raises(MissingDependencyError, match=r"pip install -e '\.\[tracking\]'"):
        run(cohort)
    assert not (cohort.raw / "a").exists()
