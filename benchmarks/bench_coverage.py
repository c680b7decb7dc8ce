"""What the checks of coverage and of frames add to drawing a slide, in CPU milliseconds per 10,000 patches.

    python benchmarks/bench_coverage.py [--rounds 11] [--levels 5 4 2 0]

Painted are the tissue and the patches of a slide of 60000 x 50000 pixels, in the bands and the order of a run with one
thread; no slide is read and nothing is encoded. The outlines are those that a segmentation at 1/32 would find, in one
case `rough`: with a ragged border and many holes. Counted is all that a painter does for the check alone: preparing it,
asking for each band whether it waits for patches, looking at the band, rows of tissue that painting would not need, and
counting at the end. Beside it stands the time of the same painter without the check. The check of frames is that of a
slide with a scanned area.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_draw import SIZE, _patches
from benchmarks.big_slide import TILE, tissue_at
from mil_heatmaps.slides.frames import place_grid
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization import drawing as drawing_module
from mil_heatmaps.visualization.colour_rule import ColourScale
from mil_heatmaps.visualization.drawing import Drawing, Painter
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.overlay import band_rows

TISSUE_SCALE = 32
LEVELS = (5, 4, 2, 0)
CASES = ((20_000, 0.0, False), (20_000, 0.5, False), (100_000, 0.0, False), (20_000, 0.0, True))
"""Patches, their overlap, and whether the outlines are rough."""


def tissue(*, rough: bool) -> TissueMask:
    """Return the outlines of the slide's tissue as a segmentation at 1/32 finds them; `rough` adds a ragged border."""
    width, height = SIZE[0] // TISSUE_SCALE, SIZE[1] // TISSUE_SCALE
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    mask = tissue_at(x[None], y[:, None]).astype(np.uint8)
    if rough:
        noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(height, width)), (0, 0), 6)
        soft = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 12)
        mask = (soft + 0.25 * noise / noise.std() > 0.5).astype(np.uint8)
    found, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    pieces = [n for n, (*_, parent) in enumerate(tree[0]) if parent < 0]
    holes = [[found[n] for n, (*_, parent) in enumerate(tree[0]) if parent == piece] for piece in pieces]
    scaled = [np.asarray(found[n] * TISSUE_SCALE, np.int32) for n in pieces]
    return TissueMask(
        tuple(scaled), tuple(tuple(np.asarray(hole * TISSUE_SCALE, np.int32) for hole in own) for own in holes)
    )


def drawing_of(level: int, count: int, overlap: float, *, rough: bool) -> Drawing:
    """Return a drawing of about `count` patches at 1 / 2**level whose slide can say only its size."""
    coords, scores, size = _patches(count, overlap)
    size_px = SIZE[0] >> level, SIZE[1] >> level
    slide: Any = SimpleNamespace(
        dimensions_l0=SIZE, slide_id="bench", tiff_level=lambda _: SimpleNamespace(tile_px=(TILE, TILE))
    )
    return Drawing(
        slide=slide, frame=Frame(level, size_px, (SIZE[0] / size_px[0], SIZE[1] / size_px[1])),
        grid=PatchGrid(coords, (size, size), (size, size)), patches=slice(None),
        shades=(scores - scores.min()) / np.ptp(scores), tissue=tissue(rough=rough), cmap="jet", alpha=0.4,
        blank_canvas=False, use_holes=True, binarize=False, thresh=0.5, threshold=None, smooth="none", blur_px=None,
        scale=ColourScale(),
    )  # fmt: skip


class Timed:
    """A method of an object, whose CPU seconds are added up."""

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds, self._method = 0.0, getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        began = time.thread_time()
        try:
            return self._method(*args, **kwargs)
        finally:
            self.seconds += time.thread_time() - began


def read_after_filling(raster: Any) -> None:
    """Let the rows of tissue be read once, as painting does, so that the check is not charged for their memory."""
    fill = raster.rows

    def rows(y0: int, y1: int) -> Any:
        found = fill(y0, y1)
        cv2.countNonZero(found)
        return found

    raster.rows = rows


def painted(drawing: Drawing) -> tuple[float, float]:
    """Return the CPU seconds of the check while all bands are prepared, and those of preparing them without it."""
    began = time.thread_time()
    bare = Painter(drawing)
    height, rows = drawing.size_px[1], band_rows(drawing)
    for y0 in range(0, height, rows):
        bare.band(y0, min(y0 + rows, height))
    without = time.thread_time() - began

    prepare = Timed(drawing_module, "Coverage")
    painter = Painter(drawing, watch=True)
    drawing_module.Coverage = prepare._method  # type: ignore[misc]
    read_after_filling(painter.tissue)
    parts = [prepare, *(Timed(painter.coverage, name) for name in ("waits", "look")), Timed(painter, "uncoloured")]
    timing = Timed(SimpleNamespace(nothing=lambda: None), "nothing")
    fill, not_needed = Timed(painter.tissue, "rows"), 0.0
    for y0 in range(0, height, rows):
        before = fill.seconds
        if painter.band(y0, min(y0 + rows, height)) is None:
            not_needed += fill.seconds - before
        timing()
    painter.uncoloured()
    return sum(part.seconds for part in parts) + not_needed - timing.seconds, without


def frames(count: int) -> float:
    """Return the CPU seconds of the check of a file's frame, on a slide with a scanned area."""
    coords, _, size = _patches(count, 0.0)
    grid = PatchGrid(coords, (size, size), (size, size))
    space = SlideSpace((SIZE[0] + 5000, SIZE[1] + 5000), (5000, 5000, *SIZE))
    began = time.thread_time()
    place_grid(grid, space)
    return time.thread_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--levels", type=int, nargs="+", choices=LEVELS, default=LEVELS)
    options = parser.parse_args()
    np.ones(2 << 20)  # freed at once: a run that has read a level keeps its memory for small arrays, too
    print("CPU ms per 10,000 patches, medians of", options.rounds)
    print(f"{'case':44} {'check':>8} {'bands without it':>17}")
    for level in options.levels:
        for count, overlap, rough in CASES:
            drawing = drawing_of(level, count, overlap, rough=rough)
            per = 1e7 / len(drawing.grid)
            runs = [painted(drawing) for _ in range(options.rounds)]
            check, without = (per * statistics.median(each) for each in zip(*runs, strict=True))
            name = f"1/{2**level}, {len(drawing.grid):,} patches, overlap {overlap}{', rough' * rough}"
            print(f"{name:44} {check:8.2f} {without:17.2f}", flush=True)
    for count in (20_000, 100_000):
        print(f"frame of {count:,} patches: {1e7 / count * statistics.median(frames(count) for _ in range(101)):.3f}")


if __name__ == "__main__":
    main()
