"""A part of a cohort for one of several runs: by slide_id, the same on every machine and in any order of the list."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"^\s*(\d{1,9})\s*/\s*(\d{1,9})\s*$")


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1.

    >>> parts = [Shard(number, 3) for number in (1, 2, 3)]
    >>> [sum(part.has(slide) for part in parts) for slide in ("S1", "S2", "S3")]
    [1, 1, 1]
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"there is no part {self.number} of {self.count}; parts are counted 1 to {self.count}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard of ``3/16``. ValueError when it is not one."""
        match = _WRITTEN.match(text)
        if match is None:
            raise ValueError(f"must be a part of a whole such as 3/16, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def has(self, slide_id: str) -> bool:
        """Whether the slide belongs to this part: by SHA-256, so that other slides in the list do not move it."""
        digest = hashlib.sha256(slide_id.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
