"""Ctrl-C, SIGTERM and the time limit: once, finish what has begun and leave; twice, stop at once."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)


class StopRequest:
    """Listens to SIGINT and SIGTERM while a run is on.

    The first signal makes the stop file, and every worker that sees it ends after its current stage. The second raises
    KeyboardInterrupt in the main thread.
    `reason` says why the run is to end, and is None before that.
    """

    def __init__(self, stop_file: Path, *, time_limit: float | None = None) -> None:
        self.stop_file = stop_file
        self.reason: str | None = None
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self.stop_file.unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.stop_file.unlink(missing_ok=True)

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for: no new slide or stage begins."""
        return self.reason is not None

    def no_time_for(self, seconds: float) -> bool:
        """Whether a stop was asked for, or `seconds` of work would run past the time limit, which then asks for one."""
        if self._deadline is not None and not self.asked and time.monotonic() + seconds > self._deadline:
            self.reason = "the time limit is near"
        return self.asked

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.asked:
            raise KeyboardInterrupt
        self.reason = f"{name} received"
        logger.warning("%s: finishing the stages that are begun; once more stops at once", name)
        try:
            self.stop_file.touch()
        except OSError:  # the disk is full: workers finish their slides instead of their stages
            logger.error("cannot write %s", self.stop_file)
