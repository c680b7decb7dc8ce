"""Choose where slides are worked on, cut them into parts, and run them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.execution.executors import (
    LocalPool,
    SerialExecutor,
    SlideExecutor,
    available_bytes,
    cores,
    cores_each,
)
from mil_heatmaps.execution.interrupts import StopRequest
from mil_heatmaps.execution.scheduler import CPU, Limits, Scheduler
from mil_heatmaps.execution.slide_tasks import SlideTask, use_one_thread
from mil_heatmaps.execution.worker_server import start_server
from mil_heatmaps.progress.bars import Progress
from mil_heatmaps.progress.encoding_signs import describe, find_encodings
from mil_heatmaps.stages.all_stages import STAGES, Stage
from mil_heatmaps.stages.base import RunSettings, SlideJob
from mil_heatmaps.stages.preflight import check_and_tell, check_needs
from mil_heatmaps.stages.run_encoder import encoder_bytes
from mil_heatmaps.stages.run_slide import SlideRun

if TYPE_CHECKING:
    from mil_heatmaps.config.cluster_section import ClusterArguments
    from mil_heatmaps.config.config import Config

logger = logging.getLogger(__name__)

WORTH_WORKERS_S = 10.0
"""Work this long or longer is worth the seconds that processes take to start."""

WORKER_BYTES = 600 << 20
"""Memory of a worker, besides the weights of an encoder."""

TELL_EVERY_S = 2.0
"""How often the progress of encoding in other processes is looked for."""

MANY = 10
"""So many slides are taken to be worth it, before the first one has shown how long it takes."""

Parts = list[tuple[str, SlideTask]]


class Execution:
    """Runs stages of many slides; used once or twice (two passes) in a run of the experiment in a folder."""

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
        self._told_encoding = time.monotonic()
        self._encoding_shown = False
        self._put_back: Callable[[], None] | None = None
        self.lost_workers = False
        self.dead_writers: frozenset[str] = frozenset()

    def __enter__(self) -> Execution:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for executor in self._executors.values():
            if kind is not None:
                executor.kill()
            else:
                executor.shutdown()
            self.dead_writers |= executor.dead_writers()
        if self._put_back is not None:
            self._put_back()

    def check(self, settings: RunSettings, needed: Collection[str], slides: int) -> None:
        """Do `check_needs` before so many slides; in a worker, where there are to be some on the processor.

        This process then does without torch, and the worker has the model when its first slide comes.
        """
        if not needed or not self._begins_with_workers(slides):
            check_needs(settings, needed)
            return
        if self._devices():
            start_server()  # imports while this process loads the model
            check_needs(settings, needed)
            return
        self._executors = self._start(slides)
        pool = self._executors[CPU]
        assert isinstance(pool, LocalPool)  # not a cluster: those begin with workers of their own
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
        """Yield what became of each slide, as they finish."""
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
        """Whether so many slides are worked on in other processes of this machine from the first one on."""
        run = self._config.run_arguments
        if run.cluster is not None:
            return False
        if run.slide_timeout is not None:
            return True
        if run.workers == "auto":
            return slides >= MANY and self._most_workers() > 1
        return run.workers > 1

    def _alone(self, tasks: Iterator[SlideTask], left: int, stop: StopRequest) -> Generator[SlideRun, None, int]:
        """Work in this process until the rest is worth starting others; return how many slides are left."""
        workers = self._config.run_arguments.workers
        if self._config.run_arguments.cluster is not None or self._begins_with_workers(left):
            return left
        if self._put_back is None:
            self._put_back = use_one_thread()
        serial: dict[str, SlideExecutor] = {CPU: SerialExecutor(self._progress.stage)}
        scheduler = Scheduler(serial, self._limits, stop, on_start=self._on_start)
        alone = (replace(task, threads=serial[CPU].threads) for task in tasks)
        if workers == 1:
            yield from scheduler.run([(CPU, task)] for task in alone)
            return 0
        for task in alone:
            left -= 1
            for run in scheduler.run([[(CPU, task)]]):
                yield run
                if run.done and run.seconds * left >= WORTH_WORKERS_S and self._most_workers() > 1:
                    return left
            if stop.asked:
                break
        return left

    def _on_start(self, task: SlideTask) -> None:
        self._progress.slide(task.job.slide_id)
        self._tell(task.job.slide_id)

    def _tell_encoding(self, slide_ids: Collection[str]) -> None:
        """Tell how far the workers are with encoding, now and then."""
        now = time.monotonic()
        if now - self._told_encoding < TELL_EVERY_S:
            return
        self._told_encoding = now
        told = describe(find_encodings(self._experiment, slide_ids))
        if told or self._encoding_shown:  # once more when none is encoding any longer
            self._progress.encoding(told)
        self._encoding_shown = bool(told)

    def _most_workers(self) -> int:
        """As many as there are cores, and as memory allows."""
        memory = self._limits.memory_bytes or available_bytes()
        encoder = 0 if self._devices() else encoder_bytes(self._config)
        return max(1, min(cores(), memory // (WORKER_BYTES + encoder)))

    def _start(self, left: int) -> dict[str, SlideExecutor]:
        """Start the workers: one a core for the processor's part, one a GPU for the model's; or the cluster."""
        if self._config.run_arguments.cluster is not None:
            return {CPU: self._join_cluster(self._config.run_arguments.cluster)}
        asked = self._config.run_arguments.workers
        workers = min(self._most_workers() if asked == "auto" else asked, left)
        if self._limits.memory_bytes is None:
            self._limits.memory_bytes = available_bytes() * 8 // 10
        timeout = self._limits.slide_timeout
        executors: dict[str, SlideExecutor] = {CPU: LocalPool(workers, threads=cores_each(workers), timeout=timeout)}
        devices = self._devices()
        for device in devices:
            # All cores for the GPUs: they wait for patches more than the drawing of other slides waits for cores.
            executors[device] = LocalPool(1, threads=cores_each(len(devices)), timeout=timeout)
        logger.info("%d workers%s", workers, "".join(f", one for {d}" for d in executors if d != CPU))
        return executors

    def _join_cluster(self, cluster: ClusterArguments) -> SlideExecutor:
        """Start or join it; each of its processes minds its own memory, so there is no limit for all."""
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
        """The GPUs that models run on, by number; none when they run on the processor."""
        from mil_heatmaps.devices import cuda_devices

        return cuda_devices(self._config.run_arguments.devices, self._config.model_arguments.device)

    def _parts(self, task: SlideTask, number: int) -> Parts:
        """Cut a slide where the work changes between processor and GPU; slides take turns on the GPUs."""
        devices = [name for name in self._executors if name != CPU]
        if not devices:
            return [(CPU, replace(task, threads=self._executors[CPU].threads))]
        device = devices[number % len(devices)]
        parts: Parts = []
        for stage in STAGES:
            if stage.name not in task.stages:
                continue
            resource = device if stage.uses_model else CPU
            if parts and parts[-1][0] == resource:
                resource_task = replace(parts[-1][1], stages=(*parts[-1][1].stages, stage.name))
                parts[-1] = (resource, resource_task)
            else:
                on, threads = device if stage.uses_model else None, self._executors[resource].threads
                part = replace(task, stages=(stage.name,), keep_running=True, device=on, threads=threads)
                parts.append((resource, part))
        last, final = parts[-1]
        parts[-1] = (last, replace(final, keep_running=task.keep_running))
        return parts
