"""Views in a real browser: they move as one, and every patch has its colour where it lies."""

from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.scores.normalize import normalize
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.visualization.palette import colour_table
from tests.helpers.browser import (
    PATCH,
    SIZE,
    Open,
    assert_in_lockstep,
    go_to,
    pixel_at,
    places,
    settle,
    wait_until,
)


def test_panes_move_as_one_from_either_side(open_page: Open) -> None:
    page = open_page()
    boxes = [page.locator(".stage").nth(i).bounding_box() for i in range(2)]
    start = places(page)[0]
    for box in boxes:
        x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5
        page.mouse.move(x, y)
        page.mouse.wheel(0, -400)
        assert_in_lockstep(page)  # while it moves
        settle(page)
        assert_in_lockstep(page)
        page.mouse.down()
        page.mouse.move(x + 60, y - 40, steps=4)
        assert_in_lockstep(page)  # in the middle of a drag
        page.mouse.up()
        settle(page)
        assert_in_lockstep(page)
    assert places(page)[0][2] > 1.5 * start[2]  # two turns of the wheel
    page.keyboard.press("r")
    settle(page)
    assert_in_lockstep(page)
    assert places(page)[1][3] == 90
    page.keyboard.press("j")
    settle(page)
    assert_in_lockstep(page)
    page.set_viewport_size({"width": 1001, "height": 700})
    wait_until(page, """heatmapViewer.panes.every(p => p.viewer.viewport.getContainerSize().x ===
        p.viewer.container.clientWidth)""")
    settle(page)
    assert_in_lockstep(page)


def test_turning_keeps_colours_on_their_patches(open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]) -> None:
    page = open_page("cmap=viridis")
    written = scores["a"][1]
    index = 100
    x, y = (written.grid.coords_l0[index] + PATCH // 2).tolist()
    go_to(page, x + 200, y, 0.5)
    page.keyboard.press("r")
    settle(page)
    # A quarter turn clockwise: what was left of the middle is now above it.
    seen = page.evaluate("""() => { const heat = heatmapViewer.panes[1].heat, g = heat.geometry();
        return [...heat.canvas.getContext('2d').getImageData(Math.round(g.middleX), Math.round(g.middleY -
        100), 1, 1).data]; }""")
    row = min(int(normalize(written.scores.values[:, 0], "percentile").shades[index] * 256), 255)
    assert np.abs(np.array(seen[:3]) - colour_table("viridis")[row]).max() <= 2


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_patch_has_its_colour_at_every_zoom_and_ends_at_its_edge(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]], ratio: int
) -> None:
    page = open_page("cmap=viridis", device_scale_factor=ratio)
    written = scores["a"][1]
    coords = written.grid.coords_l0
    shares = normalize(written.scores.values[:, 0], "percentile").shades
    table = colour_table("viridis")
    for index, scale in ((20, 0.21), (20, 1.7), (75, 0.5), (75, 6.0)):
        x, y = coords[index].tolist()
        go_to(page, x + PATCH, y + PATCH / 2, scale)
        inner = min(PATCH / 2, 60 / scale)
        points = ((index, -inner), (index, -2 / scale), (index + 1, 2 / scale), (index + 1, inner))
        for patch, at_x in ((patch, x + PATCH + by) for patch, by in points):
            row = min(int(shares[patch] * 256), 255)
            assert pixel_at(page, 1, at_x, y + PATCH / 2) == [*table[row].tolist(), 255], (patch, scale)
    assert page.evaluate("heatmapViewer.panes[1].heat.canvas.width / heatmapViewer.panes[1].width") == ratio


def test_overlapping_patches_show_their_mean(open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]) -> None:
    page = open_page("panes=2.0&cmap=gray")
    written = scores["b"][1]
    shares = np.floor(normalize(written.scores.values[:, 0], "percentile").shades * 65536)
    coords = written.grid.coords_l0
    for point in ((700, 500), (1000, 900), (30, 30)):
        inside = ((coords <= point) & (np.array(point) < coords + PATCH)).all(1)
        expected = int(np.floor(np.minimum(shares[inside], 65535).mean())) >> 8
        go_to(page, *point, 1.0)
        assert abs(pixel_at(page, 0, *point)[0] - expected) <= 1


