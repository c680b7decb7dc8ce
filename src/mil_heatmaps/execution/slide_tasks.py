"""One slide's work as a value that can be sent to another process, and the function that does it there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages.all_stages import STAGES
from mil_heatmaps.stages.base import RunSettings, SlideJob
from mil_heatmaps.stages.run_encoder import encoder_bytes
from mil_heatmaps.stages.run_slide import OnStage, SlideRun, run_slide
from mil_heatmaps.words import reason_of

BASE_BYTES = 500 << 20
"""Memory of a process at work on a slide, besides its features: libraries, one band of the picture, decoded levels."""


@dataclass(frozen=True)
class SlideTask:
    """Stages of one slide, to be done in one go.

    Attributes
    ----------
    stages, force : names of stages
    keep_running : bool
        More of the slide follows later: leave its status at ``running``.
    wait : bool
        Wait for a slide another run is at; else come back empty-handed.
    device : str or None
        Where the model runs, when not as the config says.
    threads : int
        Cores that reading patches and encoding them may use; everything else takes one.
    stop_file : Path
        While it exists no new stage is begun.
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
        """About how much memory it takes."""
        path = self.job.features_path
        try:
            features = path.stat().st_size * 5 // 4 if path is not None else 0
        except OSError:
            features = 0
        encodes = not {"features", "fine_features"}.isdisjoint(self.stages)
        return BASE_BYTES + features + (encoder_bytes(self.settings.config) if encodes else 0)


def do_task(task: SlideTask, on_stage: OnStage | None = None) -> SlideRun | None:
    """Do it under the slide's lock; None when another run holds that and the task is not to wait. Never raises."""
    job = task.job
    settings = replace(task.settings, device=task.device or task.settings.device, threads=task.threads)
    stages = [stage for stage in STAGES if stage.name in task.stages]
    try:
        job.paths.raw.mkdir(parents=True, exist_ok=True)
        with FileLock(job.paths.lock).acquire(timeout=-1 if task.wait else 0):
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
    """Keep this process to one thread a library; return a function that puts the numbers back.

    A process a core is faster than threads that wait for each other, and a matrix product split over threads may round
    differently: with one thread every executor gives the same bytes. Reading and encoding patches use several cores
    all the same (`SlideTask.threads`), each for a batch of its own.
    """
    import cv2
    import torch

    before = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), cv2.getNumThreads()

    def put_back() -> None:
        if before[0] is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before[0]
        torch.set_num_threads(before[1])
        cv2.setNumThreads(before[2])

    os.environ["OMP_NUM_THREADS"] = "1"  # read by the slide reader for its own threads
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return put_back
