"""What a reader must know about a slide's results, carried from where it is found to every place that shows it.

A notice is created where its fact is known, and stored in the slide's record. The run's summary, the tables, the
figure's foot, the score file, the viewer and the exports show it. docs/reference/notices.md lists the codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self

UNCLASSIFIED = "note"
"""Code of a notice that an earlier version recorded as plain text."""


class Notice(str):
    """One fact about a slide: a sentence without full stop, with a code for its kind.

    Attributes
    ----------
    code : str
        Names the kind of notice, for programs: ``uncoloured``, ``unreadable``, ``frame``, ...
    counts : name -> whole number
        Numbers in the words: ``{"uncoloured": 2, "patches": 6}``.
    """

    __slots__ = ("code", "counts")
    code: str
    counts: Mapping[str, int]

    def __new__(cls, code: str, words: str, **counts: int) -> Self:
        notice = super().__new__(cls, words)
        notice.code, notice.counts = code, MappingProxyType(counts)
        return notice

    def __reduce__(self) -> tuple[Any, ...]:
        return _notice, (self.code, str(self), dict(self.counts))

    @property
    def words(self) -> str:
        """The notice for readers."""
        return str(self)

    def of(self, what: str) -> Notice:
        """Return the notice for a part of the slide that `what` names, such as one of its bags."""
        return type(self)(self.code, f"{what}: {self}", **self.counts)

    @classmethod
    def read(cls, data: Any) -> Notice:
        """Return the notice that `plain` wrote; also reads plain text, which earlier versions stored."""
        if isinstance(data, Notice):
            return data
        if isinstance(data, str):
            return cls(UNCLASSIFIED, data)
        counts = {str(name): int(count) for name, count in data.get("counts", {}).items()}
        return cls(str(data["code"]), str(data["words"]), **counts)

    def plain(self) -> dict[str, Any]:
        """Return the notice as JSON values."""
        counts = {"counts": dict(sorted(self.counts.items()))} if self.counts else {}  # as in a record
        return {"code": self.code, "words": str(self), **counts}


def _notice(code: str, words: str, counts: dict[str, int]) -> Notice:
    return Notice(code, words, **counts)


def distinct(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """Return each notice once, in order of first appearance."""
    return tuple(dict.fromkeys(notices))


def total(notices: Iterable[Notice], name: str) -> int:
    """Return the sum of one count over the notices; 0 where no notice has it."""
    return sum(notice.counts.get(name, 0) for notice in distinct(notices))


def joined(notices: Iterable[Notice]) -> str:
    """Return the words of the notices as one cell of a table."""
    return "; ".join(distinct(notices))
