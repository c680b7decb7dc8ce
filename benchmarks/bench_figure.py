"""How long a figure takes and what memory it needs, beside an earlier checkout; how large its PDF is.

    python benchmarks/bench_figure.py --before ../earlier_checkout
    python benchmarks/bench_figure.py --slide S.svs --h5 S.h5 --pairs 21

Each checkout draws in a process of its own, which stays; the two are asked in turn. Ratios are of pairs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKER = """
import json, sys, time
from pathlib import Path
import h5py, numpy as np
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.figure import FigureText, write_figure
from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View

slide_path, h5, side, out = sys.argv[1:5]
with h5py.File(h5) as file:
    coords = np.asarray(file["coords"]).astype(np.int64)
grid = PatchGrid(coords, (int(side),) * 2, (int(side),) * 2)
scores = np.random.default_rng(0).normal(size=len(grid)).astype(np.float32)
text = FigureText(score_name="attention", slide_id="slide", label="lesion", model="abmil")
wsi = TissueSlide(open_slide(slide_path, threads=2))
wsi.segment_tissue(filter_params={"a_t": 1, "a_h": 1, "max_n_holes": 8})

def draw():
    drawing = plan_heatmap(scores, grid, wsi, View(), ColourRule())
    write_figure(out, drawing, scores, text)

draw()
print("ready", flush=True)
for line in sys.stdin:
    started, cpu = time.perf_counter(), time.process_time()
    draw()
    took = time.perf_counter() - started, time.process_time() - cpu
    memory = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM")]
    print(json.dumps([*took, int(memory[0].split()[1]) / 1024]), flush=True)
"""


class Drawer:
    """A process that draws one figure repeatedly with the code of a checkout."""

    def __init__(self, checkout: Path, slide: Path, h5: Path, side: int, out: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        command = [sys.executable, "-c", WORKER, str(slide), str(h5), str(side), str(out)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"{checkout} cannot draw {slide.name}")

    def ask(self) -> tuple[float, float, float]:
        """Draw once; return seconds, CPU seconds and the peak memory so far, MB."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("draw\n")
        self._process.stdin.flush()
        seconds, cpu, memory = json.loads(self._process.stdout.readline())
        return seconds, cpu, memory

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def bench(slide: Path, h5: Path, side: int, before: Path | None, pairs: int) -> None:
    """Print medians of time and memory, and the size of the printable PDF."""
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {"now": ROOT, **({"before": before.resolve()} if before is not None else {})}
        drawers = {
            name: Drawer(place, slide.resolve(), h5.resolve(), side, Path(folder, f"{name}.png"))
            for name, place in checkouts.items()
        }
        told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in drawers}
        for number in range(pairs):
            for name in sorted(drawers, reverse=bool(number % 2)):
                told[name].append(drawers[name].ask())
        for drawer in drawers.values():
            drawer.close()
        for name, rows in told.items():
            seconds, cpu = (statistics.median(row[at] for row in rows) for at in (0, 1))
            print(f"{slide.name}, {name}: {seconds:.3f} s, {cpu:.3f} s CPU, peak {rows[-1][2]:.0f} MB")
        if before is not None:
            ratios = [now[0] / then[0] for now, then in zip(told["now"], told["before"], strict=True)]
            memory = told["now"][-1][2] / told["before"][-1][2]
            print(f"  ratio of {pairs} pairs: median {statistics.median(ratios):.3f} "
                  f"({min(ratios):.3f} to {max(ratios):.3f}), memory {memory:.3f}")  # fmt: skip
    print(f"  PDF of 180 mm at 300 dpi: {pdf_mb(slide, h5, side):.2f} MB")


def pdf_mb(slide: Path, h5: Path, side: int) -> float:
    """Return the size of the printable figure."""
    import h5py
    import numpy as np

    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.reader import open_slide
    from mil_heatmaps.visualization.colour_rule import ColourRule
    from mil_heatmaps.visualization.figure import write_figure
    from mil_heatmaps.visualization.figure_style import PRESETS
    from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
    from mil_heatmaps.visualization.tissue_slide import TissueSlide
    from mil_heatmaps.visualization.view import View

    with h5py.File(h5) as file:
        coords = np.asarray(file["coords"]).astype(np.int64)
    grid = PatchGrid(coords, (side, side), (side, side))
    scores: Any = np.random.default_rng(0).normal(size=len(grid)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, TissueSlide(open_slide(slide, threads=2)) as wsi:
        wsi.segment_tissue(filter_params={"a_t": 1, "a_h": 1, "max_n_holes": 8})
        path = Path(folder, "figure.pdf")
        drawing = plan_heatmap(scores, grid, wsi, View(), ColourRule())
        write_figure(path, drawing, scores, style=PRESETS["journal_double"])
        return path.stat().st_size / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    demo = ROOT / "heatmaps" / "demo"
    parser.add_argument("--slide", type=Path, default=demo / "slides" / "demo_01_pyramid.tiff")
    parser.add_argument("--h5", type=Path, default=demo / "h5_files" / "demo_01_pyramid.h5")
    parser.add_argument("--patch", type=int, default=256, help="side of a patch in level-0 pixels")
    parser.add_argument("--before", type=Path, help="an earlier checkout")
    parser.add_argument("--pairs", type=int, default=11)
    args = parser.parse_args()
    bench(args.slide, args.h5, args.patch, args.before, args.pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
