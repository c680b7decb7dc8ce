"""How fast the viewer serves tiles, and how much memory it takes. Run it without arguments.

Tiles per second are measured over HTTP from another process, on connections kept open as a browser keeps
them, once with tiles read and encoded the plain way (OpenSlide's read_region, Pillow's JPEG) and once as the
viewer does it; for the cold rows the slide is first dropped from the system's page cache and the server is
fresh. Then 20,000 requests against one server, with its memory. The page itself: bench_viewer_page.py.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.viewer_server import SIZE, Server, drop_from_page_cache, make_slide, started

TILES = 400
REQUESTS = 20_000


def fetch_all(server: Server, paths: Sequence[str], parallel: int) -> tuple[float, list[float]]:
    """Return the total seconds and the milliseconds of each request."""
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
    """Return the addresses of `count` tiles of the chosen levels, in random order."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="fresh servers a row (default 3)")
    parser.add_argument("--slide", type=Path, help="measure this slide's tiles instead of a generated one's")
    parser.add_argument("--soak", action="store_true", help="only memory and open files over all requests")
    arguments = parser.parse_args()
    if arguments.slide:
        bench_tiles(arguments.slide, arguments.repeats)
        return
    with tempfile.TemporaryDirectory(prefix="bench_viewer_") as folder:
        slide = Path(folder, "slide.tif")
        make_slide(slide)
        if arguments.soak:
            bench_memory(slide)
            return
        megabytes = slide.stat().st_size / 1e6
        cores, load = os.cpu_count(), os.getloadavg()[0]
        print(f"slide: {SIZE[0]} x {SIZE[1]}, JPEG tiles, {megabytes:.0f} MB; {cores} cores, load {load:.1f}\n")
        bench_tiles(slide, arguments.repeats)
        bench_memory(slide)


if __name__ == "__main__":
    main()
