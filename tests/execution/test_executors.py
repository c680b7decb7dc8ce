"""Slides in worker processes: the same bytes as alone, and workers that die, hang or are told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mil_heatmaps import machine
from mil_heatmaps.config.config import load_config
from mil_heatmaps.execution import run_slides
from mil_heatmaps.execution.executors import SerialExecutor
from mil_heatmaps.execution.slide_tasks import SlideTask
from mil_heatmaps.files.atomic import writer
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from mil_heatmaps.progress.bars import Progress
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort, write_features
from tests.helpers.naughty_models import MARK
from tests.helpers.waiting import LONG_S, wait_until
from tests.helpers.warm import WarmProgram

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path, {"run_arguments": {"workers": 2}})


def run(cohort: SmallCohort, **options: Any) -> RunSummary:
    return Runner(load_config(cohort.write()), RunOptions(**options)).run()


def make_naughty(cohort: SmallCohort, model: str, **run_arguments: Any) -> None:
    """Give the second slide features on which `model` misbehaves."""
    features = np.random.default_rng(0).normal(size=(48, 16)).astype(np.float32)
    features[0, 0] = MARK
    write_features(cohort.features / "s2.h5", 0, features=features)
    cohort.config["model_arguments"] = {"model_class": f"tests.helpers.naughty_models:{model}", "device": "cpu"}
    cohort.config["run_arguments"].update(run_arguments)


def test_any_number_of_workers_and_threads_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of threads, in one process: `test_a_slide_is_the_same_with_any_number_of_threads`."""
    made: list[dict[str, str]] = []
    asked = torch.get_num_threads()
    try:
        for workers, cores, torch_threads in ((1, 1, asked), (3, 5, 2)):
            monkeypatch.setattr(machine, "cores", lambda cores=cores: cores)
            torch.set_num_threads(torch_threads)
            cohort = make_small_cohort(tmp_path / str(workers), {"run_arguments": {"workers": workers}})
            assert sorted(run(cohort).processed) == ["s1", "s2", "s3"]
            assert list(cohort.process_list()) == ["s1", "s2", "s3"]
            made.append(cohort.outputs())
    finally:
        torch.set_num_threads(asked)
    assert made[0] == made[1]


def test_a_slide_is_the_same_with_any_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1}})
    cohort.rows = cohort.rows[:1]
    config = load_config(cohort.write())
    made: list[dict[str, str]] = []
    asked = torch.get_num_threads()

    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @example(cores=1, torch_threads=1)
    @given(cores=st.integers(1, 6), torch_threads=st.integers(1, 4))
    def check(cores: int, torch_threads: int) -> None:
        monkeypatch.setattr(machine, "cores", lambda: cores)
        torch.set_num_threads(torch_threads)
        assert Runner(config, RunOptions(rerun="all")).run().processed == ["s1"]
        made.append(cohort.outputs())
        assert made[-1] == made[0]

    try:
        check()
    finally:
        torch.set_num_threads(asked)


