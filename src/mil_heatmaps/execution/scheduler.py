"""Hand slides to executors, take their results, and retry or give up slides whose worker died or hung."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from mil_heatmaps.execution.executors import SlideExecutor
from mil_heatmaps.execution.interrupts import StopRequest
from mil_heatmaps.execution.slide_tasks import SlideTask, do_task
from mil_heatmaps.notices import Notice
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.slides.header_checks import why_opening_dies
from mil_heatmaps.words import counted, one_line, reason_of

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How long to wait for a result before signals and executors are checked."""

CPU = "cpu"


Parts = list[tuple[str, SlideTask]]  # a slide's tasks in order, each with the name of the executor that does it


@dataclass
class SlideProgress:
    """A slide's remaining tasks, and what the finished ones did.

    Attributes
    ----------
    parts : (name of the executor, task) still to be done, in order
    attempts : how many workers died of the slide
    """

    parts: deque[tuple[str, SlideTask]]
    attempts: int = 0
    done: tuple[str, ...] = ()
    seconds: float = 0.0
    notes: tuple[Notice, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def task(self) -> SlideTask:
        return self.parts[0][1]

    @property
    def resource(self) -> str:
        return self.parts[0][0]

    def take(self, run: SlideRun) -> SlideRun:
        """Add what a task did; return the slide's whole run so far."""
        self.done += run.done
        self.seconds += run.seconds
        self.notes = tuple(dict.fromkeys(self.notes + run.notes))
        self.lines += run.lines
        return replace(run, done=self.done, seconds=self.seconds, notes=self.notes, lines=self.lines)


@dataclass
class Limits:
    """How many dead workers and seconds a slide may cost, and how much memory all slides at work may take."""

    retries: int = 1
    slide_timeout: float | None = None
    memory_bytes: int | None = None


@dataclass
class Scheduler:
    """Keeps every executor busy, in the order of the list, within the limits.

    Attributes
    ----------
    executors : by name: ``cpu``, and one for each device with its own process
    on_start : called with each task that is handed in
    on_wait : called a few times a second with the slide_ids at work
    lost_workers : whether a worker died or hung, and may have left incomplete files
    """

    executors: dict[str, SlideExecutor]
    limits: Limits
    stop: StopRequest
    on_start: Callable[[SlideTask], None] = lambda task: None
    on_wait: Callable[[Collection[str]], None] = lambda slide_ids: None
    lost_workers: bool = False
    _running: dict[Future[SlideRun | None], SlideProgress] = field(default_factory=dict)
    _waiting: dict[str, deque[SlideProgress]] = field(default_factory=dict)  # for an executor, by its name
    _postponed: deque[SlideProgress] = field(default_factory=deque)  # another run is at work on them
    _finished: int = 0
    _worked_s: float = 0.0
    _withdrawn: bool = False

    def run(self, slides: Iterable[Parts]) -> Iterator[SlideRun]:
        """Yield each slide's run as it finishes. Slides that have not begun when a stop is asked for are left out."""
        self._waiting = {name: deque() for name in self.executors}
        inline = any(executor.runs_inline for executor in self.executors.values())
        source = iter(slides)
        exhausted = False
        outcomes: deque[SlideRun] = deque()
        while True:
            # Slides that have begun go first, so that slides are finished rather than begun.
            for name, queue in self._waiting.items():
                while queue and self._room(name, queue[0]):
                    self._submit(name, queue.popleft())
            while not exhausted and not self._stop_admitting() and not self._waiting[CPU] and self._slot(CPU):
                parts = next(source, None)
                if parts is None:
                    exhausted = True
                    break
                self._enqueue(SlideProgress(deque(parts)))
            # Only now, with every worker busy again: the caller writes lists for each result, which takes time.
            while outcomes:
                yield outcomes.popleft()
            if exhausted and self._postponed and not self._running and not any(self._waiting.values()):
                # By now the other run has done the slide, or this run waits for its lock.
                slide = self._postponed.popleft()
                slide.parts[0] = (slide.resource, replace(slide.task, wait=True))
                self._enqueue(slide)
                continue
            if not self._running:
                if self.stop.asked or (exhausted and not any(self._waiting.values())):
                    return
                continue
            done, _ = wait(self._running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                outcomes.extend(self._settle(future))
            while outcomes and inline:  # the next `submit` blocks: results do not wait for it
                yield outcomes.popleft()
            self._look_after()

    def _look_after(self) -> None:
        """Let the executors check their workers; once a stop is asked for, take back slides that have not begun."""
        for executor in self.executors.values():
            executor.look_after()
            if executor.lost is not None and not self.stop.asked:
                self.stop.reason = executor.lost
            if self.stop.asked and not self._withdrawn:
                executor.withdraw()
        self._withdrawn = self.stop.asked
        self.on_wait({slide.task.job.slide_id for slide in self._running.values()})

    def _enqueue(self, slide: SlideProgress) -> None:
        name = slide.resource
        if self._room(name, slide):
            self._submit(name, slide)
        else:
            self._waiting[name].append(slide)

    def _submit(self, name: str, slide: SlideProgress) -> None:
        self.on_start(slide.task)
        self._running[self.executors[name].submit(do_task, slide.task)] = slide

    def _slot(self, name: str) -> bool:
        handed_in = sum(1 for slide in self._running.values() if slide.resource == name)
        return handed_in < self.executors[name].slots + self.executors[name].ahead

    def _room(self, name: str, slide: SlideProgress) -> bool:
        """Whether a slide may begin: a worker is free, and memory is left or no other slide is at work."""
        if not self._slot(name):
            return False
        if self.limits.memory_bytes is None or not self._running:
            return True
        used = sum(other.task.memory_bytes for other in self._running.values())
        return used + slide.task.memory_bytes <= self.limits.memory_bytes

    def _stop_admitting(self) -> bool:
        usual = self._worked_s / self._finished if self._finished else 0.0
        # A slide that is handed in ahead first waits about as long as another one takes.
        return self.stop.no_time_for(usual * (1 + self.executors[CPU].ahead))

    def _settle(self, future: Future[SlideRun | None]) -> Iterator[SlideRun]:
        """Yield the slide's run if it is over; else the slide waits for its next task, another try or another run."""
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
                self._waiting[slide.resource].append(slide)
                return
            yield slide.take(self._failed(slide, executor, error, failure))
            return
        run = future.result()
        if run is None:
            self._postponed.append(slide)
            return
        whole = slide.take(run)
        slide.parts.popleft()
        if slide.parts and not run.failed and not run.stopped:
            self._waiting[slide.resource].append(slide)
            return
        self._finished += 1
        self._worked_s += whole.seconds
        yield whole

    def _failed(
        self, slide: SlideProgress, executor: SlideExecutor, error: BaseException, failure: str | None
    ) -> SlideRun:
        """Record the slide as failed, as its worker cannot."""
        job = slide.task.job
        record = SlideRecord.load(job.paths.record, job.slide_id)
        if record.status == "failed" and executor.recorded(error):
            return SlideRun(record, (), 0.0)
        if failure == "died":
            what = f"its worker died ({executor.describe_death(error)}), {counted(slide.attempts, 'time')}"
            if not executor.recorded(error) and (why := why_opening_dies(job.slide_path)):
                what = f"{why}; {what}"
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
