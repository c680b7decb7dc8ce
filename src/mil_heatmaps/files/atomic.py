"""Write files whole: readers see the old file or the new one, never half of one."""

import gzip
import json
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from mil_heatmaps.machine import process_lives

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_PARTIAL = re.compile(r"^\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.partial(\.[^.]*)?$")
_ABANDONED_AFTER_S = 86_400.0
_FLUSHED_ONE_BY_ONE = 200
_FOLDERS: ContextVar[dict[Path, None] | None] = ContextVar("folders to flush", default=None)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_tree(root: Path) -> None:
    """Flush a folder with everything in it; where it holds very many files, all that the system has in hand."""
    found = [(Path(folder), names) for folder, _, names in os.walk(root)]
    files = [folder / name for folder, names in found for name in names]
    if len(files) > _FLUSHED_ONE_BY_ONE and hasattr(os, "sync"):
        os.sync()
        return
    for path in files:
        _fsync(path)
    with suppress(OSError):
        for folder, _ in reversed(found):
            _fsync(folder)


def _make_folder(folder: Path, durable: bool) -> None:
    """Make a folder; if `durable`, the entries of new folders are on the disk before anything is written in them."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if durable:
        for place in reversed(made):
            with suppress(OSError):
                _fsync(place.parent)


def _flush_names(folder: Path) -> None:
    """Flush a folder's entries, now or, within `names_flushed_once`, later; some network file systems refuse it."""
    later = _FOLDERS.get()
    if later is not None:
        later[folder] = None
        return
    with suppress(OSError):
        _fsync(folder)


def flush_names_now(folder: Path) -> None:
    """Flush a folder that waits for the end of `names_flushed_once`: new files replace one that is removed now."""
    waiting = _FOLDERS.get()
    if waiting is not None and folder in waiting:
        del waiting[folder]
        with suppress(OSError):
            _fsync(folder)


@contextmanager
def names_flushed_once() -> Iterator[None]:
    """Flush each folder into which this thread moves files once, when the block ends, and not after each file.

    The bytes of every file reach the disk before its name, as ever. A crash of the machine within the block may lose
    names: for files that are looked for before anything relies on them.
    """
    before = _FOLDERS.set({})
    try:
        yield
    finally:
        folders = _FOLDERS.get() or {}
        _FOLDERS.reset(before)
        for folder in folders:
            _flush_names(folder)


def writer() -> str:
    """Return the text by which the temporary files of this process name it."""
    return f"{_HOST}-{os.getpid()}"


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it in when the block ends, remove it when it raises.

    The temporary file keeps the suffix (writers choose the format by it) and starts with a dot. Parent folders are
    made. When `durable`, the data are flushed to disk before the move, so a crash of the machine leaves old or new as
    well.
    """
    target = Path(path)
    _make_folder(target.parent, durable)
    partial = target.with_name(f".{target.stem[:40]}.{writer()}-{secrets.token_hex(4)}.partial{target.suffix}")
    try:
        yield partial
        if durable:
            _fsync(partial)
        os.replace(partial, target)
    finally:
        with suppress(OSError):  # the file or its drive is gone; what is left is removed later
            partial.unlink()
    if durable:
        _flush_names(target.parent)  # without this the new name itself may be lost in a crash


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a folder beside `path` to be made and filled; move it in when the block ends.

    Its files are flushed to disk before the move. An older folder is missing only for a moment. When the block raises,
    what was filled is removed.
    """
    target = Path(path)
    _make_folder(target.parent, durable=True)
    partial, old = (
        target.with_name(f".{target.stem[:40]}.{writer()}-{secrets.token_hex(4)}.partial{target.suffix}")
        for _ in range(2)
    )
    try:
        yield partial
        _fsync_tree(partial)
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(partial, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        _fsync(target.parent)


def open_to_append(path: Path) -> int:
    """Return the descriptor of a file to append to; a link is replaced by a file, and its target is left alone."""
    if path.is_symlink():
        path.unlink()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags, 0o666)


@contextmanager
def binary_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a file to write, whole or not at all; compressed, without a timestamp, when the name ends in .gz."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        if Path(path).suffix.lower() != ".gz":
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
            yield packed  # type: ignore[misc]  # a GzipFile writes bytes like any other


def write_text(path: str | os.PathLike[str], text: str, *, durable: bool = True) -> None:
    """Write `text` as UTF-8, whole or not at all.

    Bytes of a name that are not UTF-8 are written as ``\\udcff``, as JSON writes them: `files.names.restored`.
    """
    with atomic_path(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(path: str | os.PathLike[str], value: Any, *, durable: bool = True) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", durable=durable)


def clock_of(folder: str | os.PathLike[str]) -> float:
    """Return the time (seconds since 1970) by the clock that dates the files of a folder.

    On a network drive it is the server's, and differs from this machine's; where nothing can be written, this one's.
    """
    probe = Path(folder, f".clock.{writer()}-{secrets.token_hex(4)}.partial")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def remove_abandoned(root: Path, dead: Collection[str] = (), *, recursive: bool = True) -> int:
    """Remove temporary files and folders below `root`, or only in it, whose writer was killed; return how many.

    A file is abandoned when its process on this machine is gone, or, written elsewhere, when its `writer` is known to
    be `dead` or it is a day old.
    """
    removed, now = 0, None
    here = writer().partition("-")[0]
    for folder, folders, names in os.walk(root):
        inside = list(folders)
        if not recursive:
            folders.clear()
        for name in (*names, *inside):
            match = _PARTIAL.match(name)
            if match is None:
                continue
            path = Path(folder, name)
            with suppress(OSError):
                if f"{match['host']}-{match['pid']}" in dead:
                    abandoned = True
                elif match["host"] == here:
                    abandoned = not process_lives(int(match["pid"]))
                else:
                    now = clock_of(root) if now is None else now
                    abandoned = now - path.stat().st_mtime > _ABANDONED_AFTER_S
                if abandoned:
                    if name in inside:
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                    removed += 1
    return removed
