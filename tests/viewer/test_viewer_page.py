"""The page in a real browser: patches, slides, addresses, what is taken along."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.scores.normalize import normalize
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.visualization.palette import colour_table
from tests.helpers.browser import (
    MARKUP,
    PATCH,
    SIZE,
    Open,
    assert_in_lockstep,
    go_to,
    pixel_at,
    places,
    set_view,
    settle,
    wait_until,
)
from tests.helpers.viewer import RunningViewer


def test_strip_and_keys_fly_to_patches_by_rank(open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]) -> None:
    page = open_page()
    written = scores["a"][1]
    order = np.argsort(-written.scores.values[:, 0], kind="stable")
    shown = page.eval_on_selector_all("#strip button", "(all) => all.map((b) => Number(b.dataset.patch))")
    assert shown == [*order[:12].tolist(), *order[::-1][:12].tolist()]
    page.locator("#strip button").nth(2).click()
    settle(page)
    for index in (order[2], order[3], order[2]):
        middle = written.grid.coords_l0[index] + PATCH / 2
        assert np.array(places(page)[0][:2]) * SIZE[0] == pytest.approx(middle, abs=1e-6)
        assert_in_lockstep(page)
        assert page.evaluate("heatmapViewer.view.patch") == index
        page.keyboard.press("j" if index == order[2] else "k")
        settle(page)


def test_slides_are_switched_searched_and_sorted(open_page: Open) -> None:
    page = open_page()
    assert page.inner_text("#slide-name") == "tiny"
    names = "(all) => all.map((e) => e.textContent)"
    page.keyboard.press("]")
    page.wait_for_selector("h1:text('single')")
    settle(page)
    assert page.evaluate("heatmapViewer.panes.length") == 1
    page.keyboard.press("[")
    page.wait_for_selector("h1:text('tiny')")
    settle(page)
    assert page.evaluate("heatmapViewer.panes.length") == 3
    page.select_option("#cohort select", "cell:site")
    assert page.eval_on_selector_all(".slide-name", names) == ["tiny", MARKUP, "single"]  # 2, 9, 10: as numbers
    page.select_option("#cohort select", "wrong")
    assert page.eval_on_selector_all(".slide-name", names) == ["single", "tiny", MARKUP]
    page.fill("#cohort input", "failed not")
    assert page.eval_on_selector_all(".slide-name", names) == [MARKUP]
    assert "open: slide not found" in page.inner_text(".slide-problem")
    page.locator(".slides button").click()
    page.wait_for_selector("#no-slide:not([hidden])")
    assert "cannot be shown: open: slide not found" in page.inner_text("#no-slide")
    assert page.locator("#score-section").is_hidden()
    assert page.inner_text("#slide-name") == MARKUP  # as text: an element would have raised an alert
    assert page.locator("#slide-name img").count() == 0


def test_the_address_brings_back_the_view(open_page: Open) -> None:
    page = open_page()
    set_view(page, cmap="inferno", norm="robust", threshold=0.4, opacity=0.9, mode="overlay", panes="slide;2.0")
    settle(page)
    page.evaluate("heatmapViewer.lockstep.goTo({x: 1234.5, y: 678.25, scale: 0.75, angle: 90}, true)")
    settle(page)
    wait_until(page, "location.hash.includes('&r=90')")  # written a moment after the last change
    address = page.url
    assert "token" not in address
    before, view = places(page), page.evaluate("heatmapViewer.view")
    again = open_page(address.split("#")[1])
    assert again.evaluate("heatmapViewer.view") == view
    assert np.allclose(places(again), before, rtol=0, atol=1e-6)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("l")
    page.wait_for_selector("#toast.shown")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.split("#")[1] == address.split("#")[1]
    other = open_page(link=link)  # another browser, let in by the link alone
    assert other.evaluate("heatmapViewer.view") == view


def test_the_region_is_copied_in_slide_pixels(open_page: Open) -> None:
    page = open_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go_to(page, 1000, 700, 2.0)
    page.click("#copy-geojson")
    page.wait_for_selector("#toast.shown")
    feature = json.loads(page.evaluate("navigator.clipboard.readText()"))["features"][0]
    width, height = page.evaluate(
        "[heatmapViewer.panes[0].width, heatmapViewer.panes[0].viewer.container.clientHeight]"
    )
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert ring.min(0) == pytest.approx((1000 - width / 4, 700 - height / 4), abs=1)
    assert ring.max(0) == pytest.approx((1000 + width / 4, 700 + height / 4), abs=1)
    assert ring[0].tolist() == ring[-1].tolist()
    assert feature["properties"]["objectType"] == "annotation"


def test_the_saved_picture_holds_the_panes_scale_and_colour_bar(open_page: Open, tmp_path: Path) -> None:
    from PIL import Image

    page = open_page("panes=slide;0.0&cmap=viridis&opacity=1")
    with page.expect_download() as download:
        page.keyboard.press("s")
    download.value.save_as(tmp_path / "view.png")
    assert download.value.suggested_filename == "tiny_view.png"
    picture = np.asarray(Image.open(tmp_path / "view.png").convert("RGB")).astype(int)
    width = page.evaluate("heatmapViewer.panes[0].width")
    assert picture.shape[1] == 2 * width + 24
    ends = colour_table("viridis")[[0, -1]].astype(int)
    below = picture[-140:]  # the colour bar runs from the first colour to the last
    for colour in ends:
        assert (np.abs(below - colour).max(axis=2) <= 2).any()


def test_narrow_screens_stack_the_panes(open_page: Open) -> None:
    page = open_page("panes=slide;0.0", size=(420, 800))
    first, second = (page.locator(".pane").nth(i).bounding_box() for i in range(2))
    assert second["y"] >= first["y"] + first["height"]
    assert first["width"] == pytest.approx(420, abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_an_exported_page_works_offline_with_the_same_numbers(
    open_page: Open, viewer: RunningViewer, scores: dict[str, tuple[Path, ScoreFile]], tmp_path: Path
) -> None:
    from mil_heatmaps.viewer.export_html import export_html

    said = export_html(viewer.app.content.catalog, tmp_path / "tiny.html", longest_px=1024)
    assert said.startswith("tiny at 1024 x 768 pixels with 5 maps")
    page = open_page("panes=slide;0.0&cmap=viridis", link=(tmp_path / "tiny.html").as_uri())
    written = scores["a"][1]
    index = 52
    x, y = (written.grid.coords_l0[index] + PATCH // 2).tolist()
    go_to(page, x, y, 0.5)
    row = min(int(normalize(written.scores.values[:, 0], "percentile").shades[index] * 256), 255)
    assert pixel_at(page, 1, x, y) == [*colour_table("viridis")[row].tolist(), 255]
    box = page.locator(".stage").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#tip:not([hidden])")
    assert np.float32(page.get_attribute("#tip", "data-value")) == written.scores.values[index, 0]
    page.mouse.wheel(0, -300)
    settle(page)
    assert_in_lockstep(page, 2)
    seen = page.evaluate("""() => { const c = heatmapViewer.panes[0].viewer.drawer.canvas;
        return [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data]; }""")
    assert seen[3] == 255
    page.locator("#strip button img").first.scroll_into_view_if_needed()
    assert page.evaluate("document.querySelector('#strip img').naturalWidth") > 0
    assert math.isfinite(places(page)[0][2])
