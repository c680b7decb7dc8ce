"""Signs of life: which runs are at work on an experiment, on this machine or another."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from mil_heatmaps.files.atomic import clock_of
from mil_heatmaps.files.heartbeat import SILENT_AFTER_S, Heartbeat, read_notes
from mil_heatmaps.machine import process_lives

_HOST = re.sub(r"[^\w.-]", "_", socket.gethostname())[:60] or "host"


def run_name() -> str:
    """Return the name of this process among all that may work on the same folder."""
    return f"{_HOST}-{os.getpid()}"


@dataclass(frozen=True)
class RunSign:
    """A run that began and has not ended, as its file says.

    Attributes
    ----------
    since : seconds since 1970
    silent_s : seconds since its last sign of life
    """

    path: Path
    host: str
    pid: int
    since: float
    shard: str | None
    silent_s: float

    @property
    def alive(self) -> bool:
        """Whether the run is at work."""
        if self.host != _HOST:
            return self.silent_s < SILENT_AFTER_S
        # The number may be another process's by now.
        return process_lives(self.pid) and self.silent_s < 4 * SILENT_AFTER_S

    def __str__(self) -> str:
        part = f", shard {self.shard}" if self.shard else ""
        return f"process {self.pid} on {self.host}{part}"


def find_runs(folder: Path, now: float | None = None) -> list[RunSign]:
    """Return the signs in an experiment's folder, oldest first; `now` is the time by the folder's own clock."""
    found = []
    for path, told, silent_s in read_notes(folder, ".running-*", now):
        with suppress(ValueError, KeyError, TypeError):
            sign = RunSign(path, told["host"], int(told["pid"]), float(told["since"]), told["shard"], silent_s)
            found.append(sign)
    return sorted(found, key=lambda sign: sign.since)


class Presence:
    """This run's sign of life, kept fresh while the block lasts.

    Attributes
    ----------
    others : runs at work on the same experiment when this one began
    after_a_kill : bool
        Whether an earlier run was killed, so that there may be incomplete files to remove.
    """

    def __init__(self, folder: Path, shard: str | None = None) -> None:
        note = {"host": _HOST, "pid": os.getpid(), "since": round(time.time(), 1), "shard": shard}
        self._sign = Heartbeat(folder / f".running-{run_name()}", note)
        now = clock_of(folder) if next(folder.glob(".running-*"), None) is not None else None
        signs = [sign for sign in find_runs(folder, now) if sign.path != self._sign.path]
        self.others = [sign for sign in signs if sign.alive]
        self._dead = [sign for sign in signs if not sign.alive]
        self.after_a_kill = bool(self._dead)

    def __enter__(self) -> Presence:
        for sign in self._dead:
            sign.path.unlink(missing_ok=True)
        self._sign.tell(durable=True)
        self._sign.keep_fresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sign.remove()