def test_workers_encode_to_the_same_bytes_as_a_run_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Alone every core encodes; in two workers each has its part of them. The log tells the same of both."""
    outputs, logs = [], []
    for workers in (1, 2):
        caplog.clear()
        caplog.set_level("INFO", logger="mil_heatmaps")
        cohort = make_encoded(tmp_path / str(workers), "tests.helpers.stub_encoder:convolutions", workers=workers)
        assert run(cohort).failed == {}
        outputs.append(cohort.outputs())
        told = [message.split(" from before")[0] for message in caplog.messages if ": encoded " in message]
        logs.append(sorted(told))
    assert [line.split(":")[0] for line in logs[0]] == ["s1", "s1", "s2", "s2", "s3", "s3"]  # the bag, the fine map
    assert logs[0] == logs[1]
    assert any(name.endswith("_features.h5") for name in outputs[0])
    assert outputs[0] == outputs[1]


def test_workers_run_this_program_though_the_user_stands_in_a_project_with_a_package_src(
    cohort: SmallCohort, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "mil_heatmaps").mkdir(parents=True)
    (theirs / "mil_heatmaps" / "__init__.py").write_text("")
    command = [sys.executable, str(ROOT / "create_heatmaps.py"), "--config", str(cohort.write())]
    done = subprocess.run(command, cwd=theirs, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in cohort.process_list().values()} == {"processed"}


def test_a_run_without_workers_uses_the_device_of_run_arguments(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1, "devices": "cpu"}})
    cohort.config["model_arguments"]["device"] = "cuda:7"  # which is not there
    assert run(cohort).exit_code == 0


def test_a_slide_that_kills_its_worker_fails_after_the_retries_and_the_others_are_done(cohort: SmallCohort) -> None:
    make_naughty(cohort, "Killer", retries=1)
    summary = run(cohort)
    assert sorted(summary.processed) == ["s1", "s3"]
    assert "signal 9" in summary.failed["s2"]
    assert "2 times" in summary.failed["s2"]
    row = cohort.process_list()["s2"]
    assert (row["status"], row["failed_stage"]) == ("failed", "worker")


def test_halves_of_files_are_cleared_away_when_a_worker_died(cohort: SmallCohort) -> None:
    make_naughty(cohort, "Killer", retries=0)
    half = cohort.production / f".x.{writer().replace(str(os.getpid()), '999999999')}-0123abcd.partial.jpg"
    half.parent.mkdir(parents=True)
    half.touch()
    assert list(run(cohort).failed) == ["s2"]
    assert not half.exists()


def test_a_slide_that_hangs_is_given_up_after_its_time(cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from pebble import ProcessPool

    schedule = ProcessPool.schedule

    def patient(pool: Any, function: Any, args: Any = (), kwargs: Any = None, timeout: float | None = None) -> Any:
        """Time the slide that hangs alone: a busy machine may take as long for the others."""
        hangs = any(isinstance(one, SlideTask) and one.job.slide_id == "s2" for one in args)
        return schedule(pool, function, args, kwargs or {}, timeout if hangs else None)

    monkeypatch.setattr(ProcessPool, "schedule", patient)
    make_naughty(cohort, "Sleeper", slide_timeout=2)
    summary = run(cohort)
    assert sorted(summary.processed) == ["s1", "s3"]
    assert "gave up after 2 s" in summary.failed["s2"]


@pytest.mark.parametrize("workers", ["auto", 1])
def test_a_slide_that_hangs_is_given_up_though_nobody_asked_for_workers(
    cohort: SmallCohort, workers: str | int
) -> None:
    make_naughty(cohort, "Sleeper", slide_timeout=1, workers=workers)
    cohort.rows = cohort.rows[1:2]
    assert "gave up after 1 s" in run(cohort).failed["s2"]


def test_a_worker_whose_disk_is_full_fails_its_slide_and_the_next_run_does_it(
    cohort: SmallCohort,
) -> None:
    make_naughty(cohort, "DiskFiller")
    cohort.rows = cohort.rows[1:2] + cohort.rows[:1]  # one worker meets it first, the other goes on
    summary = run(cohort)
    assert "No space left on device" in summary.failed["s2"]
    assert cohort.process_list()["s2"]["failed_stage"] == "attention"
    assert not list(cohort.root.rglob("*.partial*"))
    write_features(cohort.features / "s2.h5", 2)  # there is room again: the same model, no longer set off
    again = run(cohort)
    assert "s2" in again.processed
    assert again.failed == {}
    assert {row["status"] for row in cohort.process_list().values()} == {"processed"}


def test_a_stop_between_stages_keeps_what_is_done_and_the_next_run_goes_on(cohort: SmallCohort) -> None:
    cohort.config["run_arguments"]["workers"] = 1
    runner = Runner(load_config(cohort.write()))
    seen: list[str] = []

    class StopAtAttention(Progress):
        def slide(self, slide_id: str) -> None:
            seen.append(slide_id)

        def stage(self, name: str) -> None:
            if seen == ["s1", "s2"] and name == "attention":
                os.kill(os.getpid(), signal.SIGTERM)

    runner.progress = StopAtAttention()
    summary = runner.run()
    assert summary.processed == ["s1"]
    assert summary.stopped == "SIGTERM received"
    assert (summary.left, summary.exit_code) == (2, 3)
    assert [row["status"] for row in cohort.process_list().values()] == ["processed", "tbp", "tbp"]
    again = run(cohort)
    assert (again.processed, again.reused) == (["s2", "s3"], ["s1"])
    assert set(again.stage_seconds) == {"segment", "coords", "attention", "heatmap", "samples"}
    assert not list(cohort.raw.glob(".stop*"))


def test_a_time_limit_begins_no_slide_that_would_not_be_done_in_time(cohort: SmallCohort) -> None:
    summary = run(cohort, time_limit=0.0)
    assert summary.processed == []
    assert (summary.stopped, summary.left) == ("the time limit is near", 3)


def test_runs_and_a_shard_at_once_share_the_slides_and_harm_nothing(tmp_path: Path, warm: WarmProgram) -> None:
    calm = make_small_cohort(tmp_path / "calm")
    shared = make_small_cohort(tmp_path / "shared")
    run(calm)
    config = ["--config", str(shared.write())]
    # A rerun of all, while a shard of it is at work on another machine whose clock is an hour ahead.
    elsewhere = (
        "import socket, sys, time; socket.gethostname = lambda: 'node7'; true = time.time;"
        "time.time = lambda: true() + 3600; from mil_heatmaps.cli.create_heatmaps import main;"
        "sys.exit(main(sys.argv[1:]))"
    )
    with (tmp_path / "shard.txt").open("w") as said:
        shard = subprocess.Popen([sys.executable, "-c", elsewhere, *config, "--shard", "1/2"], stdout=said, stderr=said)
    wait_until(lambda: list(shared.raw.glob(".running-node7-*")) or shard.poll() is not None)
    whole = warm.start("create_heatmaps.py", config, tmp_path, tmp_path / "whole.txt")
    assert whole.wait().code == 0, whole.said()
    assert shard.wait(LONG_S) == 0, (tmp_path / "shard.txt").read_text()
    assert shared.outputs() == calm.outputs()
    assert {row["status"] for row in shared.process_list().values()} == {"processed"}


def test_halves_of_files_of_killed_workers_are_removed_also_at_ctrl_c_twice(
    cohort: SmallCohort,
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    half = cohort.production / f".x.{writer().partition('-')[0]}-{gone.pid}-0123abcd.partial.jpg"

    class Interrupted(Progress):
        def slide(self, slide_id: str) -> None:
            half.touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner(load_config(cohort.write()), progress=Interrupted()).run()
    assert not half.exists()


def test_more_slides_than_a_process_is_worth_go_to_workers(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class NoPool(SerialExecutor):
        def __init__(self, workers: int, **options: Any) -> None:
            super().__init__()
            started.append(workers)

    cohort.config["run_arguments"]["workers"] = "auto"
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(run_slides, "LocalPool", NoPool)
    monkeypatch.setattr(run_slides, "WORTH_WORKERS_S", 0.0)
    assert run(cohort).processed == ["s1", "s2", "s3"]
    assert started == [1, 2]  # for slides that may end a process; then one for each slide that is left


def test_ctrl_c_twice_stops_at_once_and_the_run_can_go_on(cohort: SmallCohort, warm: WarmProgram) -> None:
    make_naughty(cohort, "Sleeper")
    process = warm.start("create_heatmaps.py", ["--config", cohort.write()], ROOT, cohort.root / "said.txt")

    def drawn() -> int:
        assert process.ended() is None, process.said()
        return len(list(cohort.raw.rglob("*_figure.png")) + list(cohort.production.rglob("*_orig_*")))

    wait_until(lambda: drawn() >= 2)
    process.signal(signal.SIGINT)
    wait_until(lambda: list(cohort.raw.glob(".stop-*")))
    assert process.ended() is None  # it waits for the slide that is begun
    process.signal(signal.SIGINT)
    assert process.wait().code == 130
    assert {row["status"] for row in cohort.process_list().values()} <= {"processed", "running", "tbp"}
