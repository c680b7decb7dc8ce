"""How fast the viewer's page is in headless Chromium. Run it without arguments.

First view, and redrawing with half a million patches; the weight of the page; the next slide in a list of 2,000 while
the list is being scrolled, with thumbnails as they come and with half a second added to each; search, sort and
scrolling in a list of 20,000.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.viewer_server import (
    LISTED,
    MANY,
    PATCHES,
    SIZE,
    Server,
    drop_from_page_cache,
    make_scores,
    make_slide,
    started,
)

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SHOWN = """() => !heatmapViewer.underWay
    && heatmapViewer.panes.every((pane) => pane.views && pane.viewer.world.getItemAt(0)?.getFullyLoaded())"""
STEPS, STEP_PX = 20, 3000


def opened(browser: Any, server: Server, view: str = "") -> tuple[Any, float]:
    """Return the page, and the seconds until the slide was coloured."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    begin = time.perf_counter()
    page.goto(f"http://127.0.0.1:{server.port}/?token={server.token}{view}")
    page.wait_for_selector("html[data-ready=true]", timeout=60_000)
    return page, time.perf_counter() - begin


def complete(page: Any) -> None:
    """Wait until slide and colours are complete."""
    while not page.evaluate(SHOWN):
        page.wait_for_timeout(15)


def bench_first_view(browser: Any, slide: Path, scores: Path, big: Path) -> None:
    print("first view, 1440 x 900, two panes, slide dropped from the page cache")
    for title, file in (("2,800 patches", scores), (f"{PATCHES:,} patches", big)):
        drop_from_page_cache(slide)
        with started("viewer", slide, [file]) as server:
            begin = time.perf_counter()
            page, ready = opened(browser, server)
            complete(page)
            whole = time.perf_counter() - begin
            print(f"  {title:>16}: colours on the slide after {ready:.2f} s, all tiles {whole:.2f} s")
            if file is big:
                print(f"redrawing both panes with {title}, median of 7, ms (page-side, until the canvas is painted)")
                for name, change, back in CHANGES:
                    print(f"  {name:<22}{redraw_ms(page, change, back):7.1f}")
                print(f"  {'one step of panning':<22}{pan_ms(page):7.1f}")
            page.close()


def bench_weight(browser: Any, slide: Path, scores: Path) -> None:
    """Print the weight of the page without the library: at the start, and with every part fetched later."""
    with started("viewer", slide, [scores]) as server:
        page, _ = opened(browser, server)
        for when in ("at the start", "with all that is fetched when it is asked for"):
            unpacked, sent = page.evaluate(
                """performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
                .filter((part) => !part.name.includes('/vendor/') && !/\\/(data|api)\\//.test(part.name))
                .reduce(([all, packed], part) => [all + part.decodedBodySize, packed + part.encodedBodySize], [0, 0])"""
            )
            print(f"the page without the library, {when}: {sent / 1e3:.0f} kB sent, {unpacked / 1e3:.0f} kB unpacked")
            page.evaluate("(names) => Promise.all(names.map((name) => import(`./page/js/${name}`)))", scripts())
        page.close()


def scripts() -> list[str]:
    from mil_heatmaps.viewer.assets import page_dir

    return sorted(path.name for path in (page_dir() / "js").glob("*.js") if path.name != "main.js")


def bench_list(browser: Any, slide: Path, scores: Path) -> None:
    print(f"list of {LISTED} slides: next slide whole after the key, s, while the list goes on being scrolled")
    for way, title in (("list", "thumbnails as they come"), ("slow-list", "0.5 s added to each thumbnail")):
        with started(way, slide, [scores]) as server:
            page, _ = opened(browser, server)
            complete(page)
            times = [page.evaluate(NEXT, [STEPS, STEP_PX]) / 1000 for _ in range(5)]
            told = ", ".join(f"{seconds:.2f}" for seconds in times)
            print(f"  {title:<30} median {statistics.median(times):.2f} ({told})")
            page.close()


def bench_many(browser: Any, slide: Path, scores: Path) -> None:
    with started("many", slide, [scores]) as server:
        page, ready = opened(browser, server)
        complete(page)
        search, sort, scroll = page.evaluate(MANY_MS)
        print(f"list of {MANY} slides, opened after {ready:.1f} s; until it is drawn, ms, medians:")
        print(f"  search {search:.0f}, sort {sort:.0f}, one step of scrolling {scroll:.1f}")
        page.close()


