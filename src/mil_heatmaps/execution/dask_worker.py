"""What a worker of a Dask cluster does with a slide, and the messages it sends about it."""

from __future__ import annotations

import os
import pickle
import socket

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.execution.slide_tasks import SlideTask, do_task, use_one_thread
from mil_heatmaps.files.atomic import writer
from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.words import said_by


class UnfitWorker(HeatmapError, RuntimeError):
    """A worker does not see the folders of the run."""


def do_on_worker(task: SlideTask, topic: str, key: str, folder: str) -> SlideRun | None:
    """Do a slide in the coordinator's `folder` with one thread; send when it begins, and its run when it is done.

    Dask keeps what is returned in the worker's memory, where the next slide may kill it; the message is safe by then.
    Raises UnfitWorker when this machine does not see the run's folders.
    """
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(topic, {"key": key, "worker": worker.address, "writer": writer()})
    if os.getcwd() != folder:
        try:
            os.chdir(folder)  # the config's relative paths start from here
        except OSError as error:
            what = error.strerror or said_by(error)
            raise UnfitWorker(f"{_host()} does not see the folder {folder}: {what}") from error
    if task.stop_file is not None and not task.stop_file.parent.is_dir():
        raise UnfitWorker(
            f"{_host()} does not see {task.stop_file.parent}: slides, features and results must be in folders that "
            "all machines share"
        )
    use_one_thread()
    run = do_task(task)
    worker.log_event(topic, {"key": key, "run": pickle.dumps(run)})
    return run


def _host() -> str:
    return f"the worker on {socket.gethostname()}"
