"""Where slides are processed: in this process, in processes of this machine, or on a Dask cluster.

All are `concurrent.futures` executors. When a worker dies or hangs, only the future of its slide fails, and
`failure_of` says which of the two happened.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import cached_property
from typing import Any, Literal, TypeVar

from mil_heatmaps import machine
from mil_heatmaps.errors import WorkerError
from mil_heatmaps.execution.worker_server import fresh_processes
from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.stages.run_slide import OnStage
from mil_heatmaps.words import said_by

Result = TypeVar("Result")
Failure = Literal["died", "hung", "withdrawn"]

GPU_LOST = 70
"""Exit code of a worker that lost its GPU."""


class SlideExecutor(Executor):
    """An executor that says how many slides it takes and why a worker's future failed."""

    slots: int = 1
    """Slides that are processed at once."""
    ahead: int = 0
    """Slides it takes beyond `slots`, so that no worker waits while the coordinator writes its lists."""
    threads: int = 1
    """Cores that reading and encoding patches may use for a slide."""
    runs_inline: bool = False
    """True if `submit` blocks until the task is finished."""
    lost: str | None = None
    """Why no slide can be processed any more, such as a cluster that is gone."""

    def dead_writers(self) -> frozenset[str]:
        """Return the writers of dead or hung remote processes. Local ones need no entry: their pids are checked."""
        return frozenset()

    def failure_of(self, error: BaseException) -> Failure | None:
        """Return whether the worker died, hung and was stopped, or its slide was taken back; None for other errors."""
        return None

    def deaths(self, error: BaseException) -> int:
        """Return how many workers died of the slide, where `failure_of` says "died"."""
        return 1

    def recorded(self, error: BaseException) -> bool:
        """Whether a worker that died put the reason in the slide's record before."""
        return False

    def look_after(self) -> None:
        """Check the workers; called a few times a second while slides are processed."""

    def withdraw(self) -> None:
        """Take back slides that no worker has begun; called when a stop is asked for."""

    def describe_death(self, error: BaseException) -> str:
        """Return how a worker died."""
        return said_by(error, 2000)

    def kill(self) -> None:
        """Stop at once; slides that are being processed are lost."""


class SerialExecutor(SlideExecutor):
    """Works in this process, one slide after the other; calls `on_stage` as each stage begins."""

    runs_inline = True

    def __init__(self, on_stage: OnStage | None = None) -> None:
        self.threads = machine.cores()
        self._on_stage = on_stage

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Run `fn` now; return a finished future."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs, on_stage=self._on_stage))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalPool(SlideExecutor):
    """Worker processes of this machine, each killed when it takes longer than `timeout` seconds for a slide."""

    ahead = 1

    def __init__(self, workers: int, *, threads: int = 1, timeout: float | None = None) -> None:
        self.slots = workers
        self.threads = threads
        self._timeout = timeout

    @cached_property
    def _pool(self) -> Any:
        """The processes, which start with the first slide."""
        from pebble import ProcessPool

        return ProcessPool(max_workers=self.slots, initializer=_start_worker, context=fresh_processes())

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Have a worker run `fn`."""
        future: Future[Result] = self._pool.schedule(_work, args=(fn, *args), kwargs=kwargs, timeout=self._timeout)
        return future

    def ask(self, fn: Callable[..., Result], /, *args: Any) -> Result:
        """Return what `fn` returns in a worker, with no time limit; WorkerError when the worker died of it."""
        future: Future[Result] = self._pool.schedule(fn, args=args)
        try:
            return future.result()
        except Exception as error:
            if self.failure_of(error) != "died" and not isinstance(error, BrokenExecutor):
                raise
            how = self.describe_death(error)
            raise WorkerError(f"the process that checks model and encoder before any work died ({how})") from error

    def failure_of(self, error: BaseException) -> Failure | None:
        """Return "died" for a process that is gone, "hung" for one that pebble stopped."""
        from pebble import ProcessExpired

        if isinstance(error, ProcessExpired):
            return "died"
        return "hung" if isinstance(error, FutureTimeout | TimeoutError) else None

    def describe_death(self, error: BaseException) -> str:
        """Name the signal or the exit code. The kernel sends SIGKILL when memory runs out."""
        code = getattr(error, "exitcode", None)
        if self.recorded(error):
            return "its GPU failed"
        if code == -9:
            return "killed by signal 9, as when memory runs out"
        return f"signal {-code}" if isinstance(code, int) and code < 0 else f"exit code {code}"

    def recorded(self, error: BaseException) -> bool:
        """Whether a lost GPU was the end of the worker."""
        return getattr(error, "exitcode", None) == GPU_LOST

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers finish, then end them."""
        if "_pool" not in vars(self):  # no slide ever came
            return
        self._pool.close()
        if wait:
            self._pool.join()

    def kill(self) -> None:
        """Kill the workers."""
        if "_pool" not in vars(self):
            return
        self._pool.stop()
        self._pool.join()


def _work(fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Return what `fn` returns; end this worker after a slide that lost its GPU, as only a new process can use it."""
    result = fn(*args, **kwargs)
    if isinstance(result, SlideRun) and result.gpu_lost:
        os._exit(GPU_LOST)
    return result


def _start_worker() -> None:
    import signal

    from mil_heatmaps.execution.slide_tasks import use_one_thread

    # Ctrl-C goes to the whole terminal; the coordinator alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A slide's errors come back in its record; printed from here they would cross the progress bar.
    logging.getLogger("mil_heatmaps").addHandler(logging.NullHandler())
    use_one_thread()
