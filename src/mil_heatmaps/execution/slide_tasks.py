"""A slide's work as a value that can be sent to another process, and the function that does it there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from mil_heatmaps import machine
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.files.atomic import names_flushed_once
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.stages.all_stages import STAGES
from mil_heatmaps.stages.run_encoder import encoder_bytes
from mil_heatmaps.stages.run_settings import RunSettings
from mil_heatmaps.stages.run_slide import OnStage, run_slide
from mil_heatmaps.words import reason_of

BASE_BYTES = 500 << 20
"""Memory of a worker besides the slide's features: libraries, one band of the picture, decoded levels."""


@dataclass(frozen=True)
class SlideTask:
    """Stages of one slide, done by one worker in one go.

    Attributes
    ----------
    stages, force : names of stages
    keep_running : bool
        More of the slide follows later: leave its status at ``running``.
    wait : bool
        Wait for the slide while another run works on it; else `do_task` returns None.
    device : str or None
        Where the model runs; None: as the config says.
    threads : int
        Cores that reading and encoding patches may use; everything else takes one.
    stop_file : Path
        No new stage begins while this file exists.
    """

    job: SlideJob
    settings: RunSettings
    stages: tuple[str, ...]
    force: frozenset[str] = field(default_factory=frozenset)
    keep_running: bool = False
    wait: bool = False
    device: str | None = None
    threads: int = 1
    stop_file: Path | None = None

    @property
    def memory_bytes(self) -> int:
        """Roughly how much memory the task takes."""
        case, bag = self.job.case, self.settings.config.data_arguments.bag
        jobs = case.slides if case is not None and bag == "case" and "attention" in self.stages else (self.job,)
        features = sum(_file_bytes(job.features_path or job.bag_path) for job in jobs) * 5 // 4
        encodes = not {"features", "fine_features"}.isdisjoint(self.stages)
        return BASE_BYTES + features + (encoder_bytes(self.settings.config) if encodes else 0)


def _file_bytes(path: Path | None) -> int:
    try:
        return path.stat().st_size if path is not None else 0
    except OSError:
        return 0


def do_task(task: SlideTask, on_stage: OnStage | None = None) -> SlideRun | None:
    """Do the task under the slide's lock; None if another run holds the lock and the task is not to wait.

    Never raises: errors are in the record of the run that is returned.
    """
    job = task.job
    device = task.device or task.settings.device
    settings = replace(task.settings, device=device, threads=task.threads, slide_threads=1)
    stages = [stage for stage in STAGES if stage.name in task.stages]
    try:
        job.paths.raw.mkdir(parents=True, exist_ok=True)
        with FileLock(job.paths.lock).acquire(timeout=-1 if task.wait else 0), names_flushed_once():
            return run_slide(
                job,
                settings,
                stages,
                force=task.force,
                on_stage=on_stage,
                keep_running=task.keep_running,
                should_stop=_stop_test(task.stop_file),
                experiment=None if task.stop_file is None else task.stop_file.parent,
            )
    except Timeout:
        return None
    except OSError as error:
        record = SlideRecord(job.paths.record, job.slide_id, "failed", "open", reason_of(error))
        return SlideRun(record, (), 0.0)


def _stop_test(path: Path | None) -> Callable[[], bool]:
    return (lambda: False) if path is None else (lambda: os.path.exists(path))


def use_one_thread() -> Callable[[], None]:
    """Have each numerical library use one thread in this process; return a function that restores the numbers.

    One process per core is faster than threads that wait for each other. A matrix product split over threads may also
    round differently: with one thread every executor writes the same bytes. Reading and encoding patches still use
    several cores (`SlideTask.threads`), each for a batch of its own.
    """
    import cv2

    # torch takes a second or two to import, and a run that only draws does not need it. If it is loaded later, it reads
    # the variable.
    loaded = sys.modules.get("torch")
    variable, of_cv2 = os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads()
    of_torch = machine.cores() if loaded is None else loaded.get_num_threads()

    def put_back() -> None:
        if variable is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = variable
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(of_torch)
        cv2.setNumThreads(of_cv2)

    os.environ["OMP_NUM_THREADS"] = "1"
    if loaded is not None:
        loaded.set_num_threads(1)
    cv2.setNumThreads(1)
    return put_back
