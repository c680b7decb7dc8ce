"""Marks, verdicts and agreement: what is written, where, and how far readers agree."""

import errno
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files import atomic
from mil_heatmaps.viewer.agreement import agreement, agreement_words
from mil_heatmaps.viewer.changed import Changed
from mil_heatmaps.viewer.mark_features import MarkError, features_of
from mil_heatmaps.viewer.reader_notes import ReaderNotes, order_of

SPOT = {"type": "Point", "coordinates": [1.5, 2]}
POINT = {"type": "Feature", "id": "1", "geometry": SPOT, "properties": {"name": "é"}}


def test_marks_are_geojson_that_comes_back_as_it_was(tmp_path: Path) -> None:
    notes = ReaderNotes(tmp_path / "marks")
    assert notes.marks("S1") == {"stamp": "", "features": []}
    assert not notes.folder.exists()  # reading makes nothing
    stamp = notes.save_marks("S1", [POINT], "")["stamp"]
    written = json.loads((notes.folder / "S1.geojson").read_text(encoding="utf-8"))
    assert written == {"type": "FeatureCollection", "features": [POINT]}
    assert notes.marks("S1") == {"stamp": stamp, "features": [POINT]}
    assert notes.marks("S2")["features"] == []


def test_marks_changed_by_somebody_else_are_not_written_over(tmp_path: Path) -> None:
    here, there = ReaderNotes(tmp_path), ReaderNotes(tmp_path)
    stamp = here.save_marks("S1", [POINT], "")["stamp"]
    there.save_marks("S1", [POINT, POINT], stamp)
    with pytest.raises(Changed, match="changed elsewhere"):
        here.save_marks("S1", [], stamp)
    assert len(here.marks("S1")["features"]) == 2


def test_of_many_writers_at_once_one_wins_and_the_file_is_whole(tmp_path: Path) -> None:
    won: list[int] = []

    def write(number: int) -> None:
        try:
            ReaderNotes(tmp_path).save_marks("S1", [POINT] * number, "")
            won.append(number)
        except Changed:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(ReaderNotes(tmp_path).marks("S1")["features"]) == won[0]


@pytest.mark.parametrize("slide_id", ["../S1", "a/../../S1", "/tmp/S1"])
def test_no_slide_name_leads_out_of_the_folder(tmp_path: Path, slide_id: str) -> None:
    with pytest.raises(ConfigError, match="outside"):
        ReaderNotes(tmp_path / "marks").save_marks(slide_id, [POINT], "")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({}, "FeatureCollection"),
        ([1], "mark 1 is no"),
        ([{**POINT, "geometry": {"type": "Circle", "coordinates": [1, 2]}}], "'Circle' is not known"),
        ([{**POINT, "geometry": {"type": "Polygon", "coordinates": [[1, 2]]}}], "mark 1"),
        ([{**POINT, "geometry": {"type": "Point", "coordinates": [1, "2"]}}], "finite"),
        ([{**POINT, "geometry": {"type": "Point", "coordinates": [1, 1e12]}}], "finite"),
        ([{**POINT, "geometry": {"type": "Polygon", "coordinates": []}}], "needs points"),
        ([{**POINT, "properties": [1]}], "properties"),
        ([POINT] * 20_001, "more than the 20000"),
    ],
)
def test_what_is_no_mark_is_refused_with_its_number(value: object, why: str) -> None:
    with pytest.raises(MarkError, match=why):
        features_of(value)


def test_verdicts_are_a_table_in_the_readers_own_order(tmp_path: Path) -> None:
    notes, slides = ReaderNotes(tmp_path), [f"S{i}" for i in range(30)]
    mine = order_of("anna", slides)
    assert sorted(mine) == sorted(slides)
    assert mine != slides
    assert mine != order_of("bert", slides)
    assert [slide for slide in order_of("anna", [*slides, "S30"]) if slide != "S30"] == mine
    notes.save_review("anna", mine[3], {"verdict": "unsure", "comment": "=1+1", "seconds": 4}, slides)
    notes.save_review("anna", mine[3], {"verdict": "plausible", "comment": 'a "b", c\nd', "seconds": 2.5}, slides)
    row = notes.review("anna")[mine[3]]
    assert (row["verdict"], row["comment"], row["seconds"], row["order"]) == ("plausible", 'a "b", c\nd', "6.5", "4")
    notes.save_review("anna", "S1", {"verdict": "", "comment": "=1+1", "seconds": 0}, slides)
    assert "'=1+1" in (tmp_path / "review_anna.csv").read_text()  # no formula for a spreadsheet
    assert notes.review("anna")["S1"]["comment"] == "=1+1"
    with pytest.raises(MarkError, match="a verdict is"):
        notes.save_review("anna", "S1", {"verdict": "good"}, slides)


