"""The viewer in a real browser: what a person sees, moves and reads."""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.scores.normalize import normalize, rank_percentiles
from src.scores.score_file import ScoreFile
from src.viewer.catalog import Catalog, NamedFile, SlideEntry
from src.visualization.palette import colour_table
from tests.viewer_for_tests import RunningViewer, running, write_score_file

pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
]  # fmt: skip
MARKUP = "<img src=x onerror=alert(1)>"
SIZE = 2048, 1536
PATCH = 128

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
    pytest.mark.skipif(
        not (Path(__file__).parents[1] / "src/viewer/page/vendor/openseadragon.min.js").is_file(),
        reason="OpenSeadragon was not fetched (python hatch_build.py)",
    ),
]

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ScoreFile]]:
    folder = tmp_path_factory.mktemp("scores")
    a, b = folder / "a.h5", folder / "b.h5"
    return {"a": (a, write_score_file(a, SIZE)), "b": (b, write_score_file(b, SIZE, step=64, seed=7))}


@pytest.fixture(scope="module")
def viewer(
    tiny_slide: Path, single_level_slide: Path, scores: dict[str, tuple[Path, ScoreFile]], tmp_path_factory: Any
) -> Iterator[RunningViewer]:
    from PIL import Image

    picture = tmp_path_factory.mktemp("pictures") / "tiny_heatmap.png"
    Image.new("RGB", (512, 384), (255, 0, 0)).save(picture)
    outline = tmp_path_factory.mktemp("tissue") / "tiny.geojson"
    ring = [[400, 300], [1600, 300], [1600, 1200], [400, 1200], [400, 300]]
    outline.write_text(
        json.dumps({"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}})
    )
    entries = (
        SlideEntry(
            "tiny",
            tiny_slide,
            scores=(NamedFile(scores["a"][0], "a"), NamedFile(scores["b"][0], "b")),
            pictures=(NamedFile(picture, "picture"),),
            tissue=outline,
            cells={"site": "2"},
            status="processed",
            label="tumor",
            prediction="tumor",
            probability=0.75,
        ),
        SlideEntry("single", single_level_slide, cells={"site": "10"}, label="normal", prediction="tumor"),
        SlideEntry(MARKUP, None, cells={"site": "9"}, status="failed", problem="open: slide not found"),
    )
    with running(Catalog("test", entries, ("site",))) as started:
        yield started


@pytest.fixture
def open_page(browser: Any, viewer: RunningViewer) -> Iterator[Open]:
    """Open the page at a view; afterwards no error may have been on its console and no request left the
    machine.
    """
    contexts, faults = [], []

    def open_it(view: str = "", *, size: tuple[int, int] = (1200, 800), link: str | None = None, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        # The tests read pixels back, which the page does not do and the browser advises against.
        advice = "willReadFrequently"
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" or advice not in m.text else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        allowed = (f"http://127.0.0.1:{viewer.port}/", "data:", "blob:", "file:")
        page.on("request", lambda request: None if request.url.startswith(allowed) else faults.append(request.url))
        page.goto((link or viewer.link) + (f"#{view}" if view else ""))
        page.wait_for_selector("html[data-ready=true]", timeout=20000)
        settle(page)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []


def settle(page: Any, seconds: float = 10) -> None:
    """Wait until all panes stand still with all their tiles."""
    still = """!heatmapViewer.busy && heatmapViewer.panes.every(p => p.isOpen && !p.heat.moving()
        && p.viewer.world.getItemAt(0).getFullyLoaded())"""
    end = time.monotonic() + seconds
    while not page.evaluate(still):
        assert time.monotonic() < end, "the panes did not come to rest"
        page.wait_for_timeout(40)
    page.wait_for_timeout(80)


def places(page: Any) -> list[list[float]]:
    return page.evaluate("""heatmapViewer.panes.map(p => { const v = p.viewer.viewport, c = v.getCenter(true);
        return [c.x, c.y, v.getZoom(true) * p.width, v.getRotation(true)]; })""")


def assert_in_lockstep(page: Any, panes: int = 3) -> None:
    first, *others = places(page)
    assert len(others) == panes - 1
    for other in others:
        assert np.allclose(first, other, rtol=0, atol=1e-9), (first, other)


def pixel_at(page: Any, pane: int, x_l0: float, y_l0: float) -> list[int]:
    """The heat canvas's colour over a level-0 point."""
    return page.evaluate(
        """([pane, x, y]) => { const heat = heatmapViewer.panes[pane].heat, g = heat.geometry();
        const left = Math.floor((x - g.x) * g.scale + g.middleX), top = Math.floor((y - g.y) * g.scale +
        g.middleY); return [...heat.canvas.getContext('2d').getImageData(left, top, 1, 1).data]; }""",
        [pane, x_l0, y_l0],
    )


def go_to(page: Any, x: float, y: float, scale: float) -> None:
    page.evaluate("([x, y, scale]) => heatmapViewer.lockstep.goTo({x, y, scale}, true)", [x, y, scale])
    settle(page)


def set_view(page: Any, **change: Any) -> None:
    page.evaluate("(change) => heatmapViewer.store.set(change)", change)
    page.wait_for_timeout(60)


def test_panes_move_as_one_from_either_side(open_page: Open) -> None:
    page = open_page()
    boxes = [page.locator(".stage").nth(i).bounding_box() for i in range(2)]
    start = places(page)[0]
    for box in boxes:
        x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5
        page.mouse.move(x, y)
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(90)
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
    settle(page)
    assert_in_lockstep(page)


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_patch_has_its_colour_at_every_zoom_and_ends_at_its_edge(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]], ratio: int
) -> None:
    page = open_page("cmap=viridis", device_scale_factor=ratio)
    written = scores["a"][1]
    coords = written.grid.coords_l0
    shares = normalize(written.scores.values[:, 0], "percentile").values
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
    row = min(int(normalize(written.scores.values[:, 0], "percentile").values[index] * 256), 255)
    assert np.abs(np.array(seen[:3]) - colour_table("viridis")[row]).max() <= 2


def test_overlapping_patches_show_their_mean(open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]) -> None:
    page = open_page("panes=2.0&cmap=gray")
    written = scores["b"][1]
    shares = np.floor(normalize(written.scores.values[:, 0], "percentile").values * 65536)
    coords = written.grid.coords_l0
    for point in ((700, 500), (1000, 900), (30, 30)):
        inside = ((coords <= point) & (np.array(point) < coords + PATCH)).all(1)
        expected = int(np.floor(np.minimum(shares[inside], 65535).mean())) >> 8
        go_to(page, *point, 1.0)
        assert abs(pixel_at(page, 0, *point)[0] - expected) <= 1


