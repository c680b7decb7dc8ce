"""What a consensus costs beside reading its score files once with bare h5py.

    python benchmarks/bench_insight.py [--slides 40] [--runs 5] [--patches 20000] [--phenotypes]

The goal is at most 4 times the processor time, for 5 runs x 1,000 slides x 20,000 patches; slides cost the same each,
so that a few tell. --phenotypes measures the clustering of 100,000 patches of 1536 columns (goal: 2 minutes, 3 GB).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from mil_heatmaps.insight.consensus_files import make_consensus
from mil_heatmaps.insight.runs import StudyRun, open_runs
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.slides.patch_grid import PatchGrid


def write_run(folder: Path, seed: int, slides: int, patches: int) -> None:
    rng = np.random.default_rng(seed)
    across = int(np.ceil(np.sqrt(patches)))
    number = np.arange(patches)
    coords = np.stack([number % across * 256, number // across * 256], axis=1).astype(np.int64)
    grid = PatchGrid(coords, (256, 256), (256, 256))
    chances = np.array([0.4, 0.6], np.float32)
    for slide in range(slides):
        values = rng.normal(size=(patches, 1)).astype(np.float32)
        home = folder / f"S{slide:04d}"
        home.mkdir(parents=True)
        write_scores(home / f"S{slide:04d}_blockmap.h5", ScoreFile(
            grid, PatchScores(grid, values, ("attention",), "attention_logit"), slide_id=f"S{slide:04d}",
            prediction=Prediction(("a", "b"), chances, np.log(chances)), slide_size_l0=(across * 256, across * 256),
        ))  # fmt: skip


def bare(runs: dict[str, StudyRun]) -> None:
    for run in runs.values():
        for slide in run.slides.values():
            with h5py.File(slide.scores) as file:
                for name in ("coords", "scores", "attention_scores"):
                    file[name][()]


def consensus(slides: int, count: int, patches: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / f"fold{number}" for number in range(count)]
        for number, folder in enumerate(folders):
            write_run(folder, number, slides, patches)
        runs = open_runs(folders)
        bare(runs)  # from here on the files are in the system's page cache
        started = time.process_time()
        bare(runs)
        reading = time.process_time() - started
        out = Path(place) / "out"
        out.mkdir()
        started = time.process_time()
        assert not [done.error for done in make_consensus(runs, out) if done.error]
        making = time.process_time() - started
        started = time.process_time()
        assert all(done.reused for done in make_consensus(runs, out))
        again = time.process_time() - started
    print(f"{count} runs x {slides} slides x {patches} patches, processor time a slide:")
    print(f"  bare h5py {reading / slides * 1e3:.1f} ms, consensus {making / slides * 1e3:.1f} ms, "
          f"once more {again / slides * 1e3:.2f} ms")  # fmt: skip
    print(f"  ratio {making / reading:.2f} (goal: at most 4)")


def phenotypes() -> None:
    from mil_heatmaps.insight.phenotypes import cluster

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 1536)).astype(np.float32)
    features = centres[rng.integers(0, 6, 100_000)]
    features += rng.normal(size=features.shape).astype(np.float32)
    started = time.perf_counter()
    found = cluster(features)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"100,000 x 1536: k = {found.k} in {seconds:.1f} s, {peak:.2f} GB at most (goal: 120 s, 3 GB); {found.words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--patches", type=int, default=20_000)
    parser.add_argument("--phenotypes", action="store_true")
    args = parser.parse_args()
    consensus(args.slides, args.runs, args.patches)
    if args.phenotypes:
        phenotypes()


if __name__ == "__main__":
    main()