def test_the_way_of_a_later_visit_goes_on_after_the_first(tmp_path: Path) -> None:
    notes = ReaderNotes(tmp_path)
    notes.save_way("anna", "S1", [[0, "#a"], [2.5, "#b"]])
    notes.save_way("anna", "S1", [[3, "#c"]])  # of the same visit
    notes.save_way("anna", "S1", [[0.5, "#d"], [1, "#e"]])
    assert notes.way("anna", "S1") == {"steps": [[0, "#a"], [2.5, "#b"], [3, "#c"], [3.5, "#d"], [4, "#e"]]}
    for wrong in ("x", [["1", "#a"]], [[-1, "#a"]], [[True, "#a"]], [[1, 2]], [[1]]):
        with pytest.raises(MarkError, match="a way is"):
            notes.save_way("anna", "S1", wrong)
    (tmp_path / "paths" / "anna" / "S2.json").write_text('{"steps": [["x", 1]]}')
    with pytest.raises(MarkError, match=r"S2\.json holds no way"):
        notes.way("anna", "S2")


def test_kappa_of_two_and_of_three_readers_is_the_textbooks() -> None:
    # Cohen 1960: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.7 agreed, 0.5 by chance.
    pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    two = {name: {f"S{i}": pair[n] for i, pair in enumerate(pairs)} for n, name in enumerate(("anna", "bert"))}
    told = agreement(two, ("a", "b"))
    (pair,) = told["pairs"]
    assert pair["kappa"] == pytest.approx(0.4)
    assert pair["interval"][0] < 0.4 < pair["interval"][1]
    # Fleiss by hand: three readers, four slides; agreed (1 + 1/3 + 1 + 1/3) / 4, shares 7/12 and 5/12.
    rows = ["aaa", "aab", "bbb", "aab"]
    three = {name: {f"S{i}": row[n] for i, row in enumerate(rows)} for n, name in enumerate(("x", "y", "z"))}
    told = agreement(three, ("a", "b"))
    by_chance = (7 / 12) ** 2 + (5 / 12) ** 2
    assert told["fleiss"]["kappa"] == pytest.approx((2 / 3 - by_chance) / (1 - by_chance))
    assert [item["slide"] for item in told["disagreed"]] == ["S1", "S3"]
    assert any("Fleiss" in line for line in agreement_words(told))


def test_intervals_of_agreement_draw_the_slides_of_a_case_together() -> None:
    pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    two = {name: {f"S{i}": pair[n] for i, pair in enumerate(pairs)} for n, name in enumerate(("anna", "bert"))}
    (alone,) = agreement(two, ("a", "b"))["pairs"]
    told = agreement(two, ("a", "b"), {f"S{i}": f"P{i // 5}" for i in range(50)})
    (pair,) = told["pairs"]
    assert pair["kappa"] == alone["kappa"]
    # Slides of a case agree alike here, so that ten cases tell less than fifty slides.
    assert pair["interval"][1] - pair["interval"][0] > 1.5 * (alone["interval"][1] - alone["interval"][0])
    assert "intervals are over cases: the slides of a case are drawn together" in agreement_words(told)
    few = agreement(two, ("a", "b"), {f"S{i}": f"P{i // 13}" for i in range(50)})
    assert few["pairs"][0]["interval"] is None


def test_agreement_that_cannot_be_told_is_not_made_up() -> None:
    same = {"x": {"S1": "plausible"}, "y": {"S1": "plausible"}}
    assert agreement(same)["pairs"][0]["kappa"] is None  # chance alone would agree always
    assert agreement({"x": {"S1": "plausible"}, "y": {"S2": "unsure"}})["pairs"][0] == {
        "readers": ["x", "y"], "slides": 0, "agreed": None, "kappa": None, "interval": None,
    }  # fmt: skip
    assert agreement({})["readers"] == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.ENODEV, errno.ESTALE])
def test_a_disk_that_refuses_leaves_what_was_written_and_nothing_besides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    notes = ReaderNotes(tmp_path)
    way = [[0.5, "#x=1"]]
    writes: list[Callable[[], object]] = [
        lambda: notes.save_marks("s1", [POINT], notes.marks("s1")["stamp"]),
        lambda: notes.save_review("r", "s1", {"verdict": "plausible"}, ["s1"]),
        lambda: notes.save_way("r", "s1", way),
        lambda: notes.save_presets({"mine": {"alpha": 0.5}}),
    ]
    for write in writes:
        write()
    before = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def refuse(source: Any, target: Any) -> None:
        raise OSError(code, os.strerror(code), str(target))

    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "replace", refuse)
        for write in writes:
            with pytest.raises(OSError, match=re.escape(os.strerror(code))):  # `viewer.guarded` makes a sentence of it
                write()
    assert before == {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for write in writes:
        write()
    assert notes.way("r", "s1") == {"steps": way * 2}  # two visits; what was refused between them left nothing


@pytest.mark.parametrize("text", ["[1]", '{"a": NaN}', '{"a": 1e999}', f'{{"a": {"9" * 5000}}}', "[" * 99_999, "\xff"])
def test_presets_that_are_none_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "presets.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(MarkError, match=r"presets\.json"):
        ReaderNotes(tmp_path).presets()


def test_a_table_of_verdicts_that_was_edited_by_hand_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "review_r.csv").write_text("slide_id,seconds,comment\ns1,soon,'=x\ns2,1e999,\n")
    notes = ReaderNotes(tmp_path)
    assert notes.save_review("r", "s1", {"seconds": 2}, ["s1", "s2"])["seconds"] == "2.0"
    assert notes.save_review("r", "s2", {"seconds": 3}, ["s1", "s2"])["seconds"] == "3.0"
