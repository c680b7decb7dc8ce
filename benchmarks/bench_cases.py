"""What a bag of several slides costs beside its slides alone, what planning costs, and a concept map.

    python benchmarks/bench_cases.py                     a case of 5 x 20,000 patches, 1,000 cases, 100,000 patches
    python benchmarks/bench_cases.py --patches 2000 --cases 100

scoring   CPU seconds of the attention stage of five slides as one case over those of five slides alone: features of
          1536 numbers in HDF5, read, scored by ABMIL and written. Both ways run in turn in one process.
planning  seconds of one core to survey so many finished slides as every run does first: as slides alone, as cases of
          one, and as cases of two and of five slides, which are as many slides in fewer cases
concepts  seconds of the scores of 100,000 patches against eight concepts, reading left out
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WIDTH = 1536
SIDE = 16
SLIDES = 5
STAGES = ("coords", "attention", "heatmap")
"""Stages of a finished slide of the planned cohort: as many as a usual run has on record."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=20_000, help="of each slide of the case")
    parser.add_argument("--cases", type=int, default=1_000, help="that are planned")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("scoring", "planning", "concepts"), help="one of the three")
    parser.add_argument("--keep", type=Path, help="folder of the planned cohorts, made where they are not there yet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.only in (None, "scoring"):
            _scoring(Path(folder) / "scoring", options.patches, options.rounds)
        if options.only in (None, "planning"):
            _planning(options.keep or Path(folder) / "planning", options.cases, options.rounds)
    if options.only in (None, "concepts"):
        _concepts()
    return 0


def _scoring(root: Path, patches: int, rounds: int) -> None:
    from mil_heatmaps.execution.slide_tasks import use_one_thread

    use_one_thread()
    runs = {bag: _cohort(root / bag, bag, [patches] * SLIDES, ["P"] * SLIDES) for bag in ("slide", "case")}
    found: dict[str, list[float]] = {bag: [] for bag in runs}
    for number in range(rounds + 1):  # the first round warms up
        for bag, config in runs.items():
            seconds = _attention_cpu(config)
            found[bag] += [seconds] if number else []
    slide, case = (statistics.median(found[bag]) for bag in ("slide", "case"))
    told = f"case {case:.2f} s CPU, slides {slide:.2f} s, ratio {case / slide:.3f}"
    print(f"scoring   {SLIDES} x {patches:,} patches: {told}")


def _attention_cpu(config: Path) -> float:
    """Return the CPU seconds of the attention stages, without any reuse."""
    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner, RunOptions

    before = RunOptions(stages=("segment", "coords"))
    Runner(load_config(config), before).run()
    runner = Runner(load_config(config), RunOptions(stages=("attention",), rerun="all"))
    start = time.process_time()
    summary = runner.run()
    assert not summary.failed, summary.failed
    return time.process_time() - start


def _planning(root: Path, count: int, rounds: int) -> None:
    surveys = {}
    for name, size in (("slides", 0), ("cases of one", 1), ("cases of two", 2), ("cases of five", 5)):
        cases = [f"P{number // max(size, 1)}" for number in range(count)]
        surveys[name], done = root / str(size) / "config.yaml", root / str(size) / "done"
        if not surveys[name].is_file():
            _cohort(root / str(size), "case" if size else "slide", [16] * count, cases, width=16)
        if not done.is_file():
            _finish(surveys[name])
            done.touch()
    seconds: dict[str, list[float]] = {name: [] for name in surveys}
    for number in range(4 * rounds + 1):
        for name, config in surveys.items():
            taken = _survey_seconds(config)
            seconds[name] += [taken] if number else []
    base = statistics.median(seconds.pop("slides"))
    for name, taken_by in seconds.items():
        each = statistics.median(taken_by)
        print(f"planning  {count:,} slides in {name}: {each:.3f} s, as slides {base:.3f} s, ratio {each / base:.3f}")


def _finish(config: Path) -> None:
    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner, RunOptions

    summary = Runner(load_config(config), RunOptions(stages=STAGES)).run()
    assert not summary.failed, next(iter(summary.failed.values()))


def _survey_seconds(config: Path) -> float:
    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.machine import no_collection
    from mil_heatmaps.pipeline.runner import Runner, RunOptions

    start = time.process_time()
    runner = Runner(load_config(config), RunOptions(stages=STAGES))
    with no_collection():
        found = list(runner.plan())
    taken = time.process_time() - start
    assert not any(slide.needed for slide in found)
    return taken


def _concepts() -> None:
    from mil_heatmaps.scores.concepts import Concepts

    rng = np.random.default_rng(0)
    values = rng.standard_normal((100_000, WIDTH), np.float32)
    concepts = Concepts.of({f"c{n}": rng.standard_normal(WIDTH) for n in range(8)}, "benchmark")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        concepts.scores(values)
        seconds.append(time.perf_counter() - start)
    print(f"concepts  100,000 patches against 8: {statistics.median(seconds):.2f} s beyond reading")


def _cohort(root: Path, bag: str, patches: list[int], cases: list[str], width: int = WIDTH) -> Path:
    """Write slides (one file under many names), features, checkpoint, list and config; return the config."""
    import h5py
    import torch
    import yaml

    from mil_heatmaps.checkpoints.builder import create_model
    from tests.helpers.slides import make_tiled_pyramid

    (root / "slides").mkdir(parents=True)
    (root / "h5").mkdir()
    across = max(8, int(np.ceil(max(patches) ** 0.5)))
    make_tiled_pyramid(root / "slides" / "s0.tif", (across * SIDE, across * SIDE), downsamples=(1, 8))
    rng = np.random.default_rng(0)
    rows = ["slide_id,case_id"]
    for number, (count, case) in enumerate(zip(patches, cases, strict=True)):
        if number:
            (root / "slides" / f"s{number}.tif").hardlink_to(root / "slides" / "s0.tif")
        where = np.arange(count)
        coords = np.stack([where % across, where // across], 1) * SIDE
        with h5py.File(root / "h5" / f"s{number}.h5", "w") as file:
            values = rng.standard_normal((count, width), np.float32)
            file.create_dataset("features", data=values, chunks=(min(count, 500), width))
            told = {"patch_size": SIDE, "patch_size_level0": SIDE, "overlap": 0}
            file.create_dataset("coords", data=coords).attrs.update(told)
        rows.append(f"s{number},{case}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    model = create_model("abmil.base.uni_v2.none" if width == WIDTH else "abmil", 2) if width == WIDTH else None
    if model is None:
        from tests.helpers.cohort import write_abmil

        write_abmil(root / "m.pt", width=width)
    else:
        torch.save(model.state_dict(), root / "m.pt")
    config: dict[str, Any] = {
        "exp_arguments": {"save_exp_code": "E", **{f"{name}_dir": str(root / name) for name in ("raw_save",)},
                          "production_save_dir": str(root / "prod"), "results_dir": str(root / "results")},
        "data_arguments": {"data_dir": str(root / "slides"), "process_list": str(root / "list.csv"),
                           "h5_dir": str(root / "h5"), "bag": bag},
        "model_arguments": {"ckpt_path": str(root / "m.pt"), "device": "cpu"},
        "heatmap_arguments": {"figure": False, "segment": False},
        "run_arguments": {"workers": 1, "isolate": "never"},
    }  # fmt: skip
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


if __name__ == "__main__":
    sys.exit(main())