@pytest.mark.parametrize("scale", [0.02, 0.5, 1.37])
def test_rasters_are_the_exact_mean_of_the_patches_on_each_pixel(open_page: Open, scale: float) -> None:
    rng = np.random.default_rng(5)
    coords = rng.integers(-300, 2300, (400, 2))
    values = rng.integers(-1, 65536, 400)
    values[::50] = -1  # without a score
    patch, x0, y0, width, height = 144, 37.25, -20.5, 90, 70
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
    page = open_page()
    out = page.evaluate(
        """async ([coords, values, patch, view]) => { const r = await import('/page/js/raster.js');
        const xs = Int32Array.from(coords, (c) => c[0]), ys = Int32Array.from(coords, (c) => c[1]);
        const patches = {xs, ys, byTop: r.orderByTop(ys), width: patch, height: patch};
        return [...r.rasterise(patches, Int32Array.from(values), view)]; }""",
        [coords.tolist(), values.tolist(), patch, {"x": x0, "y": y0, "scale": scale, "width": width, "height": height}],
    )
    np.testing.assert_array_equal(np.array(out).reshape(height, width), expected)


def test_controls_change_the_picture_within_fifty_milliseconds(open_page: Open) -> None:
    page = open_page("cmap=viridis")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    snapshot = """() => { const c = heatmapViewer.panes[1].heat.canvas, d = c.getContext('2d').getImageData(0,
    0, c.width, c.height).data;
        let sum = 0, shown = 0; for (let i = 0; i < d.length; i += 4) { sum += d[i] * 3 + d[i + 1] * 5 + d[i +
        2] * 7; shown += d[i + 3] > 0; } return [sum, shown]; }"""
    seen = [page.evaluate(snapshot)]
    timed = """async (change) => { const app = heatmapViewer, times = [];
        const before = Object.fromEntries(Object.keys(change).map((key) => [key, app.view[key]]));
        const set = (values) => new Promise((done) => { app.listeners.colours =
        app.listeners.colours.concat(done);
            app.store.set(values); });
        for (let i = 0; i < 3; i++) {  // this machine does other things too: the best of three
            const begin = performance.now();
            await set(change);
            times.push(performance.now() - begin);
            if (i < 2) await set(before);
        }
        return Math.min(...times); }"""
    changes: list[dict[str, Any]] = [
        {"cmap": "inferno"}, {"threshold": 0.5}, {"low": 0.2}, {"norm": "minmax"}, {"norm": "robust"}, {"smooth": True},
        {"norm": "softmax"}, {"cold": True}, {"inside": True},
    ]  # fmt: skip
    for change in changes:
        assert page.evaluate(timed, change) < 50, change
        now = page.evaluate(snapshot)
        assert now != seen[-1], change
        seen.append(now)
    assert seen[2][1] == pytest.approx(seen[1][1] / 2, rel=0.05)  # half the patches lie below the median
    page.evaluate(timed, {"opacity": 0.25})
    assert page.evaluate("heatmapViewer.panes[1].heat.canvas.style.opacity") == "0.25"
    assert requests == []


