"""The report in a browser: from disk, without a request, by the keyboard alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.compare_runs import compare_runs
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.report.compare import write_comparison_report
from mil_heatmaps.report.write import write_report
from tests.helpers.browser import words_of
from tests.helpers.cohort import make_small_cohort, write_abmil

pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished runs of other checkpoints; the first one has a report. Returns its folders and that of the pages."""
    root = tmp_path_factory.mktemp("pages")
    folders = []
    for number, name in enumerate("AB"):
        changes = {"report_arguments": {"patches": 2, "picture_px": 300, "write": number == 0},
                   "run_arguments": {"workers": 1, "isolate": "never"}}

        cohort = make_small_cohort(root / name, changes)
        cohort.config["exp_arguments"]["save_exp_code"] = name
        write_abmil(cohort.checkpoint, seed=number)
        runner = Runner(load_config(cohort.write()))
        runner.run()
        if number == 0:
            page = write_report(runner.cohort, runner.config).path
        folders.append(cohort.root / "raw" / name)
    return [*folders, page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with api.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser: Any, path: Path) -> tuple[Any, list[str], list[str]]:
    """Open a file; return the page, the addresses it asked for, and what the console said."""
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(words_of(message)))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    return page, asked, said


@pytest.mark.slow
def test_the_keyboard_alone_sorts_searches_fades_and_marks(browser: Any, runs: list[Path]) -> None:
    page, asked, said = opened(browser, runs[2])
    order = "[...document.querySelectorAll('#slides tbody th')].map(cell => cell.textContent)"
    assert page.evaluate(order) == ["s1", "s2", "s3"]
    page.get_by_role("button", name="No.").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert page.evaluate(order) == ["s3", "s2", "s1"]
    assert page.locator("th[aria-sort=descending]").count() == 1
    page.get_by_label("Search the table").focus()
    page.keyboard.type("s2")
    assert page.locator("#slides tbody tr:visible").count() == 1
    assert page.locator("#shown").text_content() == "1 of 3 shown"
    page.locator("#opacity-1").focus()
    page.keyboard.press("End")
    assert page.locator("#slide-1 image.map").get_attribute("opacity") == "1"
    patch = page.locator("#slide-1 button.patch").first
    patch.focus()
    page.keyboard.press("Enter")
    assert patch.get_attribute("aria-pressed") == "true"
    left, top, width, height = map(float, (patch.get_attribute("data-place") or "").split())
    mark = page.locator("#slide-1 svg.picture .mark:not(.under)").last
    view = page.evaluate("[...document.querySelectorAll('#slide-1 svg.picture')].map(s => s.viewBox.baseVal.width)[0]")
    assert float(mark.get_attribute("x") or -1) == pytest.approx(left / 100 * view)
    assert float(mark.get_attribute("width") or -1) == pytest.approx(width / 100 * view)
    assert 0 <= top <= 100
    assert height > 0
    assert [url for url in asked if not url.startswith("data:")] == [runs[2].as_uri()]
    assert said == []


@pytest.mark.slow
def test_pictures_are_seen_and_the_page_is_no_wider_than_a_telephone(browser: Any, runs: list[Path]) -> None:
    page, _, _ = opened(browser, runs[2])
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    dark = browser.new_page(color_scheme="dark")
    dark.goto(runs[2].as_uri())
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
    dark.emulate_media(media="print")
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert dark.evaluate("getComputedStyle(document.querySelector('.controls')).display") == "none"


@pytest.mark.slow
def test_a_comparison_begins_with_what_differs(browser: Any, runs: list[Path], tmp_path: Path) -> None:
    slides = list(compare_runs(runs[0], runs[1], tmp_path))
    page, asked, said = opened(browser, write_comparison_report(runs[0], runs[1], slides, tmp_path))
    assert page.title() == "A and B: comparison"
    cells = "row => [row.cells[1].textContent, row.cells[4].textContent]"
    rows = page.evaluate(f"[...document.querySelectorAll('#slides tbody tr')].map({cells})")
    alike = {slide.slide_id: slide.row["spearman"] for slide in slides}
    differing = [name for name, same in rows if same.strip() == "differs"]
    others = [name for name, same in rows if same.strip() != "differs"]
    assert [name for name, _ in rows] == differing + others
    for group in (differing, others):
        assert group == sorted(group, key=lambda name: alike[name])
    assert page.locator("section.slide img").count() == 3
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "comparison.html").as_uri()]
    assert said == []
