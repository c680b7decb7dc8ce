"""Patches per second of reading alone, with half overlap: this program beside patch-by-patch OpenSlide reads.

    python benchmarks/bench_patches.py [--size 6144 4608] [--patches 1000] [--threads 2] [--json out.json]

Makes its own slides: a generic tiled TIFF and an SVS-like one. The same patches (256 px, step 128, on tissue) are
read in the same run, in the same process, one reader after the other, each from a freshly opened slide: OpenSlide
one by one (as CLAM's heatmap does) and with as many threads as this program gets; then this program. Pixels are
compared. The best of three runs counts; a first OpenSlide run puts the file into the page cache.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openslide

from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.patch_reader import PatchReader, default_threads
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.write_pyramid import write_pyramid

SIZE, STEP = 256, 128
REPEATS = 3


def speckled_tissue(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a slide that compresses about as well as tissue: smooth blobs, cell-sized grain, a little noise."""
    rng = np.random.default_rng(0)
    grain = rng.integers(-30, 31, (height // 6 + 1, width // 6 + 1, 3)).repeat(6, 0).repeat(6, 1)[:height, :width]
    noise = rng.integers(-6, 7, (height, width, 1))
    picture: npt.NDArray[np.uint8] = np.clip(np.array([205, 140, 185]) + grain + noise, 0, 255).astype(np.uint8)
    return picture


def patches_on(width: int, height: int, most: int) -> PatchGrid:
    """Return overlapping patches over an ellipse, in CLAM's order: column by column."""
    x, y = np.meshgrid(np.arange(0, width - SIZE, STEP), np.arange(0, height - SIZE, STEP), indexing="ij")
    inside = ((x + SIZE / 2) / width - 0.5) ** 2 + ((y + SIZE / 2) / height - 0.5) ** 2 < 0.2
    coords = np.stack([x[inside], y[inside]], 1).astype(np.int64)[:most]
    return PatchGrid(coords, (SIZE, SIZE), (STEP, STEP))


def openslide_one_by_one(path: Path, grid: PatchGrid) -> int:
    """Read as CLAM does; return a checksum of the pixels."""
    total = 0
    with openslide.OpenSlide(path) as slide:
        for x, y in grid.coords_l0.tolist():
            pixels = np.asarray(slide.read_region((x, y), 0, (SIZE, SIZE)).convert("RGB"))
            total += int(pixels[::16, ::16].sum())
    return total


def openslide_threads(path: Path, grid: PatchGrid, threads: int) -> int:
    """Read patch by patch in several threads; neighbours go to the same thread."""

    def part(coords: Any) -> int:
        return sum(
            int(np.asarray(slide.read_region((x, y), 0, (SIZE, SIZE)).convert("RGB"))[::16, ::16].sum())
            for x, y in coords
        )

    with openslide.OpenSlide(path) as slide, ThreadPoolExecutor(threads) as pool:
        pieces = np.array_split(grid.coords_l0, threads * 8)
        return sum(pool.map(part, [piece.tolist() for piece in pieces]))


def together(path: Path, grid: PatchGrid, threads: int) -> int:
    """Read with this program."""
    with open_slide(path) as slide:
        reader = PatchReader(slide, grid, threads=threads)
        return sum(int(pixels[:, ::16, ::16].sum()) for _, pixels in reader.batches(64))


def seconds(run: Callable[[], int], expected: int) -> float:
    """Return the best of a few timings; the checksum must match."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = run()
        best = min(best, time.perf_counter() - start)
        assert found == expected, "the pixels differ"
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(6144, 4608), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--patches", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    picture = speckled_tissue(*options.size)
    width, height = options.size
    grid = patches_on(width, height, options.patches)
    with tempfile.TemporaryDirectory() as folder:
        slides = {
            "tiff": write_pyramid(Path(folder) / "bench.tif", picture),
            "svs": write_pyramid(Path(folder) / "bench.svs", picture, svs=True, tile_px=240, magnification=20),
        }
        for kind, path in slides.items():
            expected = openslide_one_by_one(path, grid)
            runs: dict[str, Callable[[], int]] = {
                "openslide": lambda path=path: openslide_one_by_one(path, grid),  # type: ignore[misc]
                f"openslide_{options.threads}_threads": lambda path=path: openslide_threads(  # type: ignore[misc]
                    path, grid, options.threads
                ),
                "together_1_thread": lambda path=path: together(path, grid, 1),  # type: ignore[misc]
                "together": lambda path=path: together(path, grid, options.threads),  # type: ignore[misc]
            }
            figures[kind] = {name: round(len(grid) / seconds(run, expected), 1) for name, run in runs.items()}
            ratio = figures[kind]["together"] / figures[kind]["openslide"]
            figures[kind]["times_openslide"] = round(ratio, 2)
            print(f"{kind} ({path.stat().st_size / 1e6:.0f} MB, {len(grid)} patches, overlap 0.5):")
            for name, rate in list(figures[kind].items())[:-1]:
                print(f"  {name:24} {rate:8.1f} patches/s")
            print(f"  together is {ratio:.1f}x patch-by-patch OpenSlide", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