def test_the_controls_themselves_work(open_page: Open) -> None:
    page = open_page()
    page.select_option("#cmap", "magma")
    page.select_option("#norm", "fixed")
    page.fill("#number-fixedLow", "-1.5")
    page.fill("#number-fixedHigh", "2.5")
    page.keyboard.press("Tab")
    assert "fixed range, clipped: −1.5 to 2.5" in page.inner_text(".legend")
    page.locator("#range-threshold").fill("0.25")
    page.check("#check-smooth")
    handle = page.locator(".handle.high")
    handle.focus()
    page.keyboard.press("PageDown")
    view = page.evaluate("heatmapViewer.view")
    assert {key: view[key] for key in ("cmap", "norm", "fixedLow", "fixedHigh", "threshold", "smooth", "high")} == {
        "cmap": "magma", "norm": "fixed", "fixedLow": -1.5, "fixedHigh": 2.5, "threshold": 0.25, "smooth": True,
        "high": 0.9,
    }  # fmt: skip
    box = page.locator(".handles").bounding_box()
    grip = page.locator(".handle.threshold").bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, grip["y"] + 10, steps=3)
    page.mouse.up()
    assert 0.3 < page.evaluate("heatmapViewer.view.threshold") < 0.7


def test_normalisation_equals_the_programs_own(open_page: Open) -> None:
    cases = {
        "plain": np.random.default_rng(1).normal(size=500),
        "ties": np.random.default_rng(2).integers(0, 4, 60),
        "holes": np.array([0.5, np.nan, -2, np.inf, 3, 0.5, -np.inf]),
        "constant": np.full(9, 0.25),
        "one": np.array([0.7]),
        "centred": np.random.default_rng(3).normal(size=80) + 1,
    }
    page = open_page()
    for name, numbers in cases.items():
        for method in ("percentile", "minmax", "robust", "softmax", "none"):
            values = numbers.astype(np.float32)
            center = 0.0 if name == "centred" else None
            expected = normalize(values, method, center=center, kind="attention_logit")
            out = page.evaluate(
                """async ([values, method, center]) => {
                const n = await import('/page/js/normalize.js'), raw = Float32Array.from(values.map(Number));
                const scale = n.makeScale(n.sortedFinite(raw), {method, kind: 'attention_logit', center});
                return {shares: [...raw].map((v) => Number.isFinite(v) ? scale.forward(v) : null), ...scale};
                }""",
                [[str(float(v)).replace("inf", "Infinity") for v in values], method, center is not None],
            )
            shares = [np.nan if share is None else share for share in out["shares"]]
            np.testing.assert_allclose(shares, expected.values, rtol=0, atol=1e-9, err_msg=f"{name} {method}")
            ends = pytest.approx((expected.vmin, expected.vmax), rel=1e-6)
            assert (out["low"], out["high"]) == ends, (name, method)
            assert out["label"].split(":")[0] == expected.label.split(":")[0]
            assert out["unit"] == expected.unit


def test_the_pointer_reads_the_score_files_own_numbers(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]
) -> None:
    page = open_page()
    written = scores["a"][1]
    values = written.scores.values[:, 0]
    index = int(np.argsort(-values)[4])
    x, y = (written.grid.coords_l0[index] + PATCH // 2).tolist()
    go_to(page, x, y, 0.4)
    box = page.locator(".stage").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#tip:not([hidden])")
    assert page.get_attribute("#tip", "data-patch") == str(index)
    assert np.float32(page.get_attribute("#tip", "data-value")) == values[index]
    text = page.inner_text("#tip").replace("\u202f", "").replace("\u2212", "-")
    assert f"rank 5 of {len(values)}" in text
    assert f"{rank_percentiles(values)[index]:.4g}th percentile" in text
    corner = written.grid.coords_l0[index]
    assert f"x {corner[0]}, y {corner[1]}" in text
    page.mouse.move(5, 5)
    page.wait_for_selector("#tip", state="hidden")


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


def test_the_colour_bar_states_name_kind_class_normalisation_and_range(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]
) -> None:
    page = open_page("panes=slide;1.1&norm=minmax&center=0")
    values = scores["a"][1].extra[0].values[:, 1]
    text = page.inner_text(".legend").replace("\u2212", "-")
    for part in ("contribution", "contribution to the class logit", "class tumor", "minimum to maximum of the slide"):
        assert part in text
    assert f"scores {values.min():.4g} to {values.max():.4g}, {len(values)} patches" in text
    page.select_option("#class-menu", label="normal")
    page.wait_for_timeout(150)
    assert "class normal" in page.inner_text(".legend")


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
    page.wait_for_timeout(350)
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