MANY_MS = """async () => {
    const list = document.querySelector('.scroller'), search = document.querySelector('#cohort input[type=search]');
    const order = document.querySelector('#cohort select');
    const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
    const timed = (change) => { const begin = performance.now(); change(); list.getBoundingClientRect();
        return performance.now() - begin; };
    const type = (text) => timed(() => { search.value = text; search.dispatchEvent(new Event('input')); });
    const searches = ['pred:normal', 'pred:normal p>0.7', '00123', 'wrong site=3', ''].map(type);
    const sorts = ['name', 'wrong', 'probability', 'cell:site', ''].map((key) => timed(() => {
        order.value = key; order.dispatchEvent(new Event('change')); }));
    const steps = [];
    for (let i = 0; i < 40; i++) {
        list.scrollTop += 900;
        await new Promise(requestAnimationFrame);
        steps.push(timed(() => heatmapViewer.cohort.draw()));
    }
    return [searches, sorts, steps].map(median);
}"""

NEXT = f"""async ([steps, px]) => {{
    const list = document.querySelector('.scroller'), shown = {SHOWN}, app = heatmapViewer, before = app.slide.name;
    const rest = (ms) => new Promise((done) => setTimeout(done, ms));
    let down = 1;
    const scroll = () => {{
        list.scrollTop += down * px;
        if (list.scrollTop <= 0 || list.scrollTop + list.clientHeight >= list.scrollHeight - 1) down = -down;
    }};
    for (let i = 0; i < steps; i++) {{ scroll(); await rest(30); }}
    const begin = performance.now();
    document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: 'n', bubbles: true}}));
    for (let i = 1; app.slide.name === before || !shown(); i++) {{
        if (i % 10 === 0) scroll();
        await rest(10);
    }}
    return performance.now() - begin;
}}"""

CHANGES = [
    ("opacity", {"opacity": 0.3}, {"opacity": 0.6}),
    ("threshold", {"threshold": 0.4}, {"threshold": 0.0}),
    ("range", {"low": 0.2}, {"low": 0.0}),
    ("colormap", {"cmap": "inferno"}, {"cmap": "viridis"}),
    ("normalisation", {"norm": "minmax"}, {"norm": "percentile"}),
    ("smoothing", {"smooth": True}, {"smooth": False}),
]


def redraw_ms(page: Any, change: dict[str, Any], back: dict[str, Any]) -> float:
    times = page.evaluate(
        """async ([change, back]) => { const app = heatmapViewer, times = [];
        const set = (values) => new Promise((done) => {
            app.listeners.colours = app.listeners.colours.filter((f) => !f.once).concat(Object.assign(() =>
            done(), {once: true})); app.store.set(values); });
        for (let i = 0; i < 7; i++) { const begin = performance.now(); await set(change);
            times.push(performance.now() - begin); await set(back); }
        return times; }""",
        [change, back],
    )
    return statistics.median(times)


def pan_ms(page: Any) -> float:
    times = page.evaluate(
        """() => { const app = heatmapViewer, times = [];
        for (let i = 0; i < 7; i++) { const place = app.lockstep.place(), begin = performance.now();
            app.lockstep.goTo({x: place.x + 40, y: place.y}, true);
            for (const pane of app.panes) pane.heat.draw();
            times.push(performance.now() - begin); }
        return times; }"""
    )
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("view", "weight", "list", "many"), help="only this part")
    chosen = parser.parse_args().part
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        print("not measured: there is no Chromium or no playwright on this machine")
        return
    with tempfile.TemporaryDirectory(prefix="bench_viewer_page_") as folder, sync_playwright() as playwright:
        slide, scores, big = (Path(folder, name) for name in ("slide.tif", "scores.h5", "big.h5"))
        make_slide(slide)
        make_scores(scores, 2800)
        make_scores(big, PATCHES)
        print(f"slide: {SIZE[0]} x {SIZE[1]}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        parts = {
            "view": lambda: bench_first_view(browser, slide, scores, big),
            "weight": lambda: bench_weight(browser, slide, scores),
            "list": lambda: bench_list(browser, slide, scores),
            "many": lambda: bench_many(browser, slide, scores),
        }
        for name, measure in parts.items():
            if chosen in (None, name):
                measure()
        browser.close()


if __name__ == "__main__":
    main()
