"""The least time for a slide of `bench_cohort.py`: the work that cannot be left out, in one thread, part by part.

`bench_cohort.py` runs it in separate processes, with the folder of a run's files and the number of patches.

Times are medians of CPU seconds over several passes over all parts. With two processes at once, the same work takes
each of them longer, as they share caches, memory and often the core itself: this is the floor for two workers.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WIDTH = 1536
LEVEL = 4  # 1/16
PASSES = 7

Parts = dict[str, Callable[[], object]]


def floor_of(folder: Path, patches: int, processes: int = 1) -> dict[str, float]:
    """Return the seconds of each part, averaged over this number of processes that measure at once."""
    command = [sys.executable, __file__, str(folder), str(patches)]
    at_once = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)]
    for process in at_once:
        assert process.stdout is not None
        process.stdout.readline()  # the process is ready
    told = []
    for process in at_once:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in at_once:
        told.append(json.loads(process.communicate()[0]))
    return {part: statistics.fmean(seconds[part] for seconds in told) for part in told[0]}


def make_parts(folder: Path, patches: int) -> Parts:
    """Return the parts: reading features, the matrix products, decoding the tiles read, encoding the pictures."""
    import cv2
    import h5py
    import imagecodecs
    import numpy as np
    import tifffile
    import torch
    from isal import isal_zlib

    from mil_heatmaps.visualization.png_stream import filter_rows

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    picture = np.asarray(imagecodecs.jpeg8_decode(next((folder / "prod").rglob("*_0*.jpg")).read_bytes()))
    outlines = np.asarray(imagecodecs.jpeg8_decode(next((folder / "raw").rglob("*_mask.jpg")).read_bytes()))
    rows = filter_rows(picture)
    slide = folder / "slides" / "s000.tif"
    with tifffile.TiffFile(slide) as tiff, slide.open("rb") as file:
        tiles = []
        for page in tiff.pages[LEVEL : LEVEL + 2]:  # the level of the picture, and that of the tissue
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                file.seek(offset)
                tiles.append(file.read(count))
    features = torch.rand(min(patches, 20_000), WIDTH)
    first, second, third = torch.rand(WIDTH, 512), torch.rand(512, 384), torch.rand(512, 384)

    def read() -> None:
        with h5py.File(folder / "h5" / "s000.h5") as file:
            file["features"][:]

    def multiply() -> None:
        hidden = features @ first
        hidden @ second
        hidden @ third

    def decode() -> None:
        for tile in tiles:
            imagecodecs.jpeg8_decode(tile, colorspace="YCBCR", outcolorspace="RGB")

    def encode() -> None:
        for pixels, quality in ((picture, 100), (outlines, 75)):
            imagecodecs.jpeg8_encode(pixels, quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")
        isal_zlib.compress(rows.data, 1)

    return {part.__name__: part for part in (read, multiply, decode, encode)}


def measure(parts: Parts) -> dict[str, float]:
    """Return the median CPU seconds of each part, after one unmeasured pass."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(PASSES + 1):
        for name, part in parts.items():
            began = time.process_time()
            part()
            if number:
                times[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    found = make_parts(Path(sys.argv[1]), int(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(measure(found)))
