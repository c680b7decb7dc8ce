"""Marks, measures and reading together: what is drawn, kept, carried to a second slide, and shown again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.viewer.catalog import Beside, Catalog, NamedFile, SlideEntry
from mil_heatmaps.viewer.reader_notes import ReaderNotes
from tests.helpers.browser import PATCH, SIZE, Open, go_to, new_page, settle, show, wait_until
from tests.helpers.viewer import RunningViewer, running, write_score_file

AFFINE = np.array([[0.25, 0.02, 30.0], [-0.02, 0.25, 20.0], [0, 0, 1]])
"""From the slide to the one beside it."""
SAVED = """(({sheet}) => sheet.stamp !== undefined && sheet.saved === sheet.features)(heatmapViewer.tool.store)"""


@pytest.fixture(scope="module")
def viewer(
    browser: Any, tiny_slide: Path, single_level_slide: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningViewer]:
    folder = tmp_path_factory.mktemp("reading")
    write_score_file(folder / "a.h5", SIZE)
    outline = folder / "tissue.geojson"
    ring = [[400, 300], [1600, 300], [1600, 1200], [400, 300]]
    outline.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    entries = (
        SlideEntry("tiny", tiny_slide, (NamedFile(folder / "a.h5", "a"),), tissue=outline),
        SlideEntry("other", single_level_slide),
    )
    catalog = Catalog("reading", entries, beside=Beside(single_level_slide, AFFINE.tolist()))
    with running(catalog, notes=ReaderNotes(folder / "marks")) as started:
        yield started


def marks_of(viewer: RunningViewer) -> list[dict[str, Any]]:
    assert viewer.app.notes is not None
    features: list[dict[str, Any]] = json.loads((viewer.app.notes.folder / "tiny.geojson").read_text())["features"]
    return features


def test_every_tool_draws_what_the_pointer_shows_in_slide_pixels(open_page: Open, viewer: RunningViewer) -> None:
    page = open_page("panes=slide;0.0&slide=tiny")
    go_to(page, 1000, 700, 0.25)
    box = page.locator(".stage").nth(1).bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        """Where a point of the slide is on the screen."""
        return box["x"] + box["width"] / 2 + (x - 1000) / 4, box["y"] + box["height"] / 2 + (y - 700) / 4

    def drag(*points: tuple[float, float]) -> None:
        page.mouse.move(*at(*points[0]))
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*at(*point))
        page.mouse.up()

    page.fill("[aria-label='Class of new marks']", "Tumour")
    page.locator("[aria-label='Class of new marks']").blur()
    corners = [(700, 500), (1300, 500), (1300, 900)]
    page.click("[data-tool=polygon]")
    for corner in corners:
        page.mouse.click(*at(*corner))
    page.keyboard.press("Enter")
    page.click("[data-tool=freehand]")
    line = [(800, 400), (1000, 320), (1200, 400), (1000, 600)]
    drag(*line)
    page.click("[data-tool=point]")
    page.mouse.click(*at(900, 700))
    page.fill("[aria-label='Note of the chosen mark']", "mitosis <b>")
    page.locator("[aria-label='Note of the chosen mark']").blur()
    page.click("[data-tool=distance]")
    drag((800, 700), (1000, 850), (1200, 1000))
    assert page.inner_text("#mark-words") == "Distance 250 µm"  # a 3-4-5 triangle of 500 px
    page.click("[data-tool=area]")
    for corner in corners:
        page.mouse.click(*at(*corner))
    page.mouse.dblclick(*at(*corners[2]))
    words = page.inner_text("#mark-words")
    assert words.startswith("Area 30000 µm² · outline")
    centres = viewer.app.content.layer(0, 0).source.grid.coords_l0 + PATCH / 2
    inside = (centres[:, 0] < 1300) & (centres[:, 1] > 500) & ((centres[:, 0] - 700) / 1.5 > centres[:, 1] - 500)
    values = viewer.app.content.layer(0, 0).scores.values[:, 0]
    top = np.argsort(-values)[: round(len(values) / 10)]
    enrichment = inside[top].mean() / inside.mean()
    assert f"{inside.sum()} of {len(values)} patches" in words
    assert f"highest tenth {enrichment:.2f} times as often inside" in words
    wait_until(page, SAVED)
    polygon, freehand, point = marks_of(viewer)
    assert {mark["properties"]["classification"]["name"] for mark in (polygon, freehand, point)} == {"Tumour"}
    assert polygon["properties"]["classification"]["color"] == [200, 0, 0]
    assert polygon["properties"]["objectType"] == "annotation"
    np.testing.assert_allclose(polygon["geometry"]["coordinates"][0], [*corners, corners[0]], atol=4)
    np.testing.assert_allclose(freehand["geometry"]["coordinates"][0], [*line, line[0]], atol=4)
    assert point["geometry"]["type"] == "Point"
    np.testing.assert_allclose(point["geometry"]["coordinates"], (900, 700), atol=4)
    assert point["properties"]["name"] == "mitosis <b>"
    page.evaluate("heatmapViewer.tool.store.undo()")  # the note
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("n")
    settle(page)
    page.click("[data-tool=distance]")
    page.evaluate("heatmapViewer.slide.slide.mpp = null")
    drag((1000, 700), (1200, 700))
    assert "px (pixel size unknown)" in page.inner_text("#mark-words")
    assert marks_of(viewer)[2]["properties"].get("name", "") == ""  # saved before the slide was left


def test_marks_of_two_who_draw_at_once_are_all_kept(browser: Any, viewer: RunningViewer) -> None:
    def box(name: str, side: int = 50) -> dict[str, Any]:
        ring = [[0, 0], [side, 0], [side, side], [0, 0]]
        return {"type": "Feature", "id": name, "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    notes = viewer.app.notes
    assert notes is not None
    notes.save_marks("tiny", [box("changed"), box("theirs to drop"), box("mine to drop")], notes.marks("tiny")["stamp"])
    page = new_page(browser)  # its console tells of the refusals
    show(page, viewer.link + "#panes=slide&slide=tiny")
    wait_until(page, SAVED)
    notes.save_marks("tiny", [box("changed"), box("mine to drop"), box("new of theirs")], notes.marks("tiny")["stamp"])
    page.evaluate(
        "([kept, added]) => heatmapViewer.tool.store.set([kept, heatmapViewer.tool.store.features[1], added])",
        [box("changed", 80), box("new of mine")],
    )
    wait_until(page, SAVED)
    found = {mark["id"]: mark["geometry"]["coordinates"][0][1][0] for mark in marks_of(viewer)}
    assert found == {"changed": 80, "new of theirs": 50, "new of mine": 50}
    (notes.folder / "tiny.geojson").write_text("no marks")
    page.evaluate("heatmapViewer.tool.store.set([])")
    wait_until(page, "document.getElementById('marks-section').textContent.includes('Not kept: ')")
    assert (notes.folder / "tiny.geojson").read_text() == "no marks"  # what cannot be read is not written over
    (notes.folder / "tiny.geojson").unlink()
    page.context.close()


def test_what_lies_on_the_slide_goes_with_it_to_the_slide_beside(
    open_page: Open, viewer: RunningViewer, tmp_path: Path
) -> None:
    page = open_page("slide=tiny")
    assert page.evaluate("heatmapViewer.contents") == ["slide", "0.0", "beside"]
    go_to(page, 1000, 700, 0.5)
    place = page.evaluate("""() => { const pane = heatmapViewer.panes[2], view = pane.viewer.viewport,
        c = view.getCenter(true), size = pane.slideSize[0];
        return [c.x * size, c.y * size, view.getZoom(true) * pane.width / size, view.getRotation(true)]; }""")
    scale, turn = np.hypot(0.25, 0.02), np.degrees(np.arctan2(-0.02, 0.25))
    assert place[:3] == pytest.approx([*(AFFINE @ [1000, 700, 1])[:2], 0.5 / scale])
    assert np.cos(np.radians(place[3] + turn)) == pytest.approx(1)  # the same angle, whole turns aside
    ring = [[800, 600], [900, 600], [900, 700], [800, 600]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    mark = {"type": "Feature", "id": "m", "properties": {"name": "mine"}, "geometry": geometry}
    (tmp_path / "in.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [mark]}))
    wait_until(page, SAVED)
    page.set_input_files("#marks-section input[type=file]", tmp_path / "in.geojson")
    wait_until(page, "heatmapViewer.tool.store.features.some((feature) => feature.id === 'm')")
    page.evaluate("heatmapViewer.store.set({gone: 0.1})")
    settle(page)
    with page.expect_download() as download:
        page.click("#marks-section button:text-is('For the slide beside')")
    assert download.value.suggested_filename.startswith("single")
    features = json.loads(Path(download.value.path()).read_text())["features"]
    by_name = {feature["properties"]["name"]: feature["geometry"] for feature in features}
    there = np.column_stack([ring, np.ones(4)]) @ AFFINE.T
    np.testing.assert_allclose(by_name["mine"]["coordinates"][0], there[:, :2])
    assert len(by_name["tissue"]["coordinates"][0]) == 4
    count = len(viewer.app.content.layer(0, 0).scores.values)
    assert len(by_name[f"evidence: {round(count / 10)} patches"]["coordinates"]) == round(count / 10)
    wait_until(page, SAVED)  # a page with marks that are not kept yet asks before it is left


def test_a_way_of_looking_is_kept_and_shown_again(open_page: Open, viewer: RunningViewer) -> None:
    page = open_page("panes=slide&slide=other")
    page.fill("[aria-label=Reader]", "anna")
    page.click("#review-section button:text('Begin')")
    wait_until(page, "document.getElementById('review-progress').textContent === '0 of 2 slides read'")
    settle(page)
    slide = page.inner_text("#slide-name")
    step = "heatmapViewer.reviewing.step()"
    page.evaluate(f"() => {{ clearInterval(heatmapViewer.reviewing.timer); {step}; }}")
    go_to(page, 500, 400, 0.8)
    page.evaluate(step)
    page.evaluate(step)  # nothing has changed
    page.evaluate("heatmapViewer.store.set({panes: 'slide;slide', opacity: 0.3})")
    settle(page)
    go_to(page, 300, 200, 1.2)
    page.evaluate(step)
    page.evaluate("heatmapViewer.reviewing.leave()")
    assert viewer.app.notes is not None
    steps = viewer.app.notes.way("anna", slide)["steps"]
    assert len(steps) == 3
    assert "panes=slide%3Bslide" in steps[2][1]
    page.evaluate("heatmapViewer.store.set({panes: 'slide', opacity: 0.6})")
    settle(page)
    page.evaluate("heatmapViewer.lockstep.home(true)")
    page.evaluate("heatmapViewer.reviewing.replay()")
    settle(page)
    place = page.evaluate("heatmapViewer.lockstep.place()")
    assert [place["x"], place["y"], place["scale"]] == pytest.approx([300, 200, 1.2])
    assert page.evaluate("[heatmapViewer.panes.length, heatmapViewer.view.opacity]") == [2, 0.3]
    viewer.app.notes.save_review("bert", slide, {"verdict": "unsure"}, ["tiny", "other"])
    page.locator("#review-section button", has_text="not plausible").click()
    wait_until(page, "document.getElementById('review-progress').textContent === '1 of 2 slides read'")
    page.click("#review-section button:text('Agreement')")
    told = "document.getElementById('review-section').textContent.includes"
    wait_until(page, f"{told}('anna and bert: Cohen\\'s κ 0.00, 1 slides')")
    wait_until(page, f"{told}('{slide}: anna not plausible, bert unsure')")
