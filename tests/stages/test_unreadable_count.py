"""How many tiles of a slide are bad stands in its row also when it fails for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import tifffile

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.records.slide_record import SlideRecord
from tests.helpers.cohort import make_small_cohort


def test_a_slide_that_fails_for_bad_tiles_counts_them_and_a_whole_one_none(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1}, "heatmap_arguments": {"figure": False}})
    cohort.rows = cohort.rows[:1]
    slide, config = cohort.slides / "s1.tif", load_config(cohort.write())
    whole = shutil.copy(slide, tmp_path / "whole.tif")
    with tifffile.TiffFile(slide) as file:
        places = [place for page in file.pages for place in zip(page.dataoffsets, page.databytecounts, strict=True)]
    data = bytearray(slide.read_bytes())
    for start, count in places:
        data[start : start + count] = bytes(count)
    slide.write_bytes(data)
    assert "needed cannot be read" in Runner(config).run().failed["s1"]
    (path,) = cohort.raw.rglob("record.json")
    counted = SlideRecord.load(path, "s1").summary["unreadable"]
    assert 0 < counted <= len(places)
    assert cohort.process_list()["s1"]["unreadable"] == str(counted)
    shutil.copy(whole, slide)
    assert Runner(config).run().processed == ["s1"]
    assert cohort.process_list()["s1"]["unreadable"] == "0"
