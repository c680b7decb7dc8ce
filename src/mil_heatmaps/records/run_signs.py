"""Signs of life: which runs are at work on an experiment, on this machine or another."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from mil_heatmaps.files.atomic import write_json

BEAT_S = 15.0
SILENT_AFTER_S = 120.0
"""A run on another machine that gave no sign for this long is taken for dead; clocks may differ by a part of it."""

_HOST = re.sub(r"[^\w.-]", "_", socket.gethostname())[:60] or "host"


def run_name() -> str:
    """What tells this process from all others that may work on the same folder."""
    return f"{_HOST}-{os.getpid()}"


@dataclass(frozen=True)
class RunSign:
    """One run that began and did not end, as its file says."""

    path: Path
    host: str
    pid: int
    since: float
    shard: str | None
    last_sign: float

    @property
    def alive(self) -> bool:
        """Whether it is at work."""
        if self.host != _HOST:
            return time.time() - self.last_sign < SILENT_AFTER_S
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return time.time() - self.last_sign < 4 * SILENT_AFTER_S  # the number may be another process's by now

    def __str__(self) -> str:
        part = f", shard {self.shard}" if self.shard else ""
        return f"process {self.pid} on {self.host}{part}"


def find_runs(folder: Path) -> list[RunSign]:
    """Return the signs in an experiment's folder, oldest first."""
    found = []
    for path in folder.glob(".running-*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text(encoding="utf-8"))
            sign = RunSign(path, told["host"], int(told["pid"]), float(told["since"]), told["shard"],
                           path.stat().st_mtime)  # fmt: skip
            found.append(sign)
    return sorted(found, key=lambda sign: sign.since)


class Presence:
    """This run's sign, kept fresh while the block lasts.

    Attributes
    ----------
    others : runs at work on the same experiment when this one began
    after_a_kill : bool
        Whether an earlier run was killed, so that there may be halves of files to clear away.
    """

    def __init__(self, folder: Path, shard: str | None = None) -> None:
        self._path = folder / f".running-{run_name()}"
        self._shard = shard
        self._end = threading.Event()
        signs = [sign for sign in find_runs(folder) if sign.path != self._path]
        self.others = [sign for sign in signs if sign.alive]
        self._dead = [sign for sign in signs if not sign.alive]
        self.after_a_kill = bool(self._dead)

    def __enter__(self) -> Presence:
        for sign in self._dead:
            sign.path.unlink(missing_ok=True)
        write_json(
            self._path, {"host": _HOST, "pid": os.getpid(), "since": round(time.time(), 1), "shard": self._shard}
        )
        threading.Thread(target=self._beat, daemon=True, name="sign-of-life").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._end.wait(BEAT_S):
            with suppress(OSError):
                os.utime(self._path)
