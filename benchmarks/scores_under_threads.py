"""Ask every model for its scores again and again while all cores are busy and torch's number of threads changes.

    python benchmarks/scores_under_threads.py --times 200

Compares every score with the first answer, made alone with one thread. A number that moves further than
rounding is named, with by how much and under how many threads. Exit code 1 when one does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from mil_heatmaps.models.inference import infer
from mil_heatmaps.scores.patch_scores import PatchScores
from tests.helpers.small_models import EVERY, small_model

ROUNDING = 2e-5
"""For numbers of about 1: float32 sums over a thousand patches, in another order."""

SLOW = ("occlusion", "mask_regression", "integrated_gradients")
"""Explanations of hundreds of forwards each; they repeat the same forwards many times."""

FEW = 12
"""Patches of the bag for the other explanations, some of which ask the model once a patch."""

FEWER = {"rrt": 2}
"""Fewer still: rrt inverts matrices of 256 landmarks for a bag of any size, some 50 ms a forward, and there would be a
hundred forwards for the explanations of twelve patches."""


def busy(stop: object) -> None:
    """Keep a core busy."""
    values = np.random.default_rng(0).normal(size=(200, 200))
    while not stop.is_set():  # type: ignore[attr-defined]
        values = np.tanh(values @ values.T / 200)


def _largest(before: dict[str, PatchScores], after: dict[str, PatchScores]) -> tuple[float, str]:
    """Return by how much the scores differ, as a share of the largest of each, and the score that differs most."""
    found = [(0.0, "")]
    for key, one in before.items():
        scale, other = max(1.0, float(np.nanmax(np.abs(one.values)))), after[key].values
        if not np.array_equal(np.isnan(one.values), np.isnan(other)):
            found.append((float("inf"), key))
        else:
            found.append((float(np.nanmax(np.abs(one.values - other))) / scale, key))
    return max(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--patches", type=int, default=400, help="of the bag for the model's own scores")
    parser.add_argument("--models", nargs="+", choices=EVERY, default=list(EVERY))
    args = parser.parse_args()
    stop, load = threading.Event(), multiprocessing.Event()
    workers = [multiprocessing.Process(target=busy, args=(load,)) for _ in range(multiprocessing.cpu_count())]
    for worker in workers:
        worker.start()

    def change_threads() -> None:
        number = 0
        while not stop.is_set():
            number = number % 4 + 1
            torch.set_num_threads(number)
            time.sleep(0.0007)

    moved = 0
    try:
        for name in args.models:
            model, began = small_model(name), time.perf_counter()
            bag = np.random.default_rng(1).normal(size=(args.patches, 24)).astype(np.float32)
            own = list(model.score_specs())
            others = [one for one in model.score_names() if one not in (*own, *SLOW)]
            asked = [(bag, own), (bag[: FEWER.get(name, FEW)], others)]
            torch.set_num_threads(1)
            first = [infer(model, features, scores=wanted)[1] for features, wanted in asked if wanted]
            changer = threading.Thread(target=change_threads)
            stop.clear()
            changer.start()
            worst, where = 0.0, ""
            for _ in range(args.times):
                for (features, wanted), before in zip(asked, first, strict=False):
                    moved_by, key = _largest(before, infer(model, features, scores=wanted)[1])
                    worst, where = max((worst, where), (moved_by, key))
            stop.set()
            changer.join()
            bad = worst > ROUNDING
            moved += bad
            scores = sum(map(len, first))
            said = f"{args.times} times, {scores} scores: {'MOVED ' if bad else ''}{worst:.2g} {where}"
            print(f"{name:<26} {said} ({time.perf_counter() - began:.0f} s)", flush=True)
    finally:
        stop.set()
        load.set()
        for worker in workers:
            worker.join()
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
