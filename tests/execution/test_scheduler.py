"""What the scheduler hands to executors, when, and what it keeps of each slide."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.execution.executors import LocalPool, SerialExecutor, SlideExecutor
from mil_heatmaps.execution.interrupts import StopRequest
from mil_heatmaps.execution.scheduler import CPU, Limits, Scheduler, SlideProgress
from mil_heatmaps.execution.slide_tasks import SlideTask, do_task
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.records.slide_run import SlideRun
from tests.helpers.cohort import SmallCohort, make_small_cohort


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path)


def test_memory_admits_one_slide_at_a_time_when_two_do_not_fit(cohort: SmallCohort, tmp_path: Path) -> None:
    runner = Runner(load_config(cohort.write()))
    at_work: list[int] = []

    class Counting(SerialExecutor):
        slots = 2

    with StopRequest(tmp_path / ".stop") as stop:
        scheduler = Scheduler({CPU: Counting()}, Limits(memory_bytes=500 << 20), stop)
        scheduler.on_start = lambda task: at_work.append(len(scheduler._running))
        tasks = [[(CPU, SlideTask(job, runner.settings, ("segment",)))] for job in runner.chosen_jobs()]
        assert len(list(scheduler.run(tasks))) == 3
    assert at_work == [0, 0, 0]


def test_a_worker_has_its_next_slide_before_anyone_writes_down_the_last_one(
    cohort: SmallCohort, tmp_path: Path
) -> None:
    runner = Runner(load_config(cohort.write()))
    tasks = [SlideTask(job, runner.settings, ("segment",)) for job in runner.chosen_jobs()]
    begun: list[str] = []

    class Elsewhere(SerialExecutor):
        runs_inline = False

    with StopRequest(tmp_path / "stop") as stop:
        scheduler = Scheduler({CPU: Elsewhere()}, Limits(), stop, on_start=lambda task: begun.append(task.job.slide_id))
        seen = [(outcome.record.slide_id, list(begun)) for outcome in scheduler.run([(CPU, task)] for task in tasks)]
        assert seen == [("s1", ["s1", "s2"]), ("s2", ["s1", "s2", "s3"]), ("s3", ["s1", "s2", "s3"])]
        begun.clear()
        scheduler = Scheduler({CPU: SerialExecutor()}, Limits(), stop, on_start=scheduler.on_start)
        seen = [(outcome.record.slide_id, list(begun)) for outcome in scheduler.run([(CPU, task)] for task in tasks)]
        assert seen == [("s1", ["s1"]), ("s2", ["s1", "s2"]), ("s3", ["s1", "s2", "s3"])]


def test_what_a_slide_tells_in_several_parts_is_kept_of_all(tmp_path: Path) -> None:
    record = SlideRecord(tmp_path / "record.json", "s1")
    slide = SlideProgress(deque())
    for part in ("features", "attention"):
        whole = slide.take(SlideRun(record, (part,), 1.0, notes=(f"n {part}",), lines=(f"l {part}",)))
    assert (whole.done, whole.seconds) == (("features", "attention"), 2.0)
    assert whole.notes == ("n features", "n attention")
    assert whole.lines == ("l features", "l attention")


def test_one_slide_more_than_there_are_workers_is_handed_in_ahead(cohort: SmallCohort, tmp_path: Path) -> None:
    runner = Runner(load_config(cohort.write()))
    tasks = [SlideTask(job, runner.settings, ("segment",)) for job in runner.chosen_jobs()]
    begun: list[str] = []
    waiting: list[Future[Any]] = []

    class Elsewhere(SlideExecutor):
        ahead = LocalPool.ahead

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            waiting.append(Future())
            return waiting[-1]

    def finish_first(slide_ids: object) -> None:
        assert finished or begun == ["s1", "s2"]  # one worker: one at work and one ahead
        if len(finished) < len(begun):
            finished.append(begun[len(finished)])
            waiting[len(finished) - 1].set_result(do_task(tasks[len(finished) - 1]))

    finished: list[str] = []
    with StopRequest(tmp_path / "stop") as stop:
        scheduler = Scheduler({CPU: Elsewhere()}, Limits(), stop, lambda task: begun.append(task.job.slide_id))
        scheduler.on_wait = finish_first
        seen = [run.record.slide_id for run in scheduler.run([(CPU, task)] for task in tasks)]
    assert seen == begun == ["s1", "s2", "s3"]


def test_a_time_limit_counts_the_wait_of_a_slide_handed_in_ahead(tmp_path: Path) -> None:
    class Ahead(SerialExecutor):
        ahead = 1

    with StopRequest(tmp_path / "stop", time_limit=15.0) as stop:
        for executor, too_long in ((SerialExecutor(), False), (Ahead(), True)):
            scheduler = Scheduler({CPU: executor}, Limits(), stop, _finished=1, _worked_s=10.0)
            assert scheduler._stop_admitting() is too_long
