"""What names of files may do to a terminal: nothing. Their control characters are printed as escapes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mil_heatmaps.words import printable

_OURS = "\n\r\t\x1b"
"""What progress bars and lists are made of. ESC is in no name that is worked on: `unsafe_name`."""


class _Escaped:
    """A stream that prints what steers a terminal, or is not a character, as an escape."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, and return its length."""
        shown = printable(text, _OURS)
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escaped_terminal() -> Iterator[None]:
    """Escape what is printed while the block lasts."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Escaped(sys.stdout), _Escaped(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
