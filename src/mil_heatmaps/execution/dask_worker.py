"""What a worker of a Dask cluster does with a slide, and the words it sends about it."""

from __future__ import annotations

import os
import pickle
import socket

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.execution.slide_tasks import SlideTask, do_task, use_one_thread
from mil_heatmaps.files.atomic import writer


class UnfitWorker(HeatmapError, RuntimeError):
    """A worker does not see the folders of the run."""


def do_on_worker(task: SlideTask, topic: str, key: str, folder: str) -> None:
    """Do a slide on a worker: tell that it begins, stand where the coordinator stands, use one thread.

    What became of it is told as well, not returned: results stay in the memory of workers and are gone when the
    next slide kills the worker.
    """
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(topic, {"key": key, "worker": worker.address, "writer": writer()})
    if os.getcwd() != folder:
        try:
            os.chdir(folder)  # the config's relative paths start from here
        except OSError as error:
            raise UnfitWorker(f"{_host()} does not see the folder {folder}: {error.strerror}") from error
    if task.stop_file is not None and not task.stop_file.parent.is_dir():
        raise UnfitWorker(
            f"{_host()} does not see {task.stop_file.parent}: slides, features and results must be in folders that "
            "all machines share"
        )
    use_one_thread()
    worker.log_event(topic, {"key": key, "run": pickle.dumps(do_task(task))})


def _host() -> str:
    return f"the worker on {socket.gethostname()}"
