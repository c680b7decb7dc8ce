"""Choose where slides are processed, cut them into parts, and run them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps import machine
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.execution.executors import LocalPool, SerialExecutor, SlideExecutor
from mil_heatmaps.execution.interrupts import StopRequest
from mil_heatmaps.execution.scheduler import CPU, Limits, Parts, Scheduler
from mil_heatmaps.execution.slide_tasks import SlideTask, use_one_thread
from mil_heatmaps.execution.worker_server import start_server
from mil_heatmaps.progress.bars import Progress
from mil_heatmaps.progress.encoding_signs import describe, find_encodings
from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.slides.header_checks import headers_pass
from mil_heatmaps.stages.all_stages import STAGES
from mil_heatmaps.stages.base import Stage
from mil_heatmaps.stages.preflight import check_and_tell, check_needs
from mil_heatmaps.stages.run_encoder import encoder_bytes
from mil_heatmaps.stages.run_settings import RunSettings

if TYPE_CHECKING:
    from mil_heatmaps.config.cluster_section import ClusterArguments
    from mil_heatmaps.config.config import Config

logger = logging.getLogger(__name__)

WORTH_WORKERS_S = 10.0
"""Starting worker processes takes seconds: they are started for this much work or more."""

WORKER_BYTES = 600 << 20
"""Memory of a worker, besides the weights of an encoder."""

TELL_EVERY_S = 2.0
"""How often the workers' progress with encoding is looked for."""

MANY = 10
"""This many slides get workers from the start, before the first one has shown how long a slide takes."""

APART = "apart"
"""The worker for slides whose headers are not known to be harmless, while this process does all others."""

ASSUMED_BYTES = 8 << 30
"""Free memory where the system does not tell."""


