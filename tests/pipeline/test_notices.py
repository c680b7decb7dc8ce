"""Notices from the stage that makes them to every place that shows them, and through runs that are resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from mil_heatmaps.cli.summary import _notes, summary_text
from mil_heatmaps.config.config import load_config
from mil_heatmaps.notices import Notice
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from mil_heatmaps.visualization.figure import FigureText, compose_figure
from mil_heatmaps.visualization.figure_parts import BAD
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.cohort import SmallCohort, grid_coords, make_small_cohort, write_features
from tests.helpers.drawings import planned
from tests.helpers.slides import make_single_level


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    made = make_small_cohort(tmp_path, {"export_arguments": {"geojson": True, "ome_tiff": True}})
    made.rows = made.rows[:1]
    return made


def run(cohort: SmallCohort) -> RunSummary:
    summary = Runner(load_config(cohort.write())).run()
    assert summary.failed == {}
    return summary


def change_notes(cohort: SmallCohort, stage: str, note: Any) -> None:
    """Add a note to a stage on record."""
    path = cohort.record("s1")
    record = json.loads(path.read_text())
    record["stages"][stage]["notes"].append(note)
    path.write_text(json.dumps(record))


def test_uncoloured_patches_are_told_wherever_the_results_are(cohort: SmallCohort) -> None:
    summary = run(cohort)
    record = json.loads(cohort.record("s1").read_text())
    (notice,) = [note for note in record["stages"]["heatmap"]["notes"] if note["code"] == "uncoloured"]
    count, words = notice["counts"]["uncoloured"], notice["words"]
    assert 0 < count < 48 == notice["counts"]["patches"]  # patches lie on the whole slide, its glass included
    assert record["summary"]["uncoloured"] == count
    row = cohort.process_list()["s1"]
    assert row["uncoloured"] == str(count)
    assert words in row["notes"]
    assert words in summary_text(summary)
    exports = cohort.production / "a" / "exports"
    assert notice in json.loads((exports / "s1.geojson").read_text())["notices"]
    with tifffile.TiffFile(exports / "s1_overlay.ome.tif") as tiff:
        described = tifffile.xml2dict(tiff.ome_metadata or "")["OME"]["Image"]["Description"]
    assert words in described.split("\n")
    again = run(cohort)
    assert again.reused == ["s1"]
    assert words in summary_text(again)


def test_counts_of_a_picture_that_is_reused_stay(cohort: SmallCohort) -> None:
    run(cohort)
    before = cohort.process_list()["s1"]["uncoloured"]
    (cohort.raw / "a" / "s1" / "s1_blockmap.h5").unlink()
    assert "heatmap" not in (done := run(cohort).stage_seconds)
    assert "attention" in done
    assert cohort.process_list()["s1"]["uncoloured"] == before != ""


def test_pictures_are_drawn_anew_when_notices_of_earlier_stages_change(cohort: SmallCohort) -> None:
    run(cohort)
    change_notes(cohort, "segment", "the words of an earlier version")
    assert run(cohort).reused == ["s1"]
    change_notes(cohort, "segment", {"code": "frame", "words": "outlines moved by (512, 256)"})
    assert set(run(cohort).stage_seconds) == {"heatmap", "exports"}
    assert "outlines moved by (512, 256)" in cohort.process_list()["s1"]["notes"]
    geojson = json.loads((cohort.production / "a" / "exports" / "s1.geojson").read_text())
    assert {"code": "frame", "words": "outlines moved by (512, 256)"} in geojson["notices"]
    assert run(cohort).reused == ["s1"]


def test_the_slide_without_colours_has_the_size_of_the_map(cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"] = {"mpp": 2.0, "figure": False, "save_ext": "png"}
    cohort.config["export_arguments"] = {}
    run(cohort)
    (orig,) = cohort.production.glob("a/s1_orig_*.png")
    (heatmap,) = cohort.production.glob("a/s1_*_roi_*.png")
    assert Image.open(orig).size == Image.open(heatmap).size == (256, 192)


def test_a_slide_that_does_not_fit_its_format_is_saved_smaller_beside_its_region(cohort: SmallCohort) -> None:
    size = (17_000, 256)  # WebP ends at 16,383
    make_single_level(cohort.slides / "s1.tif", size)
    write_features(cohort.features / "s1.h5", 1, coords=grid_coords(size)[:20])
    cohort.rows = [{"slide_id": "s1", "label": "a", "x1": "0", "y1": "0", "x2": "256", "y2": "256"}]
    changes = {"use_roi": True, "save_ext": "webp", "segment": False, "figure": True}
    cohort.config["heatmap_arguments"].update(changes)
    cohort.config["export_arguments"] = {}
    run(cohort)
    (orig,) = cohort.production.glob("a/s1_orig_*.webp")
    assert Image.open(orig).size == (8500, 128)
    notes = cohort.process_list()["s1"]["notes"]
    assert "does not fit WEBP at level 0 (17000 x 256 pixels): drawn at 1/2" in notes


def test_a_region_of_outlines_holds_the_patches_whose_centre_is_inside(cohort: SmallCohort, tmp_path: Path) -> None:
    # The first two patches begin left of the outline; the hole holds the centre of one patch and no other.
    outline = [[60, 0], [384, 0], [384, 256], [60, 256], [60, 0]]
    hole = [[190, 60], [200, 60], [200, 70], [190, 70], [190, 60]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [outline, hole]}, "properties": {}}
    (tmp_path / "roi").mkdir()
    (tmp_path / "roi" / "s1.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    cohort.config["data_arguments"]["roi_dir"] = str(tmp_path / "roi")
    cohort.config["heatmap_arguments"].update(
        {"use_roi": True, "segment": False, "alpha": 1.0, "blank_canvas": True, "save_ext": "png", "figure": True}
    )
    cohort.config["export_arguments"] = {}
    run(cohort)
    (path,) = cohort.production.glob("a/s1_*_roi_1_*.png")
    picture = np.asarray(Image.open(path))
    assert picture.shape == (256, 384, 3)  # whole patches, beyond the outline's box
    coloured = (picture != 255).any(axis=2)
    expected = np.ones((256, 384), bool)
    expected[:128, 128:256] = False  # the patch at (128, 0), whose centre (192, 64) lies in the hole
    np.testing.assert_array_equal(coloured, expected)
    assert cohort.process_list()["s1"]["uncoloured"] == "0"
    assert "NaN" not in cohort.process_list()["s1"]["notes"]


def test_many_notices_that_differ_in_numbers_are_one_line_of_the_summary() -> None:
    notes = {f"s{n}": (Notice("uncoloured", f"{n} of 99 patches are not coloured", uncoloured=n),) for n in range(30)}
    assert _notes(dict(list(notes.items())[:2])) == [
        "  note    s0: 0 of 99 patches are not coloured",
        "  note    s1: 1 of 99 patches are not coloured",
    ]
    assert _notes({**notes, "old": (Notice.read("words of before"),)}) == [
        "  note    s0 and 29 more: 0 of 99 patches are not coloured (or similar; see the column notes)",
        "  note    old: words of before",
    ]


def test_all_notices_stand_at_the_foot_of_the_figure_in_red(tiny_slide: Path) -> None:
    notices = (*(f"notice {n}: {'so many words that a line is soon full, ' * 3}" for n in range(4)), "the last one")
    coords = np.array([[0, 0], [512, 512]])
    with WholeSlideImage(tiny_slide) as wsi:
        drawing = planned([1.0, 2.0], coords, wsi, segment=False)
        pages = [compose_figure(drawing, np.ones(2), FigureText(notices=said), legend=True)
                 for said in ((), notices, notices * 20, tuple(f"{n}: {notices[0]}" for n in range(40)))]  # fmt: skip
    red = [[text.get_text() for text in page.figure.texts if text.get_color() == BAD] for page in pages]
    assert red[0] == []
    assert red[1] == red[2]
    words = " ".join(red[1][::-1])
    assert [words.find(f"notice {n}:") >= 0 for n in range(4)] == [True] * 4
    assert "the last one" in words
    assert len(red[3]) == 6
    assert red[3][0].startswith("… and more")
    assert pages[1].height > pages[0].height
