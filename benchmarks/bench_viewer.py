"""How fast the viewer serves and draws, and how much memory it takes. Run it without arguments.

Tiles per second are measured over HTTP from another process, on connections kept open as a browser keeps
them, once with tiles read and encoded the plain way (OpenSlide's read_region, Pillow's JPEG) and once as the
viewer does it; for the cold rows the slide is first dropped from the system's page cache and the server is
fresh. Then 20,000 requests against one server, with its memory. Then, where there is a Chromium, the page
itself: first view, and redrawing with half a million patches.
"""

import argparse
import http.client
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SIZE = 16384, 12288
TILES = 400
REQUESTS = 20_000
PATCHES = 500_000


# The server, in a process of its own --------------------------------------------------------------------------------


def serve(way: str, slide: Path, scores: Sequence[Path]) -> None:
    """Serve one slide and print its address as JSON; `way` is ``viewer`` or ``plain``."""
    import uvicorn

    from mil_heatmaps.viewer.app import ViewerApp
    from mil_heatmaps.viewer.catalog import catalog_of_files
    from mil_heatmaps.viewer.serve import listen

    listener = listen()
    port = listener.getsockname()[1]
    app = ViewerApp(catalog_of_files(slide, [], scores, None), port=port)
    if way == "plain":
        app.content.slide_tile = plain_tiles(slide)  # type: ignore[method-assign]
    print(json.dumps({"port": port, "token": app.token, "data": f"/data/{app.nonce}"}), flush=True)
    config = uvicorn.Config(app.asgi, log_level="critical", access_log=False, lifespan="off", server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def plain_tiles(path: Path) -> Any:
    """Tiles the plain way: OpenSlide reads and composes, Pillow encodes."""
    import openslide

    from mil_heatmaps.slides.reader import open_slide
    from mil_heatmaps.viewer.pyramid import view_levels

    with open_slide(path) as opened:
        levels = view_levels(opened)
    slide = openslide.OpenSlide(path)

    def tile(_: int, level: int, column: int, row: int) -> tuple[bytes, str]:
        view = levels[level]
        left, top, width, height = view.box_px(column, row)
        corner = round(left * view.downsample[0]), round(top * view.downsample[1])
        factor = view.factor
        region = slide.read_region(corner, view.source, (width * factor, height * factor)).convert("RGB")
        if factor > 1:
            region = region.resize((width, height))
        out = io.BytesIO()
        region.save(out, "JPEG", quality=85)
        return out.getvalue(), "image/jpeg"

    return tile


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen[str]
    port: int
    token: str
    data: str
    cookie: str = ""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def memory_mib(self, key: str = "VmHWM") -> float:
        """Peak (VmHWM) or present (VmRSS) resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        return float("nan")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextmanager
def started(way: str, slide: Path, scores: Sequence[Path] = ()) -> Iterator[Server]:
    command = [sys.executable, __file__, "--serve", way, str(slide), *map(str, scores)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        server = Server(process, **json.loads(process.stdout.readline()))
        connection = server.connect()
        connection.request("GET", f"/?token={server.token}")
        answer = connection.getresponse()
        answer.read()
        server.cookie = (answer.getheader("set-cookie") or "").split(";")[0]
        connection.request("GET", "/api/slides/0.json", headers={"Cookie": server.cookie})
        connection.getresponse().read()
        connection.close()
        yield server
    finally:
        process.terminate()
        process.wait(10)


# Tiles per second ---------------------------------------------------------------------------------------------------


def drop_from_page_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def fetch_all(server: Server, paths: Sequence[str], parallel: int) -> tuple[float, list[float]]:
    """Return seconds in all and milliseconds of each request."""
    times: list[float] = []
    places = iter(paths)
    lock = threading.Lock()

    def work() -> None:
        connection = server.connect()
        while True:
            with lock:
                path = next(places, None)
            if path is None:
                break
            begin = time.perf_counter()
            connection.request("GET", path, headers={"Cookie": server.cookie})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, (answer.status, path)
            times.append((time.perf_counter() - begin) * 1000)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(parallel)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin, times


def p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def tile_paths(levels: Sequence[dict[str, Any]], chosen: Sequence[int], count: int, seed: int) -> list[str]:
    """Return places of `count` tiles of the chosen levels, in random order."""
    places = [
        f"slides/0/{number}/{column}/{row}"
        for number in chosen
        for column in range(levels[number]["tiles"][0])
        for row in range(levels[number]["tiles"][1])
    ]
    random.Random(seed).shuffle(places)
    return places[:count]


def levels_of(server: Server) -> list[dict[str, Any]]:
    connection = server.connect()
    connection.request("GET", "/api/slides/0.json", headers={"Cookie": server.cookie})
    levels: list[dict[str, Any]] = json.loads(connection.getresponse().read())["slide"]["levels"]
    connection.close()
    return levels


def bench_tiles(slide: Path, repeats: int) -> None:
    print(f"tiles of the finest level, {TILES} a row, median of {repeats} fresh servers (interleaved)")
    print(f"  {'':8}{'parallel':>9}{'cold/s':>9}{'p50 ms':>8}{'p95 ms':>8}{'warm/s':>9}{'p50 ms':>8}{'p95 ms':>8}")
    cold_rates: dict[tuple[str, int], float] = {}
    for parallel in (1, 8):
        rows: dict[str, list[tuple[float, float, float, float, float, float]]] = {"plain": [], "viewer": []}
        for repeat in range(repeats):
            for way in rows:
                drop_from_page_cache(slide)
                with started(way, slide) as server:
                    levels = levels_of(server)
                    paths = [f"{server.data}/{p}" for p in tile_paths(levels, [len(levels) - 1], TILES, repeat)]
                    row: list[float] = []
                    for _ in ("cold", "warm"):
                        seconds, times = fetch_all(server, paths, parallel)
                        row += [len(paths) / seconds, statistics.median(times), p95(times)]
                    rows[way].append(tuple(row))  # type: ignore[arg-type]
        for way, measured in rows.items():
            middle = [statistics.median(column) for column in zip(*measured, strict=True)]
            cold_rates[way, parallel] = middle[0]
            numbers = "".join(
                f"{v:>{w}.{d}f}" for v, w, d in zip(middle, (9, 8, 8, 9, 8, 8), (0, 1, 1, 0, 1, 1), strict=True)
            )
            print(f"  {way:8}{parallel:>9}{numbers}")
    for parallel in (1, 8):
        ratio = cold_rates["viewer", parallel] / cold_rates["plain", parallel]
        print(f"  cold, {parallel} parallel: {ratio:.1f} times the tiles per second of the plain way")


def bench_memory(slide: Path) -> None:
    with started("viewer", slide) as server:
        levels = levels_of(server)
        everything = tile_paths(levels, range(len(levels)), 10**9, 5)
        print(f"\nmemory over {REQUESTS} requests for {len(everything)} different tiles of all levels, 8 parallel")
        print(f"  at the start   {server.memory_mib('VmRSS'):6.0f} MiB, {server.open_files()} files open")
        marks = [REQUESTS // 20, REQUESTS // 4, REQUESTS // 2, REQUESTS]
        done = 0
        for mark in marks:
            paths = [f"{server.data}/{everything[i % len(everything)]}" for i in range(done, mark)]
            fetch_all(server, paths, 8)
            done = mark
            held = f"{server.memory_mib('VmRSS'):6.0f} MiB, peak {server.memory_mib():6.0f} MiB"
            print(f"  after {done:>6}   {held}, {server.open_files()} files open")


# In a browser -------------------------------------------------------------------------------------------------------


def bench_page(slide: Path, scores: Path, big: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("\nthe page: not measured, there is no Chromium or no playwright on this machine")
        return
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    shown = "!heatmapViewer.busy && heatmapViewer.panes.every(p => p.viewer.world.getItemAt(0)?.getFullyLoaded())"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        print("\nfirst view in headless Chromium, 1440 x 900, two panes, slide dropped from the page cache")
        for title, file in (("2,800 patches", scores), (f"{PATCHES:,} patches", big)):
            drop_from_page_cache(slide)
            with started("viewer", slide, [file]) as server:
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                begin = time.perf_counter()
                page.goto(f"http://127.0.0.1:{server.port}/?token={server.token}")
                page.wait_for_selector("html[data-ready=true]", timeout=60_000)
                ready = time.perf_counter() - begin
                while not page.evaluate(shown):
                    page.wait_for_timeout(15)
                complete = time.perf_counter() - begin
                print(f"  {title:>16}: colours on the slide after {ready:.2f} s, all tiles {complete:.2f} s")
                if file is scores:
                    weight, sent = page.evaluate(
                        """performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
                        .filter((part) => !part.name.includes('/vendor/') && !/\\/(data|api)\\//.test(part.name))
                        .reduce(([all, packed], part) => [all + part.decodedBodySize, packed + part.encodedBodySize],
                        [0, 0])"""
                    )
                    print(f"  the page without the library: {weight / 1e3:.0f} kB, sent as {sent / 1e3:.0f} kB")
                if file is big:
                    print(
                        f"redrawing both panes with {title}, median of 7, ms (page-side, until the canvas is painted)"
                    )
                    for name, change, back in CHANGES:
                        print(f"  {name:<22}{redraw_ms(page, change, back):7.1f}")
                    print(f"  {'one step of panning':<22}{pan_ms(page):7.1f}")
                page.close()
        browser.close()


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


# The slide and its scores -------------------------------------------------------------------------------------------


def make_slide(path: Path) -> None:
    """Write a tiled JPEG pyramid of speckled tissue."""
    import numpy as np

    from mil_heatmaps.slides.write_pyramid import write_pyramid

    rng = np.random.default_rng(0)
    patch = rng.normal(0, 22, (1024, 1024, 3)).cumsum(0).cumsum(1)
    patch = (patch - patch.mean()) / patch.std() * 28 + np.array([205, 140, 185]) + rng.normal(0, 7, patch.shape)
    texture = np.clip(patch, 0, 255).astype(np.uint8)
    picture = np.tile(texture, (SIZE[1] // 1024, SIZE[0] // 1024, 1))
    write_pyramid(path, picture, mpp=0.25)


def make_scores(path: Path, count: int) -> None:
    """Write scores for about `count` patches that cover the slide."""
    import numpy as np

    from mil_heatmaps.scores.patch_scores import PatchScores
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.scores.score_schema import write_scores
    from mil_heatmaps.slides.patch_grid import PatchGrid

    step = max(4, int((SIZE[0] * SIZE[1] / count) ** 0.5))
    xs, ys = np.meshgrid(np.arange(0, SIZE[0] - step, step), np.arange(0, SIZE[1] - step, step))
    coords = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.int64)[:count]
    values = np.random.default_rng(1).normal(size=(len(coords), 1)).astype(np.float32)
    grid = PatchGrid(coords, (step, step), (step, step))
    scores = PatchScores(grid, values, ("attention",), "attention_logit", "attention")
    write_scores(path, ScoreFile(grid=grid, scores=scores, slide_size_l0=SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3, help="fresh servers a row (default 3)")
    parser.add_argument("--slide", type=Path, help="measure this slide's tiles instead of a generated one's")
    parser.add_argument("--soak", action="store_true", help="only memory and open files over all requests")
    arguments = parser.parse_args()
    if arguments.serve:
        way, slide, *scores = arguments.serve
        serve(way, Path(slide), [Path(score) for score in scores])
        return
    if arguments.slide:
        bench_tiles(arguments.slide, arguments.repeats)
        return
    with tempfile.TemporaryDirectory(prefix="bench_viewer_") as folder:
        slide, scores, big = (Path(folder, name) for name in ("slide.tif", "scores.h5", "big.h5"))
        make_slide(slide)
        if arguments.soak:
            bench_memory(slide)
            return
        make_scores(scores, 2800)
        make_scores(big, PATCHES)
        megabytes = slide.stat().st_size / 1e6
        cores, load = os.cpu_count(), os.getloadavg()[0]
        print(f"slide: {SIZE[0]} x {SIZE[1]}, JPEG tiles, {megabytes:.0f} MB; {cores} cores, load {load:.1f}\n")
        bench_tiles(slide, arguments.repeats)
        bench_memory(slide)
        bench_page(slide, scores, big)


if __name__ == "__main__":
    main()
