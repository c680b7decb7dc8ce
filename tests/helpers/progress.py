"""Progress of a run for tests: one that keeps what is said, and one that is a clock."""

import time
from typing import Any

from mil_heatmaps.progress.bars import Progress


class Saying(Progress):
    """Keeps the lines that a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Leaping(Progress):
    """A clock that leaps on at every look once the slides that do not hang are done, however long those take."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self._ahead_s = 0.0

    def finished(self, slide_id: str, run: Any) -> None:
        self.done.add(slide_id)

    def monotonic(self) -> float:
        self._ahead_s += 300.0 * (self.done >= {"s1", "s3"})
        return time.monotonic() + self._ahead_s
