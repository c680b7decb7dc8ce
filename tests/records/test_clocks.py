"""Machines whose clocks differ, and clocks that jump: nobody is taken for dead, and nothing stale for fresh."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mil_heatmaps.files import atomic, heartbeat
from mil_heatmaps.files.atomic import remove_abandoned
from mil_heatmaps.files.heartbeat import Heartbeat
from mil_heatmaps.records.run_signs import Presence
from tests.helpers.waiting import wait_until

REAL_TIME = time.time


def _other_machines(folder: Path, age_s: float) -> Path:
    sign = folder / ".running-node7-1"
    sign.write_text(json.dumps({"host": "node7", "pid": 1, "since": 0.0, "shard": None}))
    os.utime(sign, (REAL_TIME() - age_s,) * 2)
    return sign


@pytest.mark.parametrize("ahead_s", [-4000.0, 0.0, 4000.0, 1e6])
def test_a_run_on_a_machine_with_another_clock_is_seen_alive_until_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    monkeypatch.setattr(time, "time", lambda: REAL_TIME() + ahead_s)  # the folder's clock is the true one
    sign = _other_machines(tmp_path, 5)
    presence = Presence(tmp_path)
    assert ([run.host for run in presence.others], presence.after_a_kill) == (["node7"], False)
    os.utime(sign, (REAL_TIME() - 500,) * 2)
    presence = Presence(tmp_path)
    assert (presence.others, presence.after_a_kill) == ([], True)
    assert [path.name for path in tmp_path.iterdir()] == [sign.name]  # what asks the folder's clock is taken away


def test_a_half_written_by_another_machine_is_kept_for_a_day_of_the_folders_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: REAL_TIME() + 1e7)
    half = tmp_path / ".x.00000000-1-0123abcd.partial.csv"
    half.touch()
    assert remove_abandoned(tmp_path) == 0
    os.utime(half, (REAL_TIME() - 90_000,) * 2)
    assert remove_abandoned(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_this_machines_clock_counts(tmp_path: Path) -> None:
    assert atomic.clock_of(tmp_path / "not there") == pytest.approx(REAL_TIME(), abs=30)


def test_a_sign_that_was_taken_away_comes_back_until_its_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    sign = Heartbeat(tmp_path / "sign", {"host": "here"})
    sign.tell({"done": 2})
    sign.keep_fresh()
    sign.path.unlink()
    wait_until(sign.path.exists)
    assert json.loads(sign.path.read_text()) == {"host": "here", "done": 2}
    sign.remove()
    time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
