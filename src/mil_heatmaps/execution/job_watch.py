"""Follow the batch jobs that start the workers.

Dask would wait forever for a job that was refused, that waits in the queue, that ended before its worker came, or that
ended and had several workers: it does not notice any of these.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mil_heatmaps.words import one_line, said_by

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
TELL_AFTER_S = 30.0
"""How long there may be no worker at all before the user is told why."""

TELL_AGAIN_S = 600.0
SUBMIT_AGAIN_S = 60.0
"""When a refused job is tried again: other jobs may have ended by then."""

ENDED_AT_LEAST = 3
"""When this many jobs, or as many as run at once, have ended before a worker came, none ever will."""

GONE_AFTER_S = 20.0
"""A job whose workers are all gone for this long has ended, where the batch system is not asked."""

FIRST_S = 60.0
QUERY_S = 10.0
LISTED_BY = {"slurm": "squeue", "pbs": "qstat", "lsf": "bjobs", "sge": "qstat"}
_LOGS = {
    "slurm": ("*-{}.err", "*-{}.out"),
    "lsf": ("*-{}.err", "*-{}.out"),
    "pbs": ("*.e{}", "{}.*ER", "*.o{}", "{}.*OU"),
    "sge": ("*.e{}", "*.o{}"),
}
"""Names of a job's logs by its number: dask_jobqueue's, else the batch system's; errors first."""


