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
from mil_heatmaps.execution.scheduler import CPU, Limits, Parts, Scheduler, SlideProgress
from mil_heatmaps.execution.slide_tasks import SlideTask
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.records.slide_run import SlideRun
from tests.helpers.cohort import SmallCohort, make_small_cohort


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path)


class Elsewhere(SlideExecutor):
    """Workers somewhere else, done with the slide they had first whenever the scheduler has handed in what it may.

    Attributes
    ----------
    handed_in : how many slides it then had, each time it was given one more
    """

    def __init__(self, slots: int = 1, ahead: int = 0, seconds: float = 0.0) -> None:
        self.slots, self.ahead = slots, ahead
        self.handed_in: list[int] = []
        self._seconds = seconds
        self._waiting: deque[tuple[SlideTask, Future[SlideRun]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[SlideRun] = Future()
        self._waiting.append((args[0], future))
        self.handed_in.append(len(self._waiting))
        return future

    def look_after(self) -> None:
        if self._waiting:
            task, future = self._waiting.popleft()
            record = SlideRecord(task.job.paths.record, task.job.slide_id)
            future.set_result(SlideRun(record, task.stages, self._seconds))


def tasks_of(cohort: SmallCohort) -> list[Parts]:
    runner = Runner(load_config(cohort.write()))
    return [[(CPU, SlideTask(job, runner.settings, ("segment",)))] for job in runner.chosen_jobs()]


@pytest.mark.parametrize(("memory", "handed_in"), [(500 << 20, [1, 1, 1]), (1200 << 20, [1, 2, 1]), (None, [1, 2, 3])])
def test_so_many_slides_are_at_work_as_memory_admits_but_one_in_any_case(
    cohort: SmallCohort, tmp_path: Path, memory: int | None, handed_in: list[int]
) -> None:
    executor = Elsewhere(slots=3)
    with StopRequest(tmp_path / ".stop") as stop:
        scheduler = Scheduler({CPU: executor}, Limits(memory_bytes=memory), stop)
        assert len(list(scheduler.run(tasks_of(cohort)))) == 3
    assert executor.handed_in == handed_in


def test_a_worker_has_its_next_slide_before_anyone_writes_down_the_last_one(
    cohort: SmallCohort, tmp_path: Path
) -> None:
    tasks = tasks_of(cohort)
    begun: list[str] = []

    class NotInline(SerialExecutor):
        runs_inline = False

    with StopRequest(tmp_path / "stop") as stop:
        scheduler = Scheduler({CPU: NotInline()}, Limits(), stop, on_start=lambda task: begun.append(task.job.slide_id))
        seen = [(outcome.record.slide_id, list(begun)) for outcome in scheduler.run(tasks)]
        assert seen == [("s1", ["s1", "s2"]), ("s2", ["s1", "s2", "s3"]), ("s3", ["s1", "s2", "s3"])]
        begun.clear()
        scheduler = Scheduler({CPU: SerialExecutor()}, Limits(), stop, on_start=scheduler.on_start)
        seen = [(outcome.record.slide_id, list(begun)) for outcome in scheduler.run(tasks)]
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
    begun: list[str] = []
    executor = Elsewhere(ahead=LocalPool.ahead)
    with StopRequest(tmp_path / "stop") as stop:
        scheduler = Scheduler({CPU: executor}, Limits(), stop, lambda task: begun.append(task.job.slide_id))
        seen = [run.record.slide_id for run in scheduler.run(tasks_of(cohort))]
    assert seen == begun == ["s1", "s2", "s3"]
    assert executor.handed_in == [1, 2, 1]  # one at work and one ahead


@pytest.mark.parametrize(("ahead", "done"), [(0, 3), (1, 2)])
def test_a_time_limit_counts_the_wait_of_a_slide_handed_in_ahead(
    cohort: SmallCohort, tmp_path: Path, ahead: int, done: int
) -> None:
    """A slide takes 10 s and 15 s are left: one handed in ahead would be done after 20 s."""
    with StopRequest(tmp_path / "stop", time_limit=15.0) as stop:
        scheduler = Scheduler({CPU: Elsewhere(ahead=ahead, seconds=10.0)}, Limits(), stop)
        assert len(list(scheduler.run(tasks_of(cohort)))) == done
