"""Measure reading, tissue and patch grids against the usual way of doing each, in the same run.

The slide is made first, a pyramid of noisy tissue; every result is checked to equal the reference's. CPU seconds are
of all threads, medians of the rounds.

    python benchmarks/bench_slides.py [--size 60000x50000] [--rounds 5]
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import openslide

from mil_heatmaps.slides.contour_grid import region_grid
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.segmentation_params import SegmentationParams
from mil_heatmaps.slides.tissue import TissueMask, segment_tissue
from mil_heatmaps.slides.tissue_binary import tissue_binary
from mil_heatmaps.slides.write_pyramid import write_pyramid

PATCH = 256


def make_slide(path: Path, size: tuple[int, int]) -> Path:
    """Write noisy round pieces of tissue with holes, levels 1, 4, 16 and 32, JPEG tiles of 256."""
    width, height = size
    block = np.random.default_rng(0).normal(0, 30, (1024, 1024, 3)).astype(np.float32)
    texture = np.clip(cv2.GaussianBlur(block, (0, 0), 1.2) * 3 + (200, 120, 170), 0, 255).astype(np.uint8)
    picture = np.full((height, width, 3), 243, np.uint8)
    for cx, cy in ((0.27, 0.3), (0.72, 0.35), (0.5, 0.75)):
        centre, radius = (int(cx * width), int(cy * height)), int(0.21 * min(size))
        cv2.circle(picture, centre, radius, (0, 0, 0), -1)
        cv2.circle(picture, (centre[0] + radius // 3, centre[1]), radius // 4, (243, 243, 243), -1)
    for y in range(0, height, 1024):
        for x in range(0, width, 1024):
            part = picture[y : y + 1024, x : x + 1024]
            np.copyto(part, texture[: part.shape[0], : part.shape[1]], where=part == 0)
    return write_pyramid(path, picture, downsamples=(1, 4, 16, 32), quality=75)


def measure(rounds: int, *ways: Callable[[], Any]) -> list[tuple[float, float, Any]]:
    """Return (CPU s, wall s, result) of every way, rounds interleaved."""
    times: list[list[tuple[float, float]]] = [[] for _ in ways]
    results: list[Any] = [None] * len(ways)
    for _ in range(rounds):
        for number, way in enumerate(ways):
            cpu, wall = time.process_time(), time.perf_counter()
            results[number] = way()
            times[number].append((time.process_time() - cpu, time.perf_counter() - wall))
    return [
        (statistics.median(c for c, _ in taken), statistics.median(w for _, w in taken), result)
        for taken, result in zip(times, results, strict=True)
    ]


def report(name: str, ours: tuple[float, float, Any], reference: tuple[float, float, Any], equal: bool) -> bool:
    ratio = reference[0] / max(ours[0], 1e-9)
    print(
        f"{name:<58} {ours[0]:8.3f} {ours[1]:8.3f}   {reference[0]:8.3f} {reference[1]:8.3f}   "
        f"{ratio:6.1f}x   {'equal' if equal else 'DIFFERENT'}"
    )
    return equal


def level_by_openslide(path: Path, level: int) -> npt.NDArray[np.uint8]:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]).convert("RGB"))


def level_by_us(path: Path, level: int, threads: int) -> npt.NDArray[np.uint8]:
    with open_slide(path, threads=threads) as slide:  # opening and checking are part of the cost
        return slide.read_level(level)


def patches_by_openslide(path: Path, corners: list[tuple[int, int]]) -> int:
    with openslide.OpenSlide(path) as slide:
        regions = (np.asarray(slide.read_region(corner, 0, (PATCH, PATCH)).convert("RGB")) for corner in corners)
        return sum(int(region.sum()) for region in regions)


def patches_by_us(path: Path, corners: list[tuple[int, int]]) -> int:
    with open_slide(path, threads=1) as slide:
        return sum(int(slide.read_region(corner, 0, (PATCH, PATCH)).sum()) for corner in corners)


def mask_in_the_usual_order(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Median, threshold, close: the order of the description."""
    saturation = cv2.extractChannel(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV), 1)
    binary = cv2.threshold(cv2.medianBlur(saturation, 7), 15, 255, cv2.THRESH_BINARY)[1]
    binary = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, np.ones((4, 4), np.uint8))
    cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return binary


