"""Reading, tissue and patch grids, stage by stage, compared with an earlier checkout in pairs of processes.

    python benchmarks/slides_before.py --before ../old [--size 16000x12000] [--pairs 11]

The slide of bench_slides.py is made once. Every process opens the slide and does each stage several times and reports
the medians of its CPU seconds; printed are the medians over the processes, and of the ratios within pairs. The order of
a pair changes from pair to pair. The package is `mil_heatmaps`, or `src` in checkouts of before it had that name.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_TIMES = 5


def measured(checkout: Path, path: Path) -> dict[str, float]:
    """Return CPU seconds by stage, of the package in `checkout`."""
    now = (checkout / "src" / "mil_heatmaps").is_dir()
    sys.path[:0] = [str(checkout / "src"), str(checkout)] if now else [str(checkout)]
    package = "mil_heatmaps" if now else "src"
    reader, tissue, grid = (import_module(f"{package}.slides.{name}") for name in ("reader", "tissue", "contour_grid"))
    import cv2
    import imagecodecs  # noqa: F401
    import tifffile  # noqa: F401

    cv2.setNumThreads(1)
    limits: dict[str, Any] = {"a_t": 1, "a_h": 0.05, "max_n_holes": 8}
    options: dict[str, Any] = {"sthresh": 15, "mthresh": 7, "close": 4}

    def segment(slide: Any, level: int) -> Any:
        if not now:
            return tissue.segment_tissue(slide, seg_level=level, filter_params=limits, **options)
        params = import_module("mil_heatmaps.slides.segmentation_params").SegmentationParams
        return tissue.segment_tissue(slide, params(seg_level=level, **limits, **options))

    def opened(work: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with reader.open_slide(path, threads=1) as slide:
                return work(slide)

        return run

    def patches(slide: Any) -> None:
        x0, y0 = (side // 2 for side in slide.dimensions_l0)
        for x in range(x0, x0 + 1024, 128):
            for y in range(y0, y0 + 2048, 128):
                slide.read_region((x, y), 0, (256, 256))

    stages: dict[str, Callable[[], Any]] = {"open": opened(lambda slide: None)}
    for level in (1, 2):
        stages[f"read level {level}"] = opened(lambda slide, level=level: slide.read_level(level))
    stages["read 128 patches, half overlap"] = opened(patches)
    for level in (2, 3):
        stages[f"tissue at level {level}"] = opened(lambda slide, level=level: segment(slide, level))
    with reader.open_slide(path, threads=1) as slide:
        mask = segment(slide, 3)
        for step in (192, 128):
            stages[f"grid of step {step}"] = lambda step=step: grid.region_grid(  # type: ignore[misc]
                mask, slide, patch_size=256, step_size=step, use_center_shift=True
            )
        return {name: median_cpu(work) for name, work in stages.items()}


def median_cpu(work: Callable[[], Any]) -> float:
    work()
    taken = []
    for _ in range(_TIMES):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="an earlier checkout")
    parser.add_argument("--size", default="16000x12000")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--slide", type=Path, help="use this slide of at least four levels instead of making one")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.slide)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if (slide := options.slide) is None:
            sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
            from benchmarks.bench_slides import make_slide

            slide = make_slide(Path(folder) / "slide.tif", tuple(map(int, options.size.split("x"))))  # type: ignore[arg-type]
        found: dict[Path, list[dict[str, float]]] = {options.before.resolve(): [], ROOT: []}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        for number in range(options.pairs):
            for checkout in list(found)[:: 1 if number % 2 else -1]:
                command = [sys.executable, __file__, "--before", str(options.before), "--one", str(checkout)]
                done = subprocess.run([*command, "--slide", str(slide)], capture_output=True, text=True, check=True,
                                      env=environment)  # fmt: skip
                found[checkout].append(json.loads(done.stdout.splitlines()[-1]))
        before, after = found.values()
        print(f"{'':32} {'before':>9} {'now':>9}   ratio of CPU time, {options.pairs} pairs")
        for name in [*before[0], "sum"]:
            pairs = [(sum(a.values()), sum(b.values())) if name == "sum" else (a[name], b[name])
                     for a, b in zip(before, after, strict=True)]  # fmt: skip
            old, new = (1000 * statistics.median(each) for each in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in pairs)
            print(f"{name:32} {old:6.1f} ms {new:6.1f} ms   {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()
