"""The page as a place of work: the slide first, the same place, true names and numbers, a run that goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.viewer.assets import page_dir
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, Region, RunAnswer, SlideEntry
from mil_heatmaps.viewer.reader_notes import ReaderNotes
from tests.helpers.browser import PATCH, SIZE, Open, go_to, settle, show, wait_for_pictures, wait_until
from tests.helpers.viewer import RunningViewer, running, write_score_file


@pytest.fixture(scope="module")
def viewer(browser: Any, tiny_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningViewer]:
    folder = tmp_path_factory.mktemp("work")
    write_score_file(folder / "a.h5", SIZE, slide_id="tiny")
    write_score_file(folder / "b.h5", SIZE, seed=7, slide_id="somebody_else")
    region = Region((300, 200, 900, 800))
    scores = (
        NamedFile(folder / "a.h5", "a", 0, run="first", region=region),
        NamedFile(folder / "b.h5", "b", 1, run="second"),
    )
    answers = (
        RunAnswer("first", "tumor", 0.75, None, "processed"),
        RunAnswer("second", "normal", 0.5, None, "processed"),
    )
    entries = (
        SlideEntry("tiny", tiny_slide, scores, label="tumor", prediction="tumor", probability=0.75, answers=answers),
        *(
            SlideEntry(
                f"TCGA-CR-{number:04d}-01A-01-DX{number % 3}", tiny_slide, label="lung_squamous_cell_carcinoma",
                prediction="lung_adenocarcinoma", probability=number / 400, cells={"site": str(number % 7)},
            )
            for number in range(400)
        ),
    )  # fmt: skip
    with running(Catalog("work", entries, ("site",)), notes=ReaderNotes(folder / "marks")) as started:
        yield started


def test_panes_that_come_and_go_fast_keep_the_place(open_page: Open) -> None:
    page = open_page("panes=slide;0.0")
    page.evaluate("() => Object.defineProperty(document, 'closest', {value: () => null})")
    press = "const press = (key) => document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));"
    for place in (None, (1000, 700, 0.4)):
        for keys in ("cc", "c21c"):
            page.evaluate("heatmapViewer.store.set({mode: 'side', panes: 'slide;0.0'})")
            settle(page)
            if place:
                go_to(page, *place)
            page.evaluate(f"() => {{ {press} for (const key of '{keys}') press(key); }}")
            wait_until(page, "heatmapViewer.contents.length === 4")
            settle(page)
            here = page.evaluate("heatmapViewer.lockstep.place()")
            if place:
                assert (here["x"], here["y"], here["scale"]) == pytest.approx(place, rel=1e-9)
            else:
                assert page.evaluate("heatmapViewer.lockstep.isHome")  # what was the whole slide is the whole slide
            assert page.evaluate("heatmapViewer.view.z") == pytest.approx(here["scale"])


def test_the_slide_comes_before_small_pictures_and_rows_are_used_again(open_page: Open) -> None:
    page = open_page("panes=slide")
    wait_for_pictures(page)
    asked: list[Any] = []
    page.route("**/thumbnail", lambda route: asked.append(route))  # so that no picture comes while rows go by
    marked = page.evaluate("""() => { const rows = [...document.querySelectorAll('.slides li')];
        rows.forEach((row) => { row.dataset.old = '1'; }); return rows.length; }""")
    page.evaluate("""async () => { const frame = () => new Promise((done) => requestAnimationFrame(done));
        for (let i = 0; i < 15; i++) {
            document.querySelector('.scroller').scrollTop += 1800; await frame(); await frame(); } }""")
    rows = page.evaluate("document.querySelectorAll('.slides li').length")
    assert page.evaluate("document.querySelectorAll('.slides li[data-old]').length") == min(marked, rows)
    assert 2 <= len(asked) < 60  # of some 300 rows that went by: two at each step, given up at the next
    page.unroute_all(behavior="ignoreErrors")
    most = page.evaluate("""async () => { const {pictures} = await import('./page/js/queue.js'); let most = 0;
        const begin = pictures.fetch.bind(pictures);
        pictures.fetch = (item) => { const done = begin(item);
            most = Math.max(most, pictures.running.size); return done; };
        document.querySelector('.scroller').scrollTop = 0;
        do await new Promise((done) => setTimeout(done, 15));
        while (pictures.running.size || pictures.waiting.length || !most);
        return most; }""")
    assert 1 <= most <= 2


def test_the_list_finds_slides_by_words_and_fields_and_shows_the_end_of_names(open_page: Open) -> None:
    page = open_page("panes=slide")
    count = "heatmapViewer && document.querySelectorAll('.slides li')[0]?.getAttribute('aria-setsize')"
    for text, expected in (
        ("pred:adeno p>0.9", 39), ("wrong p>=99%", 4), ("site=3 -dx1", 38), ("dx2", 133), ("disagree", 1),
        ("wrong tiny", 1), ("right", 0),
        ('"tcga-cr-0007"', 1), ("label:squamous right", 0),
    ):  # fmt: skip
        page.fill("#cohort input[type=search]", text)
        assert int(page.evaluate(count) or 0) == expected, text
    page.fill("#cohort input[type=search]", "0007")
    row = page.locator(".slides li").first
    name = row.locator(".slide-name span").last
    assert name.inner_text() == "-01A-01-DX1"[-12:] or name.inner_text().endswith("DX1")
    right = "(e) => [e, e.closest('li')].map((one) => one.getBoundingClientRect().right)"
    end, edge = name.evaluate(right)
    assert end <= edge
    assert "✗" in row.inner_text()
    assert "wrong" in row.inner_text()
    end, edge = row.locator(".state").evaluate(right)
    assert end <= edge


def test_two_runs_are_told_apart_everywhere(open_page: Open) -> None:
    page = open_page("panes=0.0;2.0")
    titles = page.locator(".legend strong").all_inner_texts()
    assert titles == ["a, first · attention", "b, second · attention"]
    first = page.locator(".slides li").first.text_content()
    assert "first: tumor" in first
    assert "second: normal" in first
    assert "disagree" in first
    about = page.inner_text("#panel .facts")
    assert about.index("a, first") < about.index("b, second")
    assert "somebody_else" in page.inner_text("#problems")  # the scores are of another slide
    assert "somebody_else" in page.locator(".legend").nth(1).inner_text()
    told = page.evaluate("""async () => { const {compose} = await import('./page/js/picture.js');
        const {items} = await compose(heatmapViewer);
        return items.filter((item) => item.kind === 'text').map((item) => item.words).join('|'); }""")
    for words in ("run first", "run second", "somebody_else", "model abmil", "label tumor"):
        assert words in told, words


def test_a_swipe_is_saved_with_both_bars_and_its_divider(open_page: Open, tmp_path: Path) -> None:
    from PIL import Image

    page = open_page("mode=swipe&panes=0.0;1.1&swipe=50&region=0")
    shapes = page.evaluate("""async () => { const {compose} = await import('./page/js/picture.js');
        const {items, width, height} = await compose(heatmapViewer);
        return {width, height, texts: items.filter((item) => item.kind === 'text').map((item) => item.words),
                images: items.filter((item) => item.kind === 'image').map(({from, to}) => [from, to]),
                lines: items.filter((item) => item.fill === '#ffffff' && item.width === 2).length}; }""")
    assert any(text.startswith("left: ") and "attention" in text for text in shapes["texts"])
    assert any(text.startswith("right: ") and "tumor" in text for text in shapes["texts"])
    (a, b), (c, d) = shapes["images"]
    assert a == 0
    assert b == c < d
    assert shapes["lines"] == 1
    with page.expect_download() as download:
        page.evaluate("import('./page/js/share.js').then(({savePng}) => savePng(heatmapViewer, {width: 3000}))")
    download.value.save_as(tmp_path / "wide.png")
    assert Image.open(tmp_path / "wide.png").width == 3000
    with page.expect_download() as download:
        page.evaluate("import('./page/js/share.js').then(({savePng}) => savePng(heatmapViewer, {format: 'svg'}))")
    download.value.save_as(tmp_path / "view.svg")
    drawn = (tmp_path / "view.svg").read_text(encoding="utf-8")
    assert drawn.count("<image ") == 2
    assert "left: " in drawn


def test_a_difference_of_unlike_scores_is_not_offered_and_one_of_like_scores_fills_its_bar(
    open_page: Open, viewer: RunningViewer
) -> None:
    page = open_page("panes=slide;0.0;1.1")
    page.keyboard.press("c")
    settle(page)
    assert "-" not in page.evaluate("heatmapViewer.contents[3]")
    offered = page.evaluate("[...heatmapViewer.panes[0].menu.options].map((option) => option.value)")
    assert "0.0-2.0" in offered
    assert not {"0.0-1.0", "0.0-1.1"} & set(offered)
    show(page, f"{viewer.link}#panes=0.0-1.1")  # asked for by an address all the same
    assert "places on each map's own colour scale" in page.inner_text(".legend")
    assert "share of the scale" in page.inner_text(".legend")
    show(page, f"{viewer.link}#panes=0.0-2.0&region=0")
    widest = page.evaluate("heatmapViewer.colours.widest(heatmapViewer.panes[0])")
    assert 0.3 < widest < 1
    assert page.locator(".legend .ticks span").last.inner_text() == f"{100 * widest:.3g}"
    page.evaluate("heatmapViewer.store.set({diff: 0.5})")
    settle(page)
    assert page.locator(".legend .ticks span").last.inner_text() == "50"


def test_digits_follow_the_steps_of_the_ticks(open_page: Open) -> None:
    page = open_page("panes=slide")
    load = "async (all) => { const words = await import('./page/js/normalize.js');"
    steps = load + " return all.map((some) => words.steps(some)); }"
    asked = [[-25.68, -25.5475, -25.415, -25.2825, -25.15], [1000, 1000.0005, 1000.001], [0, 25, 50, 75, 100],
             [-0.644, 0, 0.644], [1e-7, 2e-7], [3, 3]]  # fmt: skip
    assert page.evaluate(steps, asked) == [
        ["−25.68", "−25.55", "−25.41", "−25.28", "−25.15"], ["1000.0000", "1000.0005", "1000.0010"],
        ["0", "25", "50", "75", "100"], ["−0.644", "0.000", "0.644"], ["1e−7", "2e−7"], ["3", "3"],
    ]  # fmt: skip
    say = load + " return all.map(words.probability); }"
    assert page.evaluate(say, [1, 0.999999, 0.75, 0, 0.0001]) == ["> 99.9%", "> 99.9%", "75.0%", "< 0.1%", "< 0.1%"]


def test_a_region_is_drawn_ranked_and_framed_as_the_run_did(open_page: Open, viewer: RunningViewer) -> None:
    page = open_page("panes=slide;0.0")
    grid, values = viewer.app.content.layer(0, 0).source.grid, viewer.app.content.layer(0, 0).scores.values[:, 0]
    x, y = grid.coords_l0.T
    inside = (x >= 300) & (x <= 900) & (y >= 200) & (y <= 800)
    assert "percentile within the region" in page.inner_text(".legend")
    ranking = page.evaluate("[...heatmapViewer.activeView.column.ranking]")
    order = np.flatnonzero(inside)
    assert ranking == order[np.argsort(-values[order], kind="stable")].tolist()
    page.evaluate("heatmapViewer.store.set({region: false})")
    settle(page)
    assert page.evaluate("heatmapViewer.activeView.column.ranking.length") == len(values)


def test_a_finger_reads_a_value(open_page: Open) -> None:
    page = open_page("panes=slide;0.0&region=0", size=(820, 1180), has_touch=True)
    box = page.locator(".stage").nth(1).bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_until(page, "document.getElementById('chosen').textContent.includes('rank')")
    patch = page.evaluate("heatmapViewer.view.patch")
    value = page.evaluate("heatmapViewer.activeView.column.values[heatmapViewer.view.patch]")
    text = page.inner_text("#chosen")
    assert text.startswith(f"Chosen patch {patch}: score {value:.6g}".replace("-", "−"))
    assert page.get_attribute("#chosen", "role") == "status"


def test_every_control_has_a_name_in_the_tree_and_room_for_a_pointer(open_page: Open) -> None:
    for touch, least in ((False, 24), (True, 44)):
        page = open_page("panes=slide;0.0", has_touch=touch, is_mobile=touch)
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        seen = [node for node in tree if not node.get("ignored")]
        named = {"button", "slider", "combobox", "ComboBoxSelect", "checkbox", "textbox", "searchbox", "radio", "link",
                 "spinbutton", "listbox", "image"}  # fmt: skip
        controls = [node for node in seen if node["role"]["value"] in named]
        assert [node["role"]["value"] for node in controls if not node["name"].get("value")] == []
        sliders = {node["name"]["value"] for node in seen if node["role"]["value"] == "slider"}
        assert {"Hide below", "Colours from", "Colours to", "Opacity"} <= sliders
        small = page.evaluate("""(least) => {
            const all = document.querySelectorAll('button, select, input, textarea, summary, [role=slider]');
            return [...all].filter((e) => e.checkVisibility())
                .map((e) => [e.outerHTML.slice(0, 80), (e.closest('label') ?? e).getBoundingClientRect()])
                .filter(([, box]) => box.width && Math.min(box.width, box.height) < least - 0.5)
                .map(([words, box]) => [words, box.width, box.height]); }""", least)
        assert small == []


def test_nothing_is_cut_off_when_narrow_or_enlarged(open_page: Open) -> None:
    page = open_page("panes=slide;0.0")
    for width, height in ((820, 1180), (320, 256)):
        page.set_viewport_size({"width": width, "height": height})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate("""() => [...document.querySelectorAll('#top button, #panel button')]
            .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.textContent)""")
        assert outside == []


def test_marks_are_drawn_kept_measured_and_compared_with_the_map(open_page: Open, viewer: RunningViewer) -> None:
    page = open_page("panes=slide;0.0&region=0&slide=tiny")
    go_to(page, 1000, 700, 0.25)
    page.click("[data-tool=box]")
    box = page.locator(".stage").nth(1).bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle[0] - 64, middle[1] - 64)
    page.mouse.down()
    page.mouse.move(middle[0] + 64, middle[1] + 64, steps=3)
    page.mouse.up()
    page.keyboard.press("Escape")
    saved = "heatmapViewer.tool.store.sheet.saved === heatmapViewer.tool.store.features"
    wait_until(page, f"heatmapViewer.tool.store.features.length === 1 && {saved}")
    (path,) = viewer.app.notes.folder.glob("tiny.geojson")  # type: ignore[union-attr]
    (feature,) = json.loads(path.read_text())["features"]
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert ring.min(0) == pytest.approx((1000 - 256, 700 - 256), abs=3)
    assert ring.max(0) == pytest.approx((1000 + 256, 700 + 256), abs=3)
    (left, top), (right, bottom) = ring.min(0), ring.max(0)
    layer = viewer.app.content.layer(0, 0)
    centres = layer.source.grid.coords_l0 + PATCH / 2
    inside = ((centres > (left, top)) & (centres < (right, bottom))).all(1)
    values = layer.scores.values[:, 0]
    auroc = (values[inside][:, None] > values[~inside][None]).mean()
    words = page.inner_text("#mark-words")
    assert f"{inside.sum()} of {len(values)} patches" in words
    assert f"AUROC of attention {auroc:.3f}" in words
    area = (right - left) * (bottom - top) * 0.25 / 1e6
    assert words.startswith("Area ")
    assert float(words.split()[1]) == pytest.approx(area, rel=0.01) or "µm²" in words
    page.evaluate("heatmapViewer.tool.remove()")
    wait_until(page, saved)


def test_a_review_keeps_verdicts_in_the_readers_order(open_page: Open, viewer: RunningViewer) -> None:
    page = open_page("panes=slide")
    page.fill("[aria-label=Reader]", "anna")
    page.click("#review-section button:text('Begin')")
    wait_until(page, "document.getElementById('review-progress').textContent === '0 of 401 slides read'")
    settle(page)
    first = page.inner_text("#slide-name")
    page.locator("#slide-name").click()
    page.keyboard.press("x")
    wait_until(page, "document.getElementById('review-progress').textContent === '1 of 401 slides read'")
    rows = viewer.app.notes.review("anna")  # type: ignore[union-attr]
    assert {name: row["verdict"] for name, row in rows.items()} == {first: "not plausible"}
    assert rows[first]["order"] == "1"
    assert float(rows[first]["seconds"]) > 0


def test_a_preset_is_kept_in_the_folder_with_its_run(open_page: Open, viewer: RunningViewer) -> None:
    page = open_page("panes=slide;0.0&slide=tiny&cmap=magma")
    section = page.locator("#presets-section")
    section.get_by_label("Name of the preset").fill("hot")
    notes = viewer.app.notes
    assert notes is not None
    notes.save_presets({"other: hot": {"run": "other", "name": "hot", "cmap": "gray"}})
    page.reload()
    show(page)
    page.wait_for_selector("#presets-section option:text('hot')", state="attached")
    section.get_by_label("Name of the preset").fill("hot")
    section.get_by_role("button", name="Keep").click()
    page.wait_for_selector("optgroup[label='Of this run'] option:text('hot')", state="attached")
    kept = {name: view["cmap"] for name, view in notes.presets().items()}
    assert kept == {"other: hot": "gray", "work: hot": "magma"}
    section.get_by_label("Presets", exact=True).select_option("s:other: hot")
    assert page.evaluate("heatmapViewer.view.cmap") == "gray"


def test_the_page_weighs_less_than_200_kb(open_page: Open) -> None:
    page = open_page("panes=slide;0.0&slide=tiny")
    weigh = """() => performance.getEntriesByType('resource').filter((e) => /[.](js|css)$/.test(e.name))
        .map((e) => [e.name.replace(/.*page[/]/, ''), e.decodedBodySize, e.encodedBodySize])"""
    asked_for = ("annotate", "explain", "geometry", "markstore", "picture", "review", "share")
    lazy = {f"js/{name}.js" for name in asked_for}  # fetched at once here, as a folder of marks was named
    parts = page.evaluate(weigh)
    assert sum(unpacked for name, unpacked, _ in parts if name not in lazy and "vendor" not in name) < 200_000
    scripts = [path.name for path in (page_dir() / "js").glob("*.js") if path.name != "main.js"]
    page.evaluate("(names) => Promise.all(names.map((name) => import(`./page/js/${name}`)))", scripts)
    sent = {name: sent for name, _, sent in page.evaluate(weigh) if "vendor" not in name}
    assert {f"js/{name}" for name in scripts} < set(sent)
    assert sum(sent.values()) < 120_000  # with all that is fetched later
