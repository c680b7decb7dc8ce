"""Hand slides to executors, take results as they come, and answer for workers that die or hang."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from mil_heatmaps.execution.executors import SlideExecutor
from mil_heatmaps.execution.interrupts import StopRequest
from mil_heatmaps.execution.slide_tasks import SlideTask, do_task
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages.run_slide import SlideRun
from mil_heatmaps.words import counted, one_line, reason_of

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How often signals are looked for while nothing finishes."""

CPU = "cpu"


@dataclass
class Progressing:
    """One slide on its way through its parts.

    Attributes
    ----------
    parts : (resource, task) still to be done, in order
    attempts : how many workers died of it
    """

    parts: deque[tuple[str, SlideTask]]
    attempts: int = 0
    busy: int = 0
    done: tuple[str, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def task(self) -> SlideTask:
        return self.parts[0][1]

    @property
    def resource(self) -> str:
        return self.parts[0][0]

    def take(self, run: SlideRun) -> SlideRun:
        """Add what a part did; return the slide's whole run so far."""
        self.done += run.done
        self.seconds += run.seconds
        self.notes = tuple(dict.fromkeys(self.notes + run.notes))
        self.lines += run.lines
        return replace(run, done=self.done, seconds=self.seconds, notes=self.notes, lines=self.lines)


@dataclass
class Limits:
    """When to give up on a slide, and how much may be under way at once."""

    retries: int = 1
    slide_timeout: float | None = None
    memory_bytes: int | None = None


@dataclass
class Scheduler:
    """Keeps every executor busy, in the order of the list, within the limits.

    Attributes
    ----------
    executors : by resource
        ``cpu``, and one for each device that a process of its own serves.
    on_start, on_wait : told of each slide that begins; and a few times a second which slides are at work
    """

    executors: dict[str, SlideExecutor]
    limits: Limits
    stop: StopRequest
    on_start: Callable[[SlideTask], None] = lambda task: None
    on_wait: Callable[[Collection[str]], None] = lambda slide_ids: None
    _running: dict[Future[SlideRun | None], Progressing] = field(default_factory=dict)
    _finished: int = 0
    _worked_s: float = 0.0
    _withdrawn: bool = False
    lost_workers: bool = False
    """Whether a worker died or hung, and may have left halves of files."""

    def run(self, slides: Iterable[list[tuple[str, SlideTask]]]) -> Iterator[SlideRun]:
        """Yield what became of each slide, as they finish. Slides not begun when a stop is asked for are left out."""
        waiting: dict[str, deque[Progressing]] = {name: deque() for name in self.executors}
        source = iter(slides)
        exhausted = False
        postponed: deque[Progressing] = deque()
        outcomes: deque[SlideRun] = deque()
        while True:
            # Parts later in a slide go first, so that slides are finished rather than begun.
            for name, queue in waiting.items():
                while queue and self._room(name, queue[0]):
                    self._submit(name, queue.popleft())
            while not exhausted and not self._stop_admitting() and not waiting[CPU] and self._slot(CPU):
                parts = next(source, None)
                if parts is None:
                    exhausted = True
                    break
                self._enqueue(Progressing(deque(parts)), waiting)
            # Only now, with every worker busy again: whoever takes them writes lists, which takes its time.
            while outcomes:
                yield outcomes.popleft()
            if exhausted and postponed and not self._running and not any(waiting.values()):
                # Another run had them; by now it has done them, or its lock is waited for.
                slide = postponed.popleft()
                slide.parts[0] = (slide.resource, replace(slide.task, wait=True))
                self._enqueue(slide, waiting)
                continue
            if not self._running:
                if any(waiting.values()) and not self.stop.asked:
                    continue
                if exhausted or self.stop.asked:
                    return
                continue
            done, _ = wait(self._running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                outcomes.extend(self._settle(future, waiting, postponed))
            while outcomes and self._alone:
                yield outcomes.popleft()
            self._look_after()

    @property
    def _alone(self) -> bool:
        """Whether handing in a slide is doing it, so that results would wait for the next slide."""
        return any(executor.at_once for executor in self.executors.values())

    def _look_after(self) -> None:
        """Let the executors see to their workers; take back what waits there once a stop is asked for."""
        for executor in self.executors.values():
            executor.look_after()
            if executor.lost is not None and not self.stop.asked:
                self.stop.reason = executor.lost
            if self.stop.asked and not self._withdrawn:
                executor.withdraw()
        self._withdrawn = self.stop.asked
        self.on_wait({slide.task.job.slide_id for slide in self._running.values()})

    def _enqueue(self, slide: Progressing, waiting: dict[str, deque[Progressing]]) -> None:
        name = slide.resource
        if self._room(name, slide):
            self._submit(name, slide)
        else:
            waiting[name].append(slide)

    def _submit(self, name: str, slide: Progressing) -> None:
        self.on_start(slide.task)
        self._running[self.executors[name].submit(do_task, slide.task)] = slide

    def _slot(self, name: str) -> bool:
        handed_in = sum(1 for slide in self._running.values() if slide.resource == name)
        return handed_in < self.executors[name].slots + self.executors[name].ahead

    def _room(self, name: str, slide: Progressing) -> bool:
        """Whether a slide may begin: a free worker, and memory for it unless it would be the only one."""
        if not self._slot(name):
            return False
        if self.limits.memory_bytes is None or not self._running:
            return True
        used = sum(other.task.memory_bytes for other in self._running.values())
        return used + slide.task.memory_bytes <= self.limits.memory_bytes

    def _stop_admitting(self) -> bool:
        usual = self._worked_s / self._finished if self._finished else 0.0
        # A slide that is handed in ahead waits about as long as one takes before it begins.
        return self.stop.no_time_for(usual * (1 + self.executors[CPU].ahead))

    def _settle(
        self,
        future: Future[SlideRun | None],
        waiting: dict[str, deque[Progressing]],
        postponed: deque[Progressing],
    ) -> Iterator[SlideRun]:
        slide = self._running.pop(future)
        executor = self.executors[slide.resource]
        error = future.exception()
        if error is not None:
            failure = executor.failure_of(error)
            if failure == "withdrawn":
                return
            self.lost_workers |= failure is not None
            if failure == "died":
                slide.attempts += executor.deaths(error)
            if failure == "died" and slide.attempts <= self.limits.retries and not self.stop.asked:
                logger.warning(
                    "%s: its worker died (%s); trying again", slide.task.job.slide_id, executor.describe_death(error)
                )
                waiting[slide.resource].append(slide)
                return
            yield slide.take(self._failed(slide, executor, error, failure))
            return
        run = future.result()
        if run is None:
            postponed.append(slide)
            return
        whole = slide.take(run)
        slide.parts.popleft()
        if slide.parts and not run.failed and not run.stopped:
            waiting[slide.resource].append(slide)
            return
        self._finished += 1
        self._worked_s += whole.seconds
        yield whole

    def _failed(
        self, slide: Progressing, executor: SlideExecutor, error: BaseException, failure: str | None
    ) -> SlideRun:
        """Put on record, in the worker's stead, that it did not come back."""
        job = slide.task.job
        record = SlideRecord.load(job.paths.record, job.slide_id)
        if failure == "died":
            what = f"its worker died ({executor.describe_death(error)}), {counted(slide.attempts, 'time')}"
        elif failure == "hung":
            what = f"gave up after {self.limits.slide_timeout:g} s (run_arguments.slide_timeout)"
        else:
            what = reason_of(error)
            logger.error("%s", what, exc_info=error)
        record.status, record.failed_stage, record.error = "failed", "worker", one_line(what)
        try:
            record.save()
        except OSError as problem:
            logger.error("cannot write %s: %s", record.path, problem.strerror or problem)
        return SlideRun(record, (), 0.0)
