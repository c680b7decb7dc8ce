"""Folders that are moved in whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.files import atomic
from mil_heatmaps.files.atomic import atomic_folder, remove_abandoned


def filled(target: Path, text: str) -> None:
    with atomic_folder(target) as partial:
        partial.mkdir()
        (partial / "part").write_text(text)


def test_a_folder_that_cannot_be_moved_in_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, real, moves = tmp_path / "S.zarr", os.replace, []
    filled(target, "first")

    def second_move_fails(source: Any, to: Any) -> None:
        moves.append(source)
        if len(moves) == 2:
            raise OSError(5, "Input/output error")
        real(source, to)

    monkeypatch.setattr(atomic.os, "replace", second_move_fails)
    with pytest.raises(OSError, match="Input/output"):
        filled(target, "second")
    assert (target / "part").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["S.zarr"]


def test_folders_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    host = atomic.writer().partition("-")[0]
    left = tmp_path / f".S.{host}-999999999-0123abcd.partial.zarr"
    (left / "deep").mkdir(parents=True)
    filled(tmp_path / "S.zarr", "whole")
    assert remove_abandoned(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["S.zarr"]
