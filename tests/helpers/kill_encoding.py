"""Kill an extraction again and again; tests/encoders/test_extract.py runs it in a separate process.

The children are forked from here, where everything is already imported, so that each spends its life on the work.
Writes result.json in a folder for each kind: kills that came in time, total patches encoded, whether the work was done
before the last kill.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mil_heatmaps.encoders import batch_size
from mil_heatmaps.encoders.extract import extract_features
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import open_slide
from tests.helpers.waiting import LONG_S

PART = 4
THREADS = 2


class SlowEncoder:
    """Means of the colours, slowly; records how many patches it encoded. Uses no torch threads, as it is forked."""

    name, width = "slow", 3

    def __init__(self, tally: Path, seconds: float, until_kill: int, parallel: bool) -> None:
        self.parallel = parallel
        self._tally = tally
        self._seconds = seconds
        self._until_kill = until_kill

    def preprocess(self, batch: npt.NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(batch)

    def encode(self, tensor: torch.Tensor) -> Any:
        # The kill comes with the batch with which it is due; the next one waits for it, however busy the machine.
        self._until_kill -= 1
        if self._until_kill < 0 and self._seconds:
            time.sleep(LONG_S)
        with self._tally.open("a") as file:
            file.write(f"{len(tensor)}\n")
        time.sleep(self._seconds * (10 if self._until_kill <= 0 else 1))
        return tensor.numpy().mean((1, 2), dtype=np.float32) / 255


def batch_of(parallel: bool) -> int:
    """Patches in progress at a time: of two lanes together, or of one thread."""
    return PART * THREADS if parallel else PART


def extract(
    slide_path: str, out: Path, tally: Path, seconds: float, until_kill: int = 0, *, parallel: bool
) -> None:
    """Encode a grid of 400 overlapping patches."""
    x, y = np.meshgrid(np.arange(25) * 32, np.arange(16) * 32)
    coords = np.stack([x.ravel(), y.ravel()], 1).astype(np.int64)
    with open_slide(slide_path) as slide:
        grid = PatchGrid(coords, (64, 64), (32, 32))
        encoder = SlowEncoder(tally, seconds, until_kill, parallel)
        extract_features(slide, grid, encoder, out, batch_size=batch_of(parallel), threads=THREADS)


def lines(path: Path) -> int:
    return len(path.read_text().split()) if path.exists() else 0


def run_child(
    slide_path: str, out: Path, tally: Path, seconds: float, batches: int, then: float, *, parallel: bool
) -> bool:
    """Run an extraction, kill it `then` seconds after `batches` batches; return whether the kill came in time."""
    before = lines(tally)
    child = os.fork()
    if child == 0:
        try:
            extract(slide_path, out, tally, seconds, batches, parallel=parallel)
        finally:
            os._exit(0)
    while lines(tally) < before + batches:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    time.sleep(then)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def kill_again_and_again(slide_path: str, folder: Path, kills: int, *, parallel: bool) -> None:
    """Write result.json of one kind."""
    folder.mkdir()
    chance = random.Random(7)
    batch_size.CPU_BATCH = PART
    out, tally = folder / "slide.h5", folder / "tally"
    # Undisturbed, in this process: gives the result to compare with, and runs every late import before forking.
    extract(slide_path, folder / "undisturbed.h5", folder / "undisturbed_tally", 0.0, parallel=parallel)
    hits = sum(
        run_child(slide_path, out, tally, 0.004, chance.randint(1, 5), chance.uniform(0, 0.04), parallel=parallel)
        for _ in range(kills)
    )
    done_early = out.exists()
    run_child(slide_path, out, tally, 0.0, 1 << 30, 0.0, parallel=parallel)
    encoded = sum(map(int, tally.read_text().split()))
    result = {"kills": hits, "encoded": encoded, "done_early": done_early, "batch": batch_of(parallel)}
    (folder / "result.json").write_text(json.dumps(result))


def main() -> None:
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # the process dies, not the machine
    slide_path, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    for kind in sys.argv[4:]:
        kill_again_and_again(slide_path, folder / kind, kills, parallel=kind == "parallel")


if __name__ == "__main__":
    main()
