"""How far encoding is shows wherever it is done: in the progress bar, in `--watch`, from workers and clusters."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.encoders.encoding_progress import EncodingProgress
from mil_heatmaps.execution import run_slides
from mil_heatmaps.files.heartbeat import SILENT_AFTER_S
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.progress.bars import STILL_AT_IT_S, LogLines, Progress
from mil_heatmaps.progress.encoding_signs import Encoding, EncodingSign, describe, find_encodings, forget_silent
from mil_heatmaps.progress.watch import ExperimentView, view_text
from tests.helpers.cohort import make_encoded

HALF = EncodingProgress(30, 60, 12.0, 2.5)


def test_a_sign_is_read_back_and_removed_in_the_end(tmp_path: Path) -> None:
    sign = EncodingSign(tmp_path, "slide 1")
    assert find_encodings(tmp_path) == []
    sign.tell(HALF)
    assert find_encodings(tmp_path) == [Encoding("slide 1", HALF)]
    assert find_encodings(tmp_path, {"slide 2"}) == []
    sign.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_sign_is_written_every_few_seconds_only(tmp_path: Path) -> None:
    written: list[int] = []
    now = 100.0
    sign = EncodingSign(tmp_path, "s", clock=lambda: now)
    for done in range(200):
        sign.tell(EncodingProgress(done, 200, 10.0, 1.0))
        now += 0.125
        (told,) = find_encodings(tmp_path)
        written += [told.progress.done] if told.progress.done not in written else []
    assert written == [0, 40, 80, 120, 160]


def test_a_folder_that_refuses_signs_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / ".encoding").write_text("a file")
    sign = EncodingSign(tmp_path, "s")
    sign.tell(HALF)
    sign.remove()
    assert find_encodings(tmp_path) == []


def test_signs_that_fell_silent_or_are_broken_are_passed_over_and_cleared(tmp_path: Path) -> None:
    for name in ("alive", "killed"):
        EncodingSign(tmp_path, name).tell(HALF)
    (tmp_path / ".encoding" / "broken.json").write_text("{")
    (tmp_path / ".encoding" / "other.json").write_text(json.dumps({"slide_id": "x", "new_key": 1}))
    old = time.time() - SILENT_AFTER_S - 1
    os.utime(tmp_path / ".encoding" / "killed.json", (old, old))
    assert [one.slide_id for one in find_encodings(tmp_path)] == ["alive"]
    forget_silent(tmp_path)
    assert not (tmp_path / ".encoding" / "killed.json").exists()
    assert [one.slide_id for one in find_encodings(tmp_path)] == ["alive"]
    forget_silent(tmp_path, alone=True)  # the run that wrote it was killed a moment ago
    assert list(tmp_path.iterdir()) == []


def test_several_slides_are_summed_up() -> None:
    one, two = Encoding("a", HALF), Encoding("b", EncodingProgress(10, 140, 8.0, 65.0))
    assert describe([one]) == "a: encoding 30/60 patches, 12/s, 2 s left"
    assert describe([]) == ""
    assert describe([one, two]) == "encoding 2 slides: 40/200 patches, 20/s, 1 min 5 s left"


def test_a_log_file_gets_a_sign_of_life_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("mil_heatmaps.progress.bars.time.monotonic", lambda: now[0])
    lines = LogLines()
    lines.start(9)
    for _ in range(4):
        now[0] += STILL_AT_IT_S / 2
        lines.encoding("a: encoding 1/2 patches")
        lines.encoding("")
    told = capsys.readouterr().err.splitlines()[1:]
    assert told == ["[0 of 9 done] a: encoding 1/2 patches"] * 2


class Seen(Progress):
    """Keeps what is told of encoding, and what `--watch` shows at that moment."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.watched: list[str] = []
        self._view = ExperimentView(folder)

    def encoding(self, told: str) -> None:
        self.lines.append(told)
        self._view.refresh()
        self.watched.append(view_text(self._view))


def seen_while_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_arguments: dict[str, Any]) -> Seen:
    monkeypatch.setattr(run_slides, "TELL_EVERY_S", 0.1)
    cohort = make_encoded(tmp_path, "tests.helpers.stub_encoder:slow", calc_heatmap=False)
    cohort.config["run_arguments"] = run_arguments
    cohort.rows = cohort.rows[:2]
    seen = Seen(cohort.raw)
    assert Runner(load_config(cohort.write()), progress=seen).run().failed == {}
    assert not (cohort.raw / ".encoding").exists()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pool", "dask"])
def test_the_coordinator_and_watch_tell_how_far_workers_are(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "dask":
        pytest.importorskip("distributed", reason="needs pip install -e '.[distributed]'")
    run_arguments = {"workers": 2, **({"cluster": {"kind": "local"}} if kind == "dask" else {})}
    seen = seen_while_encoding(tmp_path, monkeypatch, run_arguments)
    told = re.compile(r"(s[12]: encoding|encoding 2 slides:) \d+/\d+ patches, \d+/s, .* left")
    assert all(told.fullmatch(line) for line in seen.lines if line)
    assert any(seen.lines)
    assert any(re.search(r"^  s[12]: encoding \d+/\d+ patches", text, re.MULTILINE) for text in seen.watched)