def test_rasters_are_the_exact_mean_of_the_patches_on_each_pixel(open_page: Open) -> None:
    rng = np.random.default_rng(5)
    coords = rng.integers(-300, 2300, (400, 2))
    values = rng.integers(-1, 65536, 400)
    values[::50] = -1  # without a score
    patch, x0, y0, width, height = 144, 37.25, -20.5, 90, 70
    page = open_page()
    for scale in (0.02, 0.5, 1.37):
        total, count = np.zeros((height, width), np.int64), np.zeros((height, width), np.int64)
        for (x, y), value in zip(coords, values, strict=True):
            if value < 0:
                continue
            left, top = (int(np.floor((at - start) * scale + 0.5)) for at, start in ((x, x0), (y, y0)))
            right, bottom = (int(np.floor((at + patch - start) * scale + 0.5)) for at, start in ((x, x0), (y, y0)))
            rows = slice(max(top, 0), max(bottom, top + 1, 0))
            columns = slice(max(left, 0), max(right, left + 1, 0))
            total[rows, columns] += value
            count[rows, columns] += 1
        expected = np.where(count > 0, total // np.maximum(count, 1), -1)
        view = {"x": x0, "y": y0, "scale": scale, "width": width, "height": height}
        out = page.evaluate(
            """async ([coords, values, patch, view]) => { const r = await import('/page/js/raster.js');
            const xs = Int32Array.from(coords, (c) => c[0]), ys = Int32Array.from(coords, (c) => c[1]);
            const patches = {xs, ys, byTop: r.orderByTop(ys), width: patch, height: patch};
            return [...r.rasterise(patches, Int32Array.from(values), view)]; }""",
            [coords.tolist(), values.tolist(), patch, view],
        )
        np.testing.assert_array_equal(np.array(out).reshape(height, width), expected, err_msg=f"scale {scale}")


def test_compare_shows_another_model_and_then_the_difference(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]
) -> None:
    page = open_page("panes=0.0;2.0&diff=1")
    page.keyboard.press("c")
    page.wait_for_selector(".panes-3")
    settle(page)
    assert page.evaluate("heatmapViewer.contents") == ["0.0", "2.0", "0.0-2.0"]
    a, b = scores["a"][1], scores["b"][1]
    shares = [np.floor(normalize(f.scores.values[:, 0], "percentile").shades * 65536) for f in (a, b)]
    point = (1000, 900)
    go_to(page, *point, 1.0)
    means = []
    for written, share in zip((a, b), shares, strict=True):
        coords = written.grid.coords_l0
        inside = ((coords <= point) & (np.array(point) < coords + PATCH)).all(1)
        means.append(np.floor(np.minimum(share[inside], 65535).mean()))
    row = min(int((65536 + means[0] - means[1]) / 2) * 256 >> 16, 255)
    colour = colour_table("BrBG_r")[row].astype(int)
    assert np.abs(np.array(pixel_at(page, 2, *point)[:3]) - colour).max() <= 2
    assert "difference of percentiles" in page.locator(".legend").nth(2).inner_text()
    assert_in_lockstep(page)


def test_a_picture_is_stretched_over_the_slide(open_page: Open) -> None:
    page = open_page("panes=slide;p4&opacity=1")
    inside = """([x, y]) => { const p = heatmapViewer.panes[1], g = p.heat.geometry(), c =
    p.viewer.drawer.canvas;
        return [...c.getContext('2d').getImageData((x - g.x) * g.scale + g.middleX, (y - g.y) * g.scale +
        g.middleY, 1, 1).data]; }"""
    wait_until(page, f"(point) => ({inside})(point)[0] === 255", [20, 20])
    assert page.evaluate(inside, [20, 20]) == [255, 0, 0, 255]
    assert page.evaluate(inside, [SIZE[0] - 20, SIZE[1] - 20]) == [255, 0, 0, 255]
    assert page.evaluate(inside, [SIZE[0] + 40, SIZE[1] - 20])[3] == 0


def test_swipe_divides_the_views_at_the_handle(open_page: Open) -> None:
    page = open_page("mode=swipe&panes=slide;0.0")
    box = page.locator("#panes").bounding_box()
    page.locator(".divider").focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    assert page.evaluate("heatmapViewer.view.swipe") == 20
    under = "([x, y]) => document.elementFromPoint(x, y).closest('.pane').getAttribute('aria-label')"
    middle = box["y"] + box["height"] / 2
    assert page.evaluate(under, [box["x"] + box["width"] * 0.1, middle]) == "View 1"
    assert page.evaluate(under, [box["x"] + box["width"] * 0.3, middle]) == "View 2"
    assert_in_lockstep(page, 2)


def test_outline_and_scale_bar(open_page: Open) -> None:
    page = open_page()
    go_to(page, 1000, 700, 0.5)
    text, width = page.inner_text("#scale-text"), page.locator("#scale-bar").bounding_box()["width"]
    assert text == "100 µm"
    assert width == pytest.approx(100 / 0.5 * 0.5, abs=1)  # 0.5 µm a pixel, half a screen pixel each
    assert page.inner_text("#magnification") == "10×"
    lines = """() => { const c = heatmapViewer.panes[0].marks.canvas;
        return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0); }"""
    assert page.evaluate(lines)
    page.keyboard.press("o")
    wait_until(page, f"!({lines})()")


def test_the_overview_leaves_the_scale_bar_free(open_page: Open) -> None:
    page = open_page()
    for width, height in ((1400, 850), (1000, 700), (700, 600), (360, 800)):
        page.set_viewport_size({"width": width, "height": height})
        for panes in ("slide;0.0", "slide;0.0;1.0", "slide;0.0;1.0;1.1"):
            page.evaluate("(panes) => heatmapViewer.store.set({panes})", panes)
            page.evaluate("heatmapViewer.openSlide(heatmapViewer.number)")  # the overview is made with the panes
            settle(page)
            overview, bar = (page.locator(name).first.bounding_box() for name in (".navigator", "#ruler"))
            beside = bar["x"] + bar["width"] <= overview["x"]
            above = overview["y"] + overview["height"] <= bar["y"] or bar["y"] + bar["height"] <= overview["y"]
            assert beside or above, (panes, width, overview, bar)


def test_neighbours_in_the_strip_are_told_apart(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]
) -> None:
    page = open_page("panes=slide;0.0")
    best = np.sort(scores["a"][1].scores.values[:, 0])[::-1]
    shown = page.locator("#strip .strip-patches").first.locator(".value").all_inner_texts()
    assert shown[:3] == [f"{value:.4g}" for value in best[:3]]
    fits = "(all) => all.every((box) => box.scrollWidth <= box.clientWidth)"
    assert page.locator("#strip .value").evaluate_all(fits)