def run_command(command: list[str]) -> str | None:
    """Return what a command prints; None when it fails or takes longer than `QUERY_S`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@dataclass
class Job:
    """One job that was submitted.

    Attributes
    ----------
    number : the batch system's number of the job; None when it refused the job
    since : when the job was submitted, or when one of its workers was last seen
    arrived : whether one of its workers ever came
    here : whether one of its workers was there at the last look
    """

    number: str | None
    since: float
    arrived: bool = False
    here: bool = False

    def is_over(self, states: dict[str, str] | None, now: float) -> bool:
        """Whether the job has ended, as far as the listed `states` tell, or was refused and must be tried again."""
        without = now - self.since
        if self.number is None:
            return without > SUBMIT_AGAIN_S
        if self.here:
            return False
        if states is None:
            return self.arrived and without > GONE_AFTER_S
        return self.number not in states and without > LOOK_EVERY_S


class JobWatch:
    """Follows the jobs of one cluster.

    Attributes
    ----------
    jobs : the jobs to watch, by Dask's name of each
    early_ends : how many jobs ended before a worker came, since the last one that brought a worker
    refusal : what the batch system said when it last refused a job; None when it took the last one
    """

    def __init__(
        self,
        kind: str,
        log_dir: Path,
        most_jobs: int,
        *,
        run_command: Callable[[list[str]], str | None] = run_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind, self._log_dir = kind, log_dir
        self._most_ended = max(ENDED_AT_LEAST, most_jobs)
        self._run_command, self._clock = run_command, clock
        self.jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._heard = threading.Event()
        self.early_ends = 0
        self._last_end = ""
        self._looked = self._told_at = self._no_worker_since = clock()
        self._told = ""
        self.refusal: str | None = None

    # -- what the jobs tell; called in Dask's thread -------------------------------------------------------------

    def class_of(self, job_class: type[Any]) -> type[Any]:
        """Return dask_jobqueue's job class, changed to report to this watch whether the job was accepted."""
        watch = self

        class WatchedJob(job_class):  # type: ignore[misc]
            """Shows Dask a refused job as a waiting one; otherwise the error would only be a traceback."""

            async def start(self) -> None:
                from distributed.core import Status

                try:
                    await super().start()
                except (OSError, RuntimeError, ValueError) as error:
                    self.status = Status.running
                    watch.refused(str(self.name), error)
                else:
                    watch.accepted(str(self.name), str(self.job_id))

            async def close(self) -> None:
                watch.taken_back(str(self.name), self.job_id)
                await super().close()

        return WatchedJob

    def accepted(self, name: str, number: str) -> None:
        """Note that the batch system took a job."""
        with self._lock:
            self.jobs[name] = Job(number, self._clock())
            self.refusal = None
        self._heard.set()

    def refused(self, name: str, error: BaseException) -> None:
        """Note that the batch system refused a job."""
        with self._lock:
            self.jobs[name] = Job(None, self._clock())
            self.refusal = what_it_said(error)
        logger.warning("a job was refused: %s", self.refusal)
        self._heard.set()

    def taken_back(self, name: str, number: str | None) -> None:
        """Note that Dask itself ends a job. Another job may have its name by now."""
        with self._lock:
            if name in self.jobs and self.jobs[name].number == number:
                del self.jobs[name]

    # -- what the run asks ---------------------------------------------------------------------------------------

    def check_first(self) -> None:
        """Wait until the first job is submitted. RuntimeError with the batch system's own words when it is refused."""
        self._heard.wait(FIRST_S)
        if self.refusal is not None:
            raise RuntimeError(self.refusal)

    def look(self, cluster: Any, tell: Callable[[str], None]) -> str | None:
        """Replace jobs that ended, and report why no worker comes; looks at most every `LOOK_EVERY_S`.

        Returns
        -------
        str or None
            Why no worker will ever come.
        """
        now = self._clock()
        if now - self._looked < LOOK_EVERY_S:
            return None
        self._looked = now
        here = set(map(str, cluster.observed))
        self._note_arrived(here, now)
        states = self._states()
        gone = self._take_ended(states, now)
        if gone:
            cluster.sync(cluster.scale_down, gone)  # removed from Dask's plan; Dask then submits as many new ones
        if here:
            self._no_worker_since = now
            return None
        if self.early_ends >= self._most_ended:
            return f"{self.early_ends} jobs ended before a worker came, the last {self._last_end}"
        self._tell_why(states, now, tell)
        return None

    def _note_arrived(self, here: set[str], now: float) -> None:
        """Note which jobs have a worker in `here`: of the job's name, with ``-0`` and so on when it has several."""
        jobs_here = {worker.rpartition("-")[0] for worker in here}
        with self._lock:
            for name, job in list(self.jobs.items()):
                job.here = name in here or name in jobs_here
                if not job.here:
                    continue
                if not job.arrived:
                    self.early_ends = 0
                job.arrived, job.since = True, now
                if name in here:
                    del self.jobs[name]  # its only worker: Dask replaces the job when it goes

    def _take_ended(self, states: dict[str, str] | None, now: float) -> list[str]:
        """Remove and return the jobs that ended, and the refused ones that must be tried again."""
        with self._lock:
            gone = {name: job for name, job in self.jobs.items() if job.is_over(states, now)}
            for name, job in gone.items():
                del self.jobs[name]
                if job.arrived:
                    logger.warning("job %s ended; another takes its place while there is work", job.number)
                elif job.number is not None:
                    self.early_ends += 1
                    self._last_end = f"{job.number}{last_words(self._kind, self._log_dir, job.number)}"
                    logger.warning("a job ended before its worker came: %s", self._last_end)
        return list(gone)

    def _tell_why(self, states: dict[str, str] | None, now: float, tell: Callable[[str], None]) -> None:
        if now - self._no_worker_since < TELL_AFTER_S:
            return
        why = self._why(states)
        if why and (why != self._told or now - self._told_at > TELL_AGAIN_S):
            self._told, self._told_at = why, now
            logger.warning("no worker yet: %s", why)
            tell(f"no worker yet: {why}")

    def _why(self, states: dict[str, str] | None) -> str:
        with self._lock:
            numbers = [job.number for job in self.jobs.values() if job.number is not None]
            refused = len(self.jobs) - len(numbers)
        parts = []
        if numbers and states is None:
            parts.append(f"waiting for job {', '.join(numbers)}; see {LISTED_BY[self._kind]}, logs in {self._log_dir}")
        elif states is not None:
            parts += [f"job {number} is {states[number]}" for number in numbers if number in states]
        if refused and self.refusal:
            parts.append(f"{self.refusal}; it is tried again every {SUBMIT_AGAIN_S:g} s")
        if self._last_end:
            parts.append(f"a job ended before its worker came: {self._last_end}")
        return "; ".join(parts)

    def _states(self) -> dict[str, str] | None:
        """Return the state of each job of this user that waits or runs, by its number; None where it is not known."""
        with self._lock:
            waited_for = any(job.number is not None and not job.here for job in self.jobs.values())
        if self._kind != "slurm" or not waited_for:
            return None
        listed = self._run_command(["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%i|%T|%r"])
        if listed is None:
            return None
        states = {}
        for line in listed.split("\n"):
            number, _, state = line.strip().partition("|")
            what, _, why = state.partition("|")
            states[number] = what.lower() + (f" ({why})" if why not in ("", "None") else "")
        return states


def last_words(kind: str, log_dir: Path, number: str) -> str:
    """Return in brackets the last line that a job wrote to its logs, and in which file."""
    named = (pattern.format(number) for pattern in _LOGS[kind])
    for path in (path for name in named for path in sorted(log_dir.glob(name))):
        try:
            lines = path.read_text(errors="replace").split("\n")
        except OSError:
            continue
        if said := [line.strip() for line in lines if line.strip()]:
            return f" ({path}: {said[-1][:200]})"
    return f" (it wrote nothing; logs are in {log_dir})"


def what_it_said(error: BaseException) -> str:
    """Return the batch system's own words out of dask_jobqueue's report of a command that failed."""
    text = str(error)
    command = text.partition("Command:\n")[2].partition("\n")[0].split()
    said = one_line(text.partition("stderr:\n")[2]) or one_line(text.partition("stdout:\n")[2])
    if command and said:
        return f"{command[0]} refused the job: {said}"
    return said_by(error, 2000)
