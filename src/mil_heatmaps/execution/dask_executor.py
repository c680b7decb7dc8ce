"""Slides on a Dask cluster, as an executor for the scheduler of slides.

When a worker dies, Dask fails its slide with KilledWorker, which is counted and retried as with other executors. A
slide that only waited on that worker is handed in again without blame. Workers send a message when they begin a slide;
its time counts from then on, and a worker that takes too long is restarted.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.config.cluster_section import ClusterArguments
from mil_heatmaps.execution.dask_worker import UnfitWorker, do_on_worker
from mil_heatmaps.execution.executors import Failure, SlideExecutor
from mil_heatmaps.execution.slide_tasks import SlideTask
from mil_heatmaps.records.slide_run import SlideRun

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

logger = logging.getLogger(__name__)

COUNT_EVERY_S = 2.0
"""How often the workers of a cluster that others run are counted."""

MOST_HANDED_IN_AGAIN = 20
"""Most tries of a slide whose worker dies before the slide begins: after that, something else is wrong."""

RESTART_S = 60.0
"""How long a worker that hangs may take to end: on a busy machine more than Dask's own 30 s."""

RESULT_S = 30.0
"""How long to wait for a result whose message was lost: its worker may be gone, and Dask does the slide again."""


class Withdrawn(Exception):  # not an error: the slide is left for the next run
    """The slide was taken back before a worker began it."""


class TookTooLong(Exception):  # becomes the slide's failure
    """The slide exceeded its time limit."""


@dataclass
class _Submitted:
    """One slide handed to the cluster."""

    task: SlideTask
    result: Future[SlideRun | None] = field(default_factory=Future)
    future: DaskFuture | None = None
    worker: str | None = None
    began: float | None = None
    writer: str | None = None
    handed_in: int = 1
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self, *, value: SlideRun | None = None, error: BaseException | None = None) -> None:
        """Finish the slide's future; only the first call counts."""
        with self.lock:
            if self.over:
                return
            self.over = True
        if error is None:
            self.result.set_result(value)
        else:
            self.result.set_exception(error)

    def cancel(self) -> None:
        """Have Dask forget the slide."""
        if self.future is not None:
            self.future.cancel(force=True)


