"""What is to know of a slide stands in the viewer's list and panel."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.notices import Notice
from mil_heatmaps.records.slide_record import SlideRecord, StageRecord
from mil_heatmaps.viewer.run_folder import catalog_of_runs
from tests.helpers.browser import SIZE, Open
from tests.helpers.viewer import RunningViewer, running, write_score_file

WORDS = "2 of 6 patches are not coloured: 2 outside the <b>tissue</b>"


@pytest.fixture(scope="module")
def viewer(browser: Any, tmp_path_factory: pytest.TempPathFactory, tiny_slide: Path) -> Iterator[RunningViewer]:
    root = tmp_path_factory.mktemp("run")
    (root / "slides").mkdir()
    for name in ("a", "b"):
        shutil.copy(tiny_slide, root / "slides" / f"{name}.tif")
        home = root / "E" / "tumor" / name
        write_score_file(home / f"{name}_blockmap.h5", SIZE)
        record = SlideRecord(home / "record.json", name, "processed")
        said = [Notice("uncoloured", WORDS, uncoloured=2)] if name == "a" else []
        record.stages["heatmap"] = StageRecord.of({}, [], home, 0.0, said)
        record.save()
    (root / "E" / "config.yaml").write_text(f"data_arguments: {{data_dir: {root / 'slides'}}}\n")
    rows = ("slide_id,status,uncoloured,notes", f'a,processed,2,"{WORDS}"', "b,processed,0,")
    (root / "E" / "process_list.csv").write_text("\n".join(rows) + "\n")
    with running(catalog_of_runs([root / "E"])) as started:
        yield started


def test_notices_stand_in_list_and_panel_and_go_with_the_slide(open_page: Open) -> None:
    page = open_page()
    assert page.locator("#notices li").all_text_contents() == [WORDS]
    marks = page.locator("#cohort .badge.notice")
    assert marks.count() == 1
    assert marks.get_attribute("title") == WORDS
    page.locator("#cohort button[data-slide='1']").click()
    page.locator("#notices").wait_for(state="hidden")
    assert page.locator("#slide-name").text_content() == "b"
