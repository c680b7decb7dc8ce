"""What a reader must know about a slide's results, from the place where it is seen to every place where it is shown.

A notice is made where its fact is known and is kept in the slide's record. The run's summary, the tables, the figure's
foot, the score file, the viewer and the exports show it. docs/notices.md lists the codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

UNCLASSIFIED = "note"
"""Code of a notice that an earlier version recorded as plain text."""


@dataclass(frozen=True)
class Notice:
    """One thing to know about a slide.

    Attributes
    ----------
    code : str
        Names the kind of notice, for programs: ``uncoloured``, ``unreadable``, ``frame``, ...
    words : str
        The notice in one line, for people.
    counts : (name, whole number) pairs
        What the words count, such as ``(("uncoloured", 2), ("patches", 6))``.
    """

    code: str
    words: str
    counts: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, code: str, words: str, **counts: int) -> Notice:
        """Return a notice whose counts are given by name."""
        return cls(code, words, tuple(counts.items()))

    @classmethod
    def read(cls, data: Any) -> Notice:
        """Return the notice that `plain` wrote; a plain text, as earlier versions kept it, will do. TypeError else."""
        if isinstance(data, str):
            return cls(UNCLASSIFIED, data)
        counts = tuple((str(name), int(count)) for name, count in data.get("counts", {}).items())
        return cls(str(data["code"]), str(data["words"]), counts)

    def plain(self) -> dict[str, Any]:
        """Return the notice as JSON values."""
        counts = {"counts": dict(self.counts)} if self.counts else {}
        return {"code": self.code, "words": self.words, **counts}

    def __str__(self) -> str:
        return self.words


def distinct(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """Return each notice once, in the order in which they first come."""
    return tuple(dict.fromkeys(notices))


def total(notices: Iterable[Notice], name: str) -> int:
    """Return the sum of one count over the notices; 0 where none counts it."""
    return sum(count for notice in distinct(notices) for key, count in notice.counts if key == name)


def joined(notices: Iterable[Notice]) -> str:
    """Return the words of the notices as one cell of a table."""
    return "; ".join(notice.words for notice in distinct(notices))


def read_all(data: Any) -> tuple[Notice, ...]:
    """Return the notices of a list of JSON values. KeyError, TypeError or AttributeError when it is no such list."""
    return tuple(Notice.read(one) for one in data)


def plain_all(notices: Iterable[Notice]) -> list[Mapping[str, Any]]:
    """Return notices as a list of JSON values."""
    return [notice.plain() for notice in notices]
