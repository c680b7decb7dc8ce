"""Whether a file is still the one that was read."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

TRUSTED_S = 1.0
_MOST = 4096

_known: dict[str, tuple[float, str]] = {}


def stamp_of(path: str | os.PathLike[str]) -> str:
    """Return a value that changes when a file is rewritten, empty without a file; checks the disk once a second."""
    key, now = os.fspath(path), time.monotonic()
    held = _known.get(key)
    if held is not None and now - held[0] < TRUSTED_S:
        return held[1]
    stamp = fresh_stamp(path)
    if len(_known) > _MOST:
        _known.clear()
    _known[key] = now, stamp
    return stamp


def fresh_stamp(path: str | os.PathLike[str]) -> str:
    """Return the stamp of the file on disk now."""
    try:
        about = os.stat(path)
    except OSError:
        return ""
    return f"{about.st_mtime_ns:x}-{about.st_size:x}-{about.st_ino:x}"


def stamp_of_all(paths: Iterable[Path]) -> str:
    """Return one stamp for several files."""
    return ".".join(stamp_of(path) for path in paths)