def grid_point_by_point(mask: TissueMask, step: int) -> npt.NDArray[np.int64]:
    """Test every candidate with OpenCV: four points in the piece, the centre in no hole."""
    half, shift = PATCH // 2, PATCH // 4
    found = []
    for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True):
        left, top, width, height = cv2.boundingRect(contour)
        for x in range(left, left + width, step):
            for y in range(top, top + height, step):
                cx, cy = x + half, y + half
                around = ((cx - shift, cy - shift), (cx + shift, cy + shift), (cx + shift, cy - shift),
                          (cx - shift, cy + shift))  # fmt: skip
                if all(cv2.pointPolygonTest(contour, point, False) >= 0 for point in around) and not any(
                    cv2.pointPolygonTest(hole, (cx, cy), False) > 0 for hole in holes
                ):
                    found.append((x, y))
    return np.array(found, np.int64).reshape(-1, 2)


def bench_reading(path: Path, rounds: int) -> bool:
    good = True
    for level in (1, 2):
        for threads in (1, 2):
            ours, theirs = measure(
                rounds,
                lambda level=level, threads=threads: level_by_us(path, level, threads),
                lambda level=level: level_by_openslide(path, level),
            )
            height, width = ours[2].shape[:2]
            name = f"open and read level {width} x {height}, {threads} thread(s)"
            good &= report(name, ours, theirs, np.array_equal(ours[2], theirs[2]))
    with open_slide(path) as slide:
        width, height = slide.dimensions_l0
    # Column by column with half overlap, in the order of patches.
    right, bottom = width // 2, height // 2
    corners = [(x, y) for x in range(right, right + 1024, 128) for y in range(bottom, bottom + 2048, 128)]
    ours, theirs = measure(rounds, lambda: patches_by_us(path, corners), lambda: patches_by_openslide(path, corners))
    return good & report(f"{len(corners)} patches of {PATCH}, half overlap", ours, theirs, ours[2] == theirs[2])


def bench_tissue(slide: Slide, rounds: int) -> tuple[bool, TissueMask]:
    options: dict[str, Any] = {"sthresh": 15, "mthresh": 7, "close": 4}
    limits: dict[str, Any] = {"a_t": 1, "a_h": 0.05, "max_n_holes": 8}
    good, mask = True, TissueMask()
    for level in (2, 3):
        picture = slide.read_level(level)
        ours, theirs = measure(
            rounds,
            lambda level=level: segment_tissue(slide, SegmentationParams(seg_level=level, **limits, **options)),
            lambda picture=picture: mask_in_the_usual_order(picture),
        )
        equal = np.array_equal(tissue_binary(slide, level, **options), theirs[2])
        height, width = picture.shape[:2]
        good &= report(f"tissue at {width} x {height} (ours reads the level too)", ours, theirs, equal)
        mask = ours[2]
    return good, mask


def bench_grid(slide: Slide, mask: TissueMask, rounds: int) -> bool:
    good = True
    for overlap in (0.25, 0.5):
        ours, theirs = measure(
            max(1, rounds // 3),
            lambda overlap=overlap: region_grid(
                mask, slide, patch_size=PATCH, step_size=int(PATCH * (1 - overlap)), use_center_shift=True
            ),
            lambda overlap=overlap: grid_point_by_point(mask, int(PATCH * (1 - overlap))),
        )
        name = f"grid of {len(ours[2])} patches, overlap {overlap}"
        equal = np.array_equal(ours[2].coords_l0, theirs[2])
        good &= report(name, ours, theirs, equal)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="16000x12000", help="level-0 size of the slide (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default %(default)s)")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = make_slide(Path(folder) / "slide.tif", (width, height))
        print(
            f"slide {width} x {height}, {path.stat().st_size / 1e6:.0f} MB, OpenSlide {openslide.__library_version__}"
        )
        print(f"{'':<58} {'ours':>8} {'':>8}   {'reference':>8}")
        print(f"{'':<58} {'CPU s':>8} {'wall s':>8}   {'CPU s':>8} {'wall s':>8}   {'CPU':>6}")
        good = bench_reading(path, arguments.rounds)
        with open_slide(path, threads=1) as slide:
            same, mask = bench_tissue(slide, arguments.rounds)
            good &= same & bench_grid(slide, mask, arguments.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