class DaskExecutor(SlideExecutor):
    """Works on a Dask cluster.

    Parameters
    ----------
    arguments : ClusterArguments
    workers : int
        Processes of ``kind: local``.
    log_dir : Path
        Where jobs write their logs.
    timeout : float or None
        Seconds a slide may take once begun.
    tell : callable
        Called with a line that says why no worker comes.
    """

    def __init__(
        self,
        arguments: ClusterArguments,
        *,
        workers: int,
        log_dir: Path,
        timeout: float | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        from mil_heatmaps.execution.dask_cluster import cores_of_worker, dashboard, open_client, processes_at_most

        self._most = processes_at_most(arguments, workers)
        self.threads = cores_of_worker(arguments, workers)
        self._timeout = timeout
        self._stack = ExitStack()
        opened = self._stack.enter_context(open_client(arguments, workers=workers, log_dir=log_dir))
        self._client: Client = opened[0]
        self._watch = opened[1]
        self._say = tell
        self._token = secrets.token_hex(3)
        self._numbers = itertools.count()
        self._at_work: dict[str, _Submitted] = {}
        self._counted = 0.0
        self._threads = 0
        self._closing = False
        self._dead_writers: set[str] = set()
        self._restarts: list[threading.Thread] = []
        self._proven = False  # whether some worker could do a slide
        self.address = str(self._client.scheduler.address) if self._client.scheduler else "?"
        self.dashboard = dashboard(self._client)
        self._client.subscribe_topic(self._topic, self._on_message)

    @property
    def _topic(self) -> str:
        return f"mil-heatmaps-{self._token}"

    @property
    def slots(self) -> int:  # type: ignore[override]
        """Slides handed in at once: the most workers there may ever be, or twice the threads of others' cluster."""
        if self._most is not None:
            return self._most
        now = time.monotonic()
        if now - self._counted > COUNT_EVERY_S and not self.lost:
            self._counted = now
            try:
                self._threads = sum(self._client.nthreads().values())
            except (OSError, RuntimeError, ValueError):
                logger.warning("the Dask scheduler at %s does not answer", self.address)
        return max(2, 2 * self._threads)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand in a slide; `fn` is not used, as workers do `do_on_worker`."""
        (task,) = args
        submitted = _Submitted(task)
        if self.lost:
            submitted.settle(error=Withdrawn())
        else:
            submitted.result.add_done_callback(lambda _: self._forget(submitted))
            self._hand_in(submitted)
        return submitted.result

    def _hand_in(self, submitted: _Submitted) -> None:
        key = f"slide-{self._token}{next(self._numbers):08x}"
        self._at_work[key] = submitted  # first, as the message that it begins may arrive before `submit` returns
        submitted.future = self._client.submit(
            do_on_worker, submitted.task, self._topic, key, os.getcwd(), key=key, pure=False
        )
        submitted.future.add_done_callback(lambda done: self._on_done(key, done))

    def _forget(self, submitted: _Submitted) -> None:
        for key in [key for key, other in self._at_work.items() if other is submitted]:
            self._at_work.pop(key, None)

    # -- what the cluster tells; called in Dask's threads --------------------------------------------------------

    def _on_message(self, event: tuple[float, dict[str, Any]]) -> None:
        _, told = event
        submitted = self._at_work.get(told["key"])
        if submitted is None:
            return
        if "run" in told:
            self._proven = True
            submitted.settle(value=pickle.loads(told["run"]))
        else:
            submitted.worker, submitted.began, submitted.writer = told["worker"], time.monotonic(), told.get("writer")

    def _on_done(self, key: str, future: DaskFuture) -> None:
        submitted = self._at_work.get(key)
        if submitted is None or submitted.over:
            return
        if future.status == "finished":
            try:  # its message came before, unless it was lost on the way
                submitted.settle(value=future.result(timeout=RESULT_S))
            except Exception as lost:
                self._again(key, submitted, f"its result was lost ({type(lost).__name__})")
            return
        if future.status in ("cancelled", "lost"):
            if not self._closing and self.lost is None:
                self.lost = f"lost the Dask scheduler at {self.address}"
                logger.error("%s; slides that were being worked on are taken up by the next run", self.lost)
            submitted.settle(error=Withdrawn())
            return
        error = future.exception(timeout=60)
        if isinstance(error, UnfitWorker) and not self._proven:
            self.lost = str(error)
            submitted.settle(error=Withdrawn())
            return
        blameless = isinstance(error, UnfitWorker) or (self._is_death(error) and submitted.began is None)
        if blameless and submitted.handed_in < MOST_HANDED_IN_AGAIN:
            if isinstance(error, UnfitWorker) and submitted.worker is not None:
                self._client.retire_workers([submitted.worker])
                self._again(key, submitted, str(error))
            else:
                self._again(key, submitted, "was waiting on a worker that died")
            return
        if self._is_death(error):
            self._note_dead(submitted)
        submitted.settle(error=error or RuntimeError(f"Dask future {future.status}"))

    def _note_dead(self, submitted: _Submitted) -> None:
        if submitted.writer is not None:
            self._dead_writers.add(submitted.writer)

    def _again(self, key: str, submitted: _Submitted, why: str) -> None:
        """Hand in again a slide that is not to blame."""
        if self._closing or self.lost:
            submitted.settle(error=Withdrawn())
            return
        logger.warning("%s: handed in again: %s", submitted.task.job.slide_id, why)
        self._at_work.pop(key, None)
        submitted.handed_in += 1
        submitted.worker = submitted.began = None
        self._hand_in(submitted)

    # -- what the scheduler of slides asks -----------------------------------------------------------------------

    def look_after(self) -> None:
        """Look after the jobs; give up slides that take too long, and restart their workers."""
        if self._watch is not None and self.lost is None:
            self.lost = self._watch.look(self._client.cluster, self._say)
        if self._timeout is None:
            return
        now = time.monotonic()
        for submitted in list(self._at_work.values()):
            if submitted.began is not None and now - submitted.began > self._timeout and not submitted.over:
                worker = submitted.worker
                self._note_dead(submitted)
                submitted.settle(error=TookTooLong())
                submitted.cancel()
                restart = threading.Thread(target=self._restart, args=(str(worker),), daemon=True)
                restart.start()
                self._restarts.append(restart)

    def _restart(self, worker: str) -> None:
        """Have the worker's nanny end it and start another; without a nanny it keeps hanging."""
        try:
            told = self._client.restart_workers([worker], timeout=RESTART_S, raise_for_error=False)
            outcome = told.get(worker, "it is gone") if isinstance(told, dict) else str(told)
            logger.warning("the worker at %s hung: %s", worker, "restarted" if outcome == "OK" else outcome)
        except Exception as error:
            logger.warning("the worker at %s hangs and cannot be restarted (%s): it needs a nanny", worker, error)

    def withdraw(self) -> None:
        """Take back slides that no worker has begun."""
        for submitted in list(self._at_work.values()):
            if submitted.began is None and not submitted.over:
                submitted.settle(error=Withdrawn())
                submitted.cancel()

    @staticmethod
    def _is_death(error: BaseException | None) -> bool:
        from distributed.scheduler import KilledWorker

        return isinstance(error, KilledWorker)

    def failure_of(self, error: BaseException) -> Failure | None:
        """Return whether the worker died, the slide took too long, or the slide was taken back."""
        if isinstance(error, Withdrawn):
            return "withdrawn"
        if isinstance(error, TookTooLong):
            return "hung"
        return "died" if self._is_death(error) else None

    def deaths(self, error: BaseException) -> int:
        """Return how many workers died before Dask said so: others' cluster may retry a task several times itself."""
        allowed = getattr(error, "allowed_failures", 0)
        return 1 + allowed if isinstance(allowed, int) else 1

    def describe_death(self, error: BaseException) -> str:
        """Name the worker."""
        worker = getattr(error, "last_worker", None)
        return f"worker {getattr(worker, 'address', '?')}; out of memory, killed or gone"

    def dead_writers(self) -> frozenset[str]:
        """Return the writers of workers that died or hung, as they named themselves when they began the slide."""
        return frozenset(self._dead_writers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster. It ends if it was started for this run; the workers of others are left fit for work."""
        self._closing = True
        for restart in self._restarts:
            restart.join(2 * RESTART_S)
        self._stack.close()

    def kill(self) -> None:
        """Take everything back and leave."""
        self._closing = True
        for submitted in list(self._at_work.values()):
            submitted.settle(error=Withdrawn())
            submitted.cancel()
        self._stack.close()
