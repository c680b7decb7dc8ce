"""Signs of life: fresh while their process works, gone when it is done, silent when it was killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mil_heatmaps.files import heartbeat
from mil_heatmaps.files.heartbeat import Heartbeat, read_notes
from tests.helpers.waiting import wait_until


def test_a_sign_is_read_back_with_its_news_and_its_age(tmp_path: Path) -> None:
    sign = Heartbeat(tmp_path / ".sign-1", {"host": "node7"})
    sign.tell({"done": 3})
    for name, text in ((".sign-2", "{torn"), (".sign-3", "[]")):
        (tmp_path / name).write_text(text)
    os.utime(sign.path, (0, 0))
    found = {path.name: (note, silent_s) for path, note, silent_s in read_notes(tmp_path, ".sign-*")}
    assert {name: note for name, (note, _) in found.items()} == {
        ".sign-1": {"host": "node7", "done": 3}, ".sign-2": {}, ".sign-3": {},
    }  # fmt: skip
    assert found[".sign-1"][1] == pytest.approx(time.time(), abs=60)
    assert abs(found[".sign-2"][1]) < 60
    sign.remove()
    sign.remove()
    assert not sign.path.exists()


def test_a_sign_is_kept_fresh_until_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    sign = Heartbeat(tmp_path / "sign", {})
    sign.tell()
    os.utime(sign.path, (0, 0))
    sign.keep_fresh()
    wait_until(lambda: sign.path.stat().st_mtime)
    sign.remove()
    assert list(tmp_path.iterdir()) == []