class Execution:
    """Runs stages of many slides of the run in `experiment`, here or in workers; `run` may be called a second time.

    Attributes
    ----------
    lost_workers : whether a worker died or hung, and may have left incomplete files
    dead_writers : the `files.atomic.writer` of each of them on other machines, once the block has ended
    """

    def __init__(
        self,
        config: Config,
        experiment: Path,
        progress: Progress,
        on_start: Callable[[str], None] = lambda slide_id: None,
    ) -> None:
        run = config.run_arguments
        self._config = config
        self._experiment = experiment
        self._progress = progress
        self._tell = on_start
        self._limits = Limits(run.retries, run.slide_timeout, run.memory_limit)
        self._executors: dict[str, SlideExecutor] = {}
        self._apart: LocalPool | None = None
        self._told_encoding = time.monotonic()
        self._encoding_shown = False
        self._put_back: Callable[[], None] | None = None
        self._gpu_lost = False
        self.lost_workers = False
        self.dead_writers: frozenset[str] = frozenset()

    def __enter__(self) -> Execution:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for executor in (*self._executors.values(), *([self._apart] if self._apart else [])):
            if kind is not None:
                executor.kill()
            else:
                executor.shutdown()
            self.dead_writers |= executor.dead_writers()
        if self._put_back is not None:
            self._put_back()

    def check(self, settings: RunSettings, needed: Collection[str], slides: int) -> None:
        """Run `check_needs` before a run of `slides` slides: in a worker, if the run begins with workers on the CPU.

        This process then never imports torch, and the worker has loaded the model before its first slide.
        """
        if not needed:
            return
        if not self._begins_with_workers(slides):
            check_needs(replace(settings, device=self._own_device()), needed)
            return
        if self._devices():
            start_server()  # imports while this process loads the model
            check_needs(settings, needed)
            return
        self._executors = self._start(slides)
        pool = self._executors[CPU]
        assert isinstance(pool, LocalPool)  # `_begins_with_workers` is False for a cluster
        told = pool.ask(check_and_tell, settings, needed, logging.getLogger("mil_heatmaps").getEffectiveLevel())
        for record in told.records:
            logging.getLogger(record.name).handle(record)
        if told.error is not None:
            raise told.error

    def run(
        self,
        jobs: Sequence[SlideJob],
        settings: RunSettings,
        stages: Sequence[Stage],
        force: frozenset[str],
        stop: StopRequest,
        *,
        keep_running: bool = False,
    ) -> Iterator[SlideRun]:
        """Yield each slide's run as it finishes."""
        tasks = iter(
            SlideTask(
                job,
                settings,
                tuple(stage.name for stage in stages),
                force,
                keep_running=keep_running,
                stop_file=stop.stop_file,
            )
            for job in jobs
        )
        left = len(jobs)
        if not self._executors:
            left = yield from self._alone(tasks, left, stop)
            if not left or stop.asked:
                return
            self._executors = self._start(left)
        scheduler = Scheduler(
            self._executors, self._limits, stop, on_start=self._on_start, on_wait=self._tell_encoding
        )
        yield from scheduler.run(self._parts(task, number) for number, task in enumerate(tasks))
        self.lost_workers |= scheduler.lost_workers

    def _begins_with_workers(self, slides: int) -> bool:
        """Whether a run of `slides` slides begins with worker processes on this machine."""
        run = self._config.run_arguments
        if run.cluster is not None:
            return False
        if run.slide_timeout is not None or run.isolate == "always":
            return True
        if run.workers == "auto":
            return slides >= MANY and self._most_workers() > 1
        return run.workers > 1

    def _alone(self, tasks: Iterator[SlideTask], left: int, stop: StopRequest) -> Generator[SlideRun, None, int]:
        """Yield slides done in this process until workers are worth starting; return how many slides are left."""
        workers = self._config.run_arguments.workers
        if self._config.run_arguments.cluster is not None or self._begins_with_workers(left):
            return left
        if self._put_back is None:
            self._put_back = use_one_thread()
        serial = SerialExecutor(self._progress.stage)
        self._apart = LocalPool(1, threads=serial.threads, timeout=self._limits.slide_timeout)
        executors: dict[str, SlideExecutor] = {CPU: serial, APART: self._apart}
        scheduler = Scheduler(executors, self._limits, stop, on_start=self._on_start, on_wait=self._tell_encoding)
        device = self._own_device()
        alone = (replace(task, threads=serial.threads, device=device) for task in tasks)
        if workers == 1:
            yield from self._noting(scheduler.run([(self._where(task), task)] for task in alone))
            self.lost_workers |= scheduler.lost_workers
            return 0
        for task in alone:
            left -= 1
            for run in self._noting(scheduler.run([[(self._where(task), task)]])):
                yield run
                self.lost_workers |= scheduler.lost_workers
                if run.done and run.seconds * left >= WORTH_WORKERS_S and self._most_workers() > 1:
                    return left
            if stop.asked:
                break
        return left

    def _where(self, task: SlideTask) -> str:
        """Return the executor for a slide: this process, or a separate one that a hostile file may end.

        After a slide that lost its GPU only another process can use it.
        """
        if self._gpu_lost:
            return APART
        never = self._config.run_arguments.isolate == "never"
        return CPU if never or headers_pass(task.job.slide_path) else APART

    def _noting(self, runs: Iterator[SlideRun]) -> Iterator[SlideRun]:
        """Yield the runs, and note when this process has lost its GPU."""
        for run in runs:
            if run.gpu_lost and not self._gpu_lost:
                self._gpu_lost = True
                logger.warning("this process lost its GPU: the other slides are processed in another one")
            yield run

    def _on_start(self, task: SlideTask) -> None:
        self._progress.slide(task.job.slide_id)
        self._tell(task.job.slide_id)

    def _tell_encoding(self, slide_ids: Collection[str]) -> None:
        """Report the workers' encoding progress every `TELL_EVERY_S`."""
        now = time.monotonic()
        if now - self._told_encoding < TELL_EVERY_S:
            return
        self._told_encoding = now
        told = describe(find_encodings(self._experiment, slide_ids))
        if told or self._encoding_shown:  # once more when none is encoding any longer
            self._progress.encoding(told)
        self._encoding_shown = bool(told)

    def _most_workers(self) -> int:
        """Return how many workers cores and memory allow."""
        memory = self._limits.memory_bytes or _free_bytes()
        encoder = 0 if self._devices() else encoder_bytes(self._config)
        return max(1, min(machine.cores(), memory // (WORKER_BYTES + encoder)))

    def _start(self, left: int) -> dict[str, SlideExecutor]:
        """Return the executors by name: the cluster, or a pool for the CPU and one worker for each GPU."""
        if self._config.run_arguments.cluster is not None:
            return {CPU: self._join_cluster(self._config.run_arguments.cluster)}
        asked = self._config.run_arguments.workers
        workers = min(self._most_workers() if asked == "auto" else asked, left)
        if self._limits.memory_bytes is None:
            self._limits.memory_bytes = _free_bytes() * 8 // 10
        timeout = self._limits.slide_timeout
        threads = machine.cores_each(workers)
        executors: dict[str, SlideExecutor] = {CPU: LocalPool(workers, threads=threads, timeout=timeout)}
        devices = self._devices()
        for device in devices:
            # GPU workers get all cores: they wait longer for patches than the drawing of other slides waits for cores.
            executors[device] = LocalPool(1, threads=machine.cores_each(len(devices)), timeout=timeout)
        logger.info("%d workers%s", workers, "".join(f", one for {d}" for d in executors if d != CPU))
        return executors

    def _join_cluster(self, cluster: ClusterArguments) -> SlideExecutor:
        """Start or join the cluster. Its workers each watch their own memory, so there is no limit for all together."""
        from mil_heatmaps.execution.dask_executor import DaskExecutor

        asked = self._config.run_arguments.workers
        executor = DaskExecutor(
            cluster,
            workers=self._most_workers() if asked == "auto" else asked,
            log_dir=self._experiment / "dask_logs",
            timeout=self._limits.slide_timeout,
            tell=self._progress.say,
        )
        self._limits.memory_bytes = None
        self._progress.say(f"cluster: scheduler {executor.address}, dashboard {executor.dashboard}")
        logger.info("cluster: scheduler %s, dashboard %s", executor.address, executor.dashboard)
        return executor

    def _devices(self) -> list[str]:
        """Return the GPUs that models run on, such as ``cuda:0``; empty when they run on the CPU."""
        from mil_heatmaps.devices import cuda_devices

        return cuda_devices(self._config.run_arguments.devices, self._config.model_arguments.device)

    def _own_device(self) -> str | None:
        """Return where models of this process run; None: as `model_arguments.device` says."""
        return None if self._config.run_arguments.devices == "auto" else next(iter(self._devices()), "cpu")

    def _parts(self, task: SlideTask, number: int) -> Parts:
        """Cut a slide's stages where the work changes between CPU and GPU; slides use the GPUs in turn, by `number`."""
        devices = [name for name in self._executors if name != CPU]
        if not devices:
            return [(CPU, replace(task, threads=self._executors[CPU].threads))]
        device = devices[number % len(devices)]
        chosen = (stage for stage in STAGES if stage.name in task.stages)
        parts: Parts = []
        for name, stages in groupby(chosen, lambda stage: device if stage.uses_model else CPU):
            names, on = tuple(stage.name for stage in stages), None if name == CPU else name
            threads = self._executors[name].threads
            parts.append((name, replace(task, stages=names, keep_running=True, device=on, threads=threads)))
        last, final = parts[-1]
        parts[-1] = (last, replace(final, keep_running=task.keep_running))
        return parts


def _free_bytes() -> int:
    free = machine.available_bytes()
    return ASSUMED_BYTES if free is None else free