def test_compare_shows_another_model_and_then_the_difference(
    open_page: Open, scores: dict[str, tuple[Path, ScoreFile]]
) -> None:
    page = open_page("panes=0.0;2.0")
    page.keyboard.press("c")
    page.wait_for_selector(".panes-3")
    settle(page)
    assert page.evaluate("heatmapViewer.contents") == ["0.0", "2.0", "0.0-2.0"]
    a, b = scores["a"][1], scores["b"][1]
    shares = [np.floor(normalize(f.scores.values[:, 0], "percentile").values * 65536) for f in (a, b)]
    point = (1000, 900)
    go_to(page, *point, 1.0)
    means = []
    for written, share in zip((a, b), shares, strict=True):
        coords = written.grid.coords_l0
        inside = ((coords <= point) & (np.array(point) < coords + PATCH)).all(1)
        means.append(np.floor(np.minimum(share[inside], 65535).mean()))
    row = min(int((65536 + means[0] - means[1]) / 2) * 256 >> 16, 255)
    colour = colour_table("coolwarm")[row].astype(int)
    assert np.abs(np.array(pixel_at(page, 2, *point)[:3]) - colour).max() <= 2
    assert "difference of percentiles" in page.locator(".legend").nth(2).inner_text()
    assert_in_lockstep(page)


def test_a_picture_is_stretched_over_the_slide(open_page: Open) -> None:
    page = open_page("panes=slide;p4&opacity=1")
    page.wait_for_timeout(400)
    inside = """([x, y]) => { const p = heatmapViewer.panes[1], g = p.heat.geometry(), c =
    p.viewer.drawer.canvas;
        return [...c.getContext('2d').getImageData((x - g.x) * g.scale + g.middleX, (y - g.y) * g.scale +
        g.middleY, 1, 1).data]; }"""
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
    below = picture[-110:]  # the colour bar runs from the first colour to the last
    for colour in ends:
        assert (np.abs(below - colour).max(axis=2) <= 2).any()


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
    page.wait_for_timeout(80)
    assert not page.evaluate(lines)


def test_narrow_screens_stack_the_panes(open_page: Open) -> None:
    page = open_page("panes=slide;0.0", size=(420, 800))
    first, second = (page.locator(".pane").nth(i).bounding_box() for i in range(2))
    assert second["y"] >= first["y"] + first["height"]
    assert first["width"] == pytest.approx(420, abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_every_control_a_name(open_page: Open, scheme: str) -> None:
    page = open_page("panes=slide;0.0", color_scheme=scheme)
    pairs = page.evaluate("""() => { const style = getComputedStyle(document.documentElement);
        const of = (name) => style.getPropertyValue(name).trim();
        return [['--text', '--surface'], ['--text', '--raised'], ['--soft', '--surface'], ['--soft',
        '--ground'],
          ['--soft', '--raised'], ['--bad', '--surface'], ['--good', '--surface'], ['--on-accent',
          '--accent'], ['--warn-text', '--warn-ground']].map((pair) => pair.map(of)); }""")
    for text, ground in pairs:
        assert _contrast(text, ground) >= 4.5, (text, ground)
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, select, input, [role=slider]')]
        .filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') ||
        e.closest('label')?.textContent.trim())) .map((e) => e.outerHTML)""")
    assert unnamed == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def _contrast(a: str, b: str) -> float:
    """WCAG's contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_an_exported_page_works_offline_with_the_same_numbers(
    open_page: Open, viewer: RunningViewer, scores: dict[str, tuple[Path, ScoreFile]], tmp_path: Path
) -> None:
    from src.viewer.export_html import export_html

    said = export_html(viewer.app.content.catalog, tmp_path / "tiny.html", longest_px=1024)
    assert said.startswith("tiny at 1024 x 768 pixels with 5 maps")
    page = open_page("panes=slide;0.0&cmap=viridis", link=(tmp_path / "tiny.html").as_uri())
    written = scores["a"][1]
    index = 52
    x, y = (written.grid.coords_l0[index] + PATCH // 2).tolist()
    go_to(page, x, y, 0.5)
    row = min(int(normalize(written.scores.values[:, 0], "percentile").values[index] * 256), 255)
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
