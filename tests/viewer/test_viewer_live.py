"""The page while its files change: a run that goes on, a server that stops, a picture, a measurement beside the map."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.viewer import stamps
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry
from mil_heatmaps.viewer.live import LiveCatalog
from tests.helpers.browser import SIZE, new_page, settle, show, wait_until
from tests.helpers.viewer import running, write_score_file

TOY = "explain/toy_abmil_faithfulness.json"


def test_a_run_that_goes_on_is_offered_and_nothing_jumps(
    browser: Any, tiny_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "TRUSTED_S", 0.0)  # every question looks at the file itself
    scores = tmp_path / "a.h5"
    write_score_file(scores, SIZE)
    first = SlideEntry("tiny", tiny_slide, (NamedFile(scores, "a"),), status="processed")
    entries = [first, SlideEntry("two", tiny_slide)]
    live = LiveCatalog(Catalog("run", tuple(entries)), lambda: Catalog("run", tuple(entries)))
    with running(live) as started:
        page = new_page(browser)
        show(page, started.link + "#panes=slide;0.0")
        before = page.inner_text(".legend .range")
        entries[:] = [*entries, SlideEntry("three", tiny_slide), SlideEntry("four", tiny_slide)]
        written = write_score_file(tmp_path / "new.h5", SIZE, seed=9)
        os.replace(tmp_path / "new.h5", scores)
        live.refresh(now=True)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        for words in ("2 more slides", "written again"):
            wait_until(page, f"document.getElementById('news').textContent.includes('{words}')")
        assert page.inner_text(".legend .range") == before
        assert page.locator(".slides li").count() == 2
        answer = page.evaluate("""async () => { const about = heatmapViewer.layers[0];
            return (await fetch(`${heatmapViewer.data.base}/scores/0/1/columns/1?v=${about.stamp}`)).status; }""")
        assert answer == 409  # the new numbers are not given under the old stamp
        page.click("#news button:text-is('Show')")
        wait_until(page, "document.querySelectorAll('.slides li').length === 4")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        old = page.evaluate("heatmapViewer.slide.stamp")
        page.click("#news button:text-is('Show them')")
        wait_until(page, "(old) => heatmapViewer.slide.stamp !== old && heatmapViewer.activeView !== null", old)
        shown = page.evaluate("[...heatmapViewer.activeView.column.values]")
        np.testing.assert_array_equal(np.array(shown, np.float32), written.scores.values[:, 0])
        page.context.close()


def test_a_stopped_viewer_is_said(browser: Any, tiny_slide: Path) -> None:
    with running(Catalog("run", (SlideEntry("tiny", tiny_slide), SlideEntry("two", tiny_slide)))) as started:
        page = new_page(browser)
        show(page, started.link)
    page.keyboard.press("n")
    wait_until(page, "document.getElementById('problems').textContent.includes('Start it again')")
    page.context.close()


def test_a_picture_is_shown_as_drawn_and_a_wrong_shape_is_said(
    browser: Any, tiny_slide: Path, tmp_path: Path
) -> None:
    from PIL import Image

    Image.new("RGB", (400, 400), (255, 0, 0)).save(tmp_path / "square.png")
    entry = SlideEntry("tiny", tiny_slide, pictures=(NamedFile(tmp_path / "square.png", "square"),))
    with running(Catalog("one", (entry,))) as started:
        page = new_page(browser)
        show(page, started.link)
        assert page.evaluate("heatmapViewer.panes[1].picture.opacity") == 1
        assert page.locator("#cmap").is_hidden()
        assert page.locator("#norm").is_hidden()
        assert "another shape" in page.inner_text("#problems")
        page.context.close()


@pytest.mark.parametrize("own_points", [False, True])
def test_faithfulness_stands_beside_the_map_and_its_curve_is_read(
    browser: Any, tiny_slide: Path, tmp_path: Path, golden: Path, own_points: bool
) -> None:
    write_score_file(tmp_path / "tiny_blockmap.h5", SIZE)
    measured = json.loads((golden / TOY).read_text())
    shown = measured
    if own_points:  # as of a map that scores other patches than the others
        points = shown = {key: measured.pop(key) for key in ("removed", "fractions", "random")}
        measured |= {"removed": [0, 1], "fractions": [0.0, 0.5], "random": {}}
        measured["maps"] = {"attention": measured["maps"]["attention"] | points}
    (tmp_path / "tiny_faithfulness.json").write_text(json.dumps(measured))
    entry = SlideEntry("tiny", tiny_slide, (NamedFile(tmp_path / "tiny_blockmap.h5", "scores"),))
    with running(Catalog("one", (entry,))) as started:
        page = new_page(browser)
        show(page, started.link + "#panes=slide;0.0")
        assert "no better than random" in page.locator("#score-menu option").first.inner_text()
        page.evaluate("heatmapViewer.store.set({gone: 0.1})")
        settle(page)
        left = measured["maps"]["attention"]["morf"]["probability"][2]
        said = page.inner_text("#gone-words")
        assert f"Without the top {shown['removed'][2]} of 192 patches" in said
        assert f"{100 * left:.1f}%" in said
        grey = page.evaluate("heatmapViewer.goneFrom(heatmapViewer.panes[1]).length")
        assert grey == shown["removed"][2]
        page.context.close()
