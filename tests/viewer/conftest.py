"""A browser, a viewer with slides in it, and pages that must stay without faults."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry
from tests.helpers.browser import MARKUP, SHARED_BROWSER, SIZE, Open, new_page, show, words_of
from tests.helpers.places import ROOT
from tests.helpers.viewer import LEAVING, RunningViewer, running, write_score_file

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a browser as slow."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def browser() -> Any:
    """The Chromium of the tests in this folder; tests/conftest.py ends it before a test of another folder."""
    pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    if not (ROOT / "src/mil_heatmaps/viewer/page/vendor/openseadragon.min.js").is_file():
        pytest.skip("OpenSeadragon was not fetched (python hatch_build.py)")
    return SHARED_BROWSER.start(playwright.sync_playwright, executable_path=program, args=FLAGS)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ScoreFile]]:
    folder = tmp_path_factory.mktemp("scores")
    a, b = folder / "a.h5", folder / "b.h5"
    return {"a": (a, write_score_file(a, SIZE)), "b": (b, write_score_file(b, SIZE, step=64, seed=7))}


@pytest.fixture(scope="module")
def viewer(
    browser: Any,
    tiny_slide: Path,
    single_level_slide: Path,
    scores: dict[str, tuple[Path, ScoreFile]],
    tmp_path_factory: Any,
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
            scores=(NamedFile(scores["a"][0], "a"), NamedFile(scores["b"][0], "b", 1)),
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


@dataclass
class Watched:
    """A page, and what is wrong with what it says and asks for."""

    page: Any
    own: tuple[str, ...] = ()
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        page, faults = self.page, self.faults
        # The tests read pixels back, which the page does not do and the browser advises against.
        advice = "willReadFrequently"
        page.on("console", lambda m: faults.append(words_of(m)) if m.type == "error" or advice not in m.text else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: None if request.url.startswith(self.own) else faults.append(request.url))


def leave(page: Any, address: str) -> None:
    """Leave `address` if the page is still there.

    The page itself goes: sent by the browser, it would get a new process, and another one for the next view.
    """
    if not page.is_closed() and page.url.startswith(address) and page.url != "about:blank":
        with page.expect_navigation(url="about:blank"):
            page.evaluate("localStorage.clear(); setTimeout(() => location.replace('about:blank'))")


@pytest.fixture
def open_page(browser: Any, viewer: RunningViewer) -> Iterator[Open]:
    """Open the page at a view; afterwards no error may have been on its console and no request left the
    machine.
    """
    used: list[tuple[str, Watched]] = []

    def open_it(view: str = "", *, size: tuple[int, int] = (1200, 800), link: str | None = None, **options: Any) -> Any:
        key = json.dumps(options, sort_keys=True)
        kept = SHARED_BROWSER.idle.setdefault(key, [])
        watched = kept.pop() if kept else Watched(new_page(browser, **options))
        used.append((key, watched))
        own = (link or viewer.link).partition("?")[0]
        watched.own = (f"http://127.0.0.1:{viewer.port}/", own, "data:", "blob:", "file:", "about:")
        page = watched.page
        if (port := urlsplit(own).port) not in (None, viewer.port):
            LEAVING.setdefault(port, []).append(lambda: leave(page, own))
        page.set_viewport_size({"width": size[0], "height": size[1]})
        show(page, (link or viewer.link) + (f"#{view}" if view else ""))
        return page

    yield open_it
    for key, watched in used:
        page = watched.page
        leave(page, "")
        page.context.clear_cookies()
        page.context.clear_permissions()
        SHARED_BROWSER.idle[key].append(watched)
    faults = [fault for _, watched in used for fault in watched.faults]
    for _, watched in used:
        watched.faults.clear()
    assert faults == []
