"""What a caller can see and save of a long score in progress: how far it is, and its partial sums."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy.typing as npt

Partial: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Arrays by name; ``done`` is the number of units of work they hold."""


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True)
class Watch:
    """Callbacks of the caller. Each may raise to stop the work.

    Attributes
    ----------
    tell : (what, done, total)
        After each unit of work: a forward, a step, or a pass.
    save : (name, partial)
        About every `every_s` seconds, and when `tell` raises: the partial result. If `load` returns it to the same
        call, the call resumes there and gives the same bits.
    load : name -> partial or None
    foresee : (costs, seconds)
        Before any score starts: the cost of each, and the time of one forward of the bag.
    every_s : float
    what : str
        The score in progress; names of partial results begin with it.
    """

    tell: Callable[[str, int, int], None] = _nothing
    save: Callable[[str, Partial], None] = _nothing
    load: Callable[[str], Partial | None] = _nothing
    foresee: Callable[[Sequence[Any], float], None] = _nothing
    every_s: float = 10.0
    what: str = ""

    def named(self, what: str) -> "Watch":
        """Return the same callbacks for a part of the work."""
        return replace(self, what=f"{self.what}/{what}" if self.what else what)

    def keep(self, total: int, partial: Callable[[], Partial]) -> "Keeper":
        """Return a counter of `total` units that saves `partial` from time to time."""
        return Keeper(self, total, partial)


class Keeper:
    """Counts units of work, reports each, and saves from time to time, at the end of long work, and when stopped."""

    def __init__(self, watch: Watch, total: int, partial: Callable[[], Partial]) -> None:
        self._watch, self._total, self._partial = watch, total, partial
        self._began = self._saved = time.monotonic()

    def done(self, count: int) -> None:
        """Report that `count` units are done; the partial result holds the units before `count`."""
        now, every_s = time.monotonic(), self._watch.every_s
        # Long work is saved when complete: a stop may come during another score of the same slide.
        if now - self._saved >= every_s or (count == self._total and now - self._began >= every_s):
            self._save()
        try:
            self._watch.tell(self._watch.what, count, self._total)
        except BaseException:  # the caller stops the work
            self._save()
            raise

    def _save(self) -> None:
        self._watch.save(self._watch.what, self._partial())
        self._saved = time.monotonic()


SILENT = Watch()
