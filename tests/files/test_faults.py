"""Disks that refuse: an HDF5 write comes back as an error, and files reach the disk before their names do."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.files import atomic, hdf5_writing
from mil_heatmaps.files.atomic import atomic_folder, open_to_append, remove_abandoned, write_text
from mil_heatmaps.files.hdf5_writing import set_text, write_h5


def _fill(file: h5py.File) -> None:
    rows = file.create_dataset("features", data=np.ones((60, 8), np.float32), chunks=(8, 8), maxshape=(None, 8))
    set_text(rows, "encoder", "x")
    file["coords"] = np.zeros((60, 2), np.int64)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_any_write_of_hdf5_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    left = [0]

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(code, os.strerror(code))
            return super().write(data)

    path = tmp_path / "f.h5"
    with write_h5(path) as file:
        _fill(file)
    whole = path.read_bytes()
    monkeypatch.setattr(hdf5_writing.io, "FileIO", Full)
    refused = 0
    for writes in range(200):
        left[0] = writes
        try:
            with write_h5(path) as file:
                _fill(file)
        except OSError as error:
            assert error.errno == code  # noqa: PT017 - which error, of the many tries
            refused += 1
        else:
            break
        assert path.read_bytes() == whole  # the file that was there is untouched
    assert refused > 5
    assert [name.name for name in tmp_path.iterdir()] == ["f.h5"]


def test_appending_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mil_heatmaps.files.clam_files import load_hdf5, save_hdf5

    path = tmp_path / "f.h5"
    save_hdf5(path, {"features": np.ones((4, 2), np.float32)}, mode="w")
    before = path.read_bytes()

    def refuse(self: Any, data: Any) -> int:
        self.refused = OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    monkeypatch.setattr(hdf5_writing._NeverFails, "write", refuse)
    with pytest.raises((OSError, ValueError), match="No space left"):
        save_hdf5(path, {"features": np.ones((4, 2), np.float32)})
    assert path.read_bytes() == before
    monkeypatch.undo()
    save_hdf5(path, {"features": np.zeros((3, 2), np.float32)})
    assert load_hdf5(path)[0]["features"].shape == (7, 2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the flushes and moves that follow, by name."""
    calls: list[tuple[str, str]] = []
    places: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def opened(path: Any, *args: Any, **kwargs: Any) -> int:
        descriptor = real_open(path, *args, **kwargs)
        places[descriptor] = "part" if ".partial" in Path(path).name else Path(path).name
        return descriptor

    monkeypatch.setattr(atomic.os, "open", opened)
    monkeypatch.setattr(
        atomic.os, "fsync", lambda number: (calls.append(("fsync", places[number])), real_fsync(number))[1]
    )
    monkeypatch.setattr(
        atomic.os, "replace", lambda a, b: (calls.append(("replace", Path(b).name)), real_replace(a, b))[1]
    )
    return calls


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_call_returns(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    write_text(tmp_path / "new" / "deep" / "a.txt", "x")
    # The entries of new folders first, then the bytes, then the name, then the folder that holds it.
    assert calls == [
        ("fsync", tmp_path.name), ("fsync", "new"), ("fsync", "part"), ("replace", "a.txt"), ("fsync", "deep"),
    ]  # fmt: skip


def test_all_files_of_a_folder_reach_the_disk_before_its_name(
    tmp_path: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill() -> None:
        with atomic_folder(tmp_path / "new" / "S.zarr") as partial:
            (partial / "c").mkdir(parents=True)
            (partial / "c" / "0").write_text("x")

    fill()
    whole = [("replace", "S.zarr"), ("fsync", "new")]
    assert calls == [("fsync", tmp_path.name), ("fsync", "0"), ("fsync", "c"), ("fsync", "part"), *whole]
    calls.clear()
    monkeypatch.setattr(atomic, "_FLUSHED_ONE_BY_ONE", 0)
    monkeypatch.setattr(atomic.os, "sync", lambda: calls.append(("sync", "all")))
    fill()
    assert [call for call in calls if call[0] == "sync" or call in whole] == [("sync", "all"), *whole]


def test_halves_are_removed_from_a_folder_alone_or_from_all_below_it(tmp_path: Path) -> None:
    half = ".x.00000000-999999999-0123abcd.partial.csv"
    (tmp_path / "below").mkdir()
    for folder in (tmp_path, tmp_path / "below"):
        (folder / half).touch()
        os.utime(folder / half, (0, 0))  # another machine's, and a day old
    assert remove_abandoned(tmp_path, recursive=False) == 1
    assert (tmp_path / "below" / half).exists()
    assert remove_abandoned(tmp_path) == 1


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim, log = tmp_path / "victim", tmp_path / "run.log"
    victim.write_text("mine")
    log.symlink_to(victim)
    descriptor = open_to_append(log)
    os.write(descriptor, b"line")
    os.close(descriptor)
    assert victim.read_text() == "mine"
    assert log.read_text() == "line"
    assert not log.is_symlink()
