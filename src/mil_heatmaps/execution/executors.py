"""Where slides are worked on: in this process, in processes of this machine, or on a Dask cluster.

All are `concurrent.futures` executors. A worker that dies or hangs takes its own slide's future with it and nothing
else; `failure_of` says which of the two it was.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, Literal, TypeVar

from mil_heatmaps.errors import WorkerError
from mil_heatmaps.execution.batch_job import cgroup_folders, job_bytes, job_cores
from mil_heatmaps.execution.worker_server import fresh_processes
from mil_heatmaps.stages.run_slide import OnStage

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Failure = Literal["died", "hung", "withdrawn"]


class SlideExecutor(Executor):
    """An executor that knows how many slides it can take and what became of a worker."""

    slots: int = 1
    ahead: int = 0
    """Slides it takes beyond those it works on, so that no worker waits while the coordinator writes its lists."""
    threads: int = 1
    """Cores that reading and encoding patches may use for a slide."""
    at_once: bool = False
    """Whether `submit` returns only when the work is done."""
    lost: str | None = None
    """Why no slide can be done any more, such as a cluster that is gone."""

    def dead_writers(self) -> frozenset[str]:
        """Return the `files.writer` of each process elsewhere that died or hung; those here are seen to be gone."""
        return frozenset()

    def failure_of(self, error: BaseException) -> Failure | None:
        """Say what `error` means: the worker died, was stopped for taking too long, or the slide was taken back.

        None for anything else.
        """
        return None

    def deaths(self, error: BaseException) -> int:
        """How many workers died, when `failure_of` says so."""
        return 1

    def look_after(self) -> None:
        """Called a few times a second while slides are worked on."""

    def withdraw(self) -> None:
        """Take back slides that were handed in but not begun; called when a stop is asked for."""

    def describe_death(self, error: BaseException) -> str:
        """Say how a worker died."""
        return str(error)

    def kill(self) -> None:
        """Stop at once; what was being worked on is lost."""


class SerialExecutor(SlideExecutor):
    """Works in this process, one slide after the other; tells the stages as they begin."""

    at_once = True

    def __init__(self, on_stage: OnStage | None = None) -> None:
        self.threads = cores()
        self._on_stage = on_stage

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Do it now and return a future that is done."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs, on_stage=self._on_stage))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalPool(SlideExecutor):
    """Processes of this machine; each may be killed without harm to the others."""

    ahead = 1

    def __init__(
        self, workers: int, *, threads: int = 1, timeout: float | None = None, tasks_per_worker: int = 0
    ) -> None:
        from pebble import ProcessPool

        self.slots = workers
        self.threads = threads
        self._timeout = timeout
        self._pool = ProcessPool(
            max_workers=workers, max_tasks=tasks_per_worker, initializer=_start_worker, context=fresh_processes()
        )

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Have a worker do it; killed when it takes longer than the timeout."""
        future: Future[Result] = self._pool.schedule(fn, args=args, kwargs=kwargs, timeout=self._timeout)
        return future

    def ask(self, fn: Callable[..., Result], /, *args: Any) -> Result:
        """Have a worker do something that is no slide, for as long as it takes; return what comes of it.

        Raises what `fn` raises, and WorkerError when the worker died of it.
        """
        future: Future[Result] = self._pool.schedule(fn, args=args)
        try:
            return future.result()
        except Exception as error:
            if self.failure_of(error) != "died" and not isinstance(error, BrokenExecutor):
                raise
            how = self.describe_death(error)
            raise WorkerError(f"the process that checks model and encoder before any work died ({how})") from error

    def failure_of(self, error: BaseException) -> Failure | None:
        """A process that is gone died; one that pebble stopped hung."""
        from pebble import ProcessExpired

        if isinstance(error, ProcessExpired):
            return "died"
        return "hung" if isinstance(error, FutureTimeout | TimeoutError) else None

    def describe_death(self, error: BaseException) -> str:
        """Name the exit code; a SIGKILL is mostly the kernel's answer to a lack of memory."""
        code = getattr(error, "exitcode", None)
        if code == -9:
            return "killed by signal 9, as when memory runs out"
        return f"signal {-code}" if isinstance(code, int) and code < 0 else f"exit code {code}"

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers finish and go."""
        self._pool.close()
        if wait:
            self._pool.join()

    def kill(self) -> None:
        """Kill the workers."""
        self._pool.stop()
        self._pool.join()


def _start_worker() -> None:
    import signal

    from mil_heatmaps.execution.slide_tasks import use_one_thread

    # Ctrl-C goes to the whole terminal; the coordinator alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is wrong with a slide comes back in its record; printed from here it would cross the progress bar.
    logging.getLogger("mil_heatmaps").addHandler(logging.NullHandler())
    use_one_thread()


def cores() -> int:
    """How many cores this process may use; on a cluster that is less than the machine has."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [job_cores(), *map(_cgroup_cores, cgroup_folders())]
    return max(1, min([count, *(limit for limit in limits if limit is not None)]))


def cores_each(processes: int) -> int:
    """How many cores each of so many processes may count on."""
    return max(1, cores() // max(1, processes))


def _cgroup_cores(folder: Path) -> int | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def available_bytes() -> int:
    """Memory this process may use: what is free, or less when its container or batch job has less."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    free = int(line.split()[1]) * 1024
    except (OSError, ValueError, AttributeError):
        return 8 << 30
    limits = [job_bytes(), *map(_cgroup_bytes, cgroup_folders())]
    return max(0, min([free, *(limit for limit in limits if limit is not None)]))


def _cgroup_bytes(folder: Path) -> int | None:
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        return None if limit == "max" else int(limit) - used + _cgroup_cache_bytes(folder)
    except (OSError, ValueError):
        return None


def _cgroup_cache_bytes(folder: Path) -> int:
    """Pages of files read a while ago: they count as used, and go when somebody needs the room."""
    try:
        parts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(parts["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0
