"""Notices: a sentence that knows what kind of thing it says, and what it counts."""

import json
import pickle
from pathlib import Path

from mil_heatmaps.notices import Notice, distinct, joined, total
from mil_heatmaps.records.slide_record import SlideRecord, StageRecord

UNCOLOURED = Notice("uncoloured", "2 of 6 patches are not coloured", uncoloured=2, patches=6)


def test_a_notice_is_its_words_and_knows_code_and_counts() -> None:
    assert UNCOLOURED == "2 of 6 patches are not coloured"
    assert (UNCOLOURED.code, dict(UNCOLOURED.counts)) == ("uncoloured", {"uncoloured": 2, "patches": 6})


def test_a_notice_survives_json_and_another_process() -> None:
    for again in (Notice.read(json.loads(json.dumps(UNCOLOURED.plain()))), pickle.loads(pickle.dumps(UNCOLOURED))):
        assert (again, again.code, again.counts) == (UNCOLOURED, UNCOLOURED.code, UNCOLOURED.counts)


def test_a_plain_text_of_an_earlier_version_is_read_as_a_notice() -> None:
    assert (Notice.read("no tissue in s.svs"), Notice.read("x").code) == ("no tissue in s.svs", "note")


def test_counts_are_summed_over_different_notices_and_words_joined_once() -> None:
    other = Notice("unreadable", "1 tile of the slide cannot be read", unreadable=1)
    notices = (UNCOLOURED, other, UNCOLOURED)
    assert distinct(notices) == (UNCOLOURED, other)
    assert (total(notices, "uncoloured"), total(notices, "unreadable"), total(notices, "other")) == (2, 1, 0)
    assert joined(notices) == "2 of 6 patches are not coloured; 1 tile of the slide cannot be read"


def test_a_record_keeps_notices_of_its_stages_in_their_order_and_reads_those_of_before(tmp_path: Path) -> None:
    record = SlideRecord(tmp_path / "record.json", "s1")
    record.stages["heatmap"] = StageRecord({}, "", {}, 0.0, (UNCOLOURED,))
    record.stages["attention"] = StageRecord({}, "", {}, 0.0, (Notice("no_classifier", "no prediction"),))
    record.save()
    again = SlideRecord.load(record.path, "s1")
    assert again.notices() == ("no prediction", UNCOLOURED)
    assert [notice.code for notice in again.notices()] == ["no_classifier", "uncoloured"]
    data = json.loads(record.path.read_text())
    data["stages"]["attention"]["notes"] = ["the words alone"]
    record.path.write_text(json.dumps(data))
    assert SlideRecord.load(record.path, "s1").notices() == ("the words alone", UNCOLOURED)
