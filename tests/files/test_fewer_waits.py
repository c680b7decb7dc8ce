"""What a slide no longer waits for: files are as whole, as safe and as checked as before."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from mil_heatmaps.encoders.feature_log import remove_log
from mil_heatmaps.files import atomic, early_flush, hdf5_guard
from mil_heatmaps.files.atomic import names_flushed_once, write_text
from mil_heatmaps.files.early_flush import EarlyFlushed
from mil_heatmaps.files.hdf5 import first_not_finite
from mil_heatmaps.files.hdf5_writing import set_text, write_h5, write_small_h5


def _fill(file: h5py.File) -> None:
    values = np.arange(2000, dtype=np.float32).reshape(-1, 2)
    rows = file.create_dataset("scores", data=values, chunks=(8, 2), maxshape=(None, 2))
    set_text(rows, "kind", "external")
    file.create_dataset("never written", (500, 3), np.float64)
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    h5py.h5d.create(file.id, b"early", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((9000, 3)), early)
    file["coords"] = np.zeros((60, 2), np.int64)
    h5py.h5d.create(file.id, b"last", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((90_000, 3)), early)


def test_a_small_file_has_the_bytes_of_one_written_piece_by_piece(tmp_path: Path) -> None:
    for name, write in (("a.h5", write_h5), ("b.h5", write_small_h5)):
        with write(tmp_path / name) as file:
            _fill(file)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["never written"][:].sum() == file["last"][:].sum() == 0


def test_a_small_file_that_cannot_be_made_or_written_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.h5"
    path.write_text("before")
    with suppress(ZeroDivisionError), write_small_h5(path) as file:
        _fill(file)
        raise ZeroDivisionError
    assert path.read_text() == "before"

    def full(self: Path, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"), write_small_h5(path) as file:
        _fill(file)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("f.h5", "before")]


def test_folders_are_flushed_once_at_the_end_and_bytes_before_every_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(atomic, "_fsync", lambda path: calls.append("part" if "partial" in path.name else path.name))
    real = os.replace
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (calls.append(f"move {Path(b).name}"), real(a, b)))
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    with suppress(ZeroDivisionError), names_flushed_once():
        for name in ("x/a", "y/b", "x/c"):
            write_text(tmp_path / name, "1")
        raise ZeroDivisionError  # what was moved until then is flushed as well
    assert calls == ["part", "move a", "part", "move b", "part", "move c", "x", "y"]
    calls.clear()
    write_text(tmp_path / "x" / "d", "1")
    assert calls == ["part", "move d", "x"]


def test_a_name_is_on_the_disk_before_what_it_replaces_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(atomic, "_fsync", lambda path: calls.append("part" if "partial" in path.name else "folder"))
    log = tmp_path / "features.h5.encoding"
    log.write_text("hours of encoding")
    real = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path.name.startswith(log.name):
            calls.append(f"remove {path.suffix}")
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with names_flushed_once():
        write_text(tmp_path / "features.h5", "all of it")
        remove_log(log)
    assert calls == ["part", "folder", "remove .encoding", "remove .lock"]


def test_a_large_file_is_flushed_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_flush, "_EVERY_BYTES", 1000)
    flushed: list[int] = []
    monkeypatch.setattr(early_flush.os, "fsync", lambda number: flushed.append(os.fstat(number).st_size))
    path = tmp_path / "p.png"
    data = np.random.default_rng(0).bytes(5000)
    with EarlyFlushed(path) as file:
        for start in range(0, len(data), 700):
            file.write(data[start : start + 700])
    assert path.read_bytes() == data
    assert flushed
    assert flushed[0] >= 1000


@pytest.fixture
def refused_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EarlyFlushed:
    """Return an open file whose early flush the system refused."""
    monkeypatch.setattr(early_flush, "_EVERY_BYTES", 1)

    def refuse(number: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(early_flush.os, "fsync", refuse)
    file = EarlyFlushed(tmp_path / "p.png")
    file.write(b"123")
    return file


def test_a_flush_that_the_system_refuses_is_an_error_of_the_file(refused_file: EarlyFlushed) -> None:
    """Linux tells of a write that failed once: a later flush of the same file would succeed."""
    with pytest.raises(OSError, match="Input/output error"):
        refused_file.close()
    assert refused_file.closed


def test_a_flush_that_fails_hides_no_error_of_the_writer(refused_file: EarlyFlushed) -> None:
    with pytest.raises(ZeroDivisionError), refused_file:
        raise ZeroDivisionError
    assert refused_file.closed


def test_a_file_is_written_where_no_thread_is_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_flush, "_EVERY_BYTES", 1)

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with EarlyFlushed(tmp_path / "p.png") as file:
        file.write(b"123")
        file.write(b"456")
    assert (tmp_path / "p.png").read_bytes() == b"123456"


def test_a_file_asked_about_ahead_is_not_asked_about_again_unless_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker = hdf5_guard._Looker()
    asked: list[str] = []
    real = looker._ask
    monkeypatch.setattr(looker, "_ask", lambda process, path: (asked.append(path.name), real(process, path)))
    good, bad = tmp_path / "good.h5", tmp_path / "bad.h5"
    for path in (good, bad):
        with write_small_h5(path) as file:
            _fill(file)
    try:
        looker.ask_ahead(good)
        assert looker.refusal(good) is None
        assert asked == ["good.h5"]
        looker.ask_ahead(bad)
        assert looker.refusal(good) is None  # the answer about the other file is not taken for its own
        with h5py.File(bad, "a") as file:
            file["link"] = h5py.ExternalLink("other.h5", "/x")
        assert "link into another file" in (looker.refusal(bad) or "")
        assert asked == ["good.h5", "bad.h5", "bad.h5"]
        looker.ask_ahead(bad)
        assert looker._process is not None
        looker._process.kill()  # before or after it answers
        assert looker.refusal(good) is None
        assert asked == ["good.h5", "bad.h5", "bad.h5"]
    finally:
        looker.stop()


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4"])
def test_numbers_that_are_not_finite_are_found_by_their_bits(kind: str) -> None:
    values = np.random.default_rng(1).normal(size=(300, 40)).astype(kind)
    limits = np.finfo(values.dtype.newbyteorder("="))
    values[5, :5] = limits.max, limits.min, -0.0, limits.tiny, -limits.smallest_subnormal
    assert first_not_finite(values) is None
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        spoilt = values.copy()
        spoilt[[7, 299], [0, 39]] = bad
        assert first_not_finite(spoilt) == (2, 7)
    assert first_not_finite(values[:0]) is None


def test_every_float16_is_told_apart() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    assert first_not_finite(every[:, None]) == (2 * (1 << 10), 0x7C00)
