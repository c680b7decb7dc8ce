"""What the checks before reading cost of a slide's time: a run of bench_cohort's slides, with every check timed.

    python benchmarks/bench_checks.py --slides 12

Slides of 60000 x 50000 pixels with features of 20,000 patches, one process, `isolate: auto`. Prints the seconds that
each check took a slide (the looks of the process that opens HDF5 first, the headers, the sizes, the comparison of tile
headers) and their share of the median slide. The first slide, in which everything is imported, is left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_cohort import make  # noqa: E402

CHECKS = (
    ("files.hdf5_guard", "refusal"), ("files.hdf5", "refusal"), ("files.hdf5", "_check_size"),
    ("slides.header_checks", "headers_pass"), ("slides.header_checks", "refuse_large_tiles"),
    ("slides.sources", "refuse_large_tiles"), ("files.stand_ins", "stand_in"),
    ("files.safe_torch", "_refuse_inflating"), ("slides.tile_headers", "TileHeaders.first_lie"),
)  # fmt: skip
"""Where callers look up each check; a check called by another check counts once."""

calls: list[tuple[str, float, float]] = []
"""Name of a check, when it ended (seconds since 1970), and the seconds it took."""

inside = threading.local()


def timed(function: Any, name: str) -> Any:
    """Return the function; adds its time to `calls` unless another check called it."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if getattr(inside, "now", False):
            return function(*args, **kwargs)
        inside.now, began = True, time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            inside.now = False
            calls.append((name, time.time(), time.perf_counter() - began))

    return wrapper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=12)
    args = parser.parse_args()
    for module, name in CHECKS:
        holder: Any = importlib.import_module(f"mil_heatmaps.{module}")
        *classes, last = name.split(".")
        for each in classes:
            holder = getattr(holder, each)
        setattr(holder, last, timed(getattr(holder, last), last))
    import yaml

    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        values = yaml.safe_load(make(root, args.slides, 20_000).read_text())
        values["run_arguments"] = {"workers": 1}
        names = ("raw_save_dir", "production_save_dir", "results_dir")
        values["exp_arguments"] |= {"save_exp_code": "E", **{name: str(root / name) for name in names}}
        (root / "run.yaml").write_text(yaml.safe_dump(values))
        began = time.perf_counter()
        summary = Runner(load_config(root / "run.yaml")).run()
        seconds = time.perf_counter() - began
        events = [json.loads(line) for line in (root / "raw_save_dir" / "E" / "events.jsonl").read_text().splitlines()]
    if summary.failed:
        raise SystemExit(str(summary.failed))
    ends = sorted(event["time"] for event in events if event["event"] == "slide_finished")
    median = statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))
    print(f"{args.slides} slides in {seconds:.1f} s; the median slide takes {1000 * median:.0f} ms")
    spent: dict[str, float] = defaultdict(float)
    for name, moment, took in calls:
        spent[name] += took if moment > ends[0] else 0.0
    for name, each in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {name:<20} {1000 * each / (args.slides - 1):7.2f} ms a slide")
    whole = sum(spent.values()) / (args.slides - 1)
    print(f"all checks: {1000 * whole:.2f} ms a slide, {whole / median:.2%} of the median slide")


if __name__ == "__main__":
    main()
