"""Slides a minute of a cohort: alone, two workers, Dask with two workers, the usual serial loop, and the floor.

    python benchmarks/bench_cohort.py                        6 slides, about two minutes
    python benchmarks/bench_cohort.py --slides 40 --rounds 2

Slides of 60000 x 50000 pixels with features of 20,000 patches, 1536 wide (UNI v2), scored by ABMIL and drawn at 1/16 as
JPEG. One slide file and four feature files are linked under as many names as there are slides. Every way runs in turn
in each round, in processes of its own; ratios compare runs of one round. Two figures each: the whole command from start
to end, and `steady`, from the first slides' end to the last one's as `events.jsonl` tells. CPU seconds (of the whole
command, all its processes) hold on a machine that others load as well; the rest needs a quiet one.

plain    one process after the usual recipe, which leaves the same files as ours: h5py, torch with its own threads,
         tissue by a median of the saturation (pickle, and outlines on the whole level read by OpenSlide, as JPEG),
         scores and coordinates as HDF5, the coarse map as PNG and the finished one as JPEG, each on a whole level read
         by OpenSlide, patches added one by one, written by Pillow
picture  the same loop without its by-products: scores and the finished JPEG alone (ours writes all files)
floor    the work that cannot be left out, in one thread, per slide: reading the features, the matrix products, decoding
         the tiles of the levels that are read, encoding the three pictures (`cohort_floor.py`); measured after every
         run, as the machine's own speed changes. `both` is the same in two processes at once, for two workers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.cohort_floor import LEVEL, WIDTH, floor_of  # noqa: E402

FILES = 4
RUNS: dict[str, dict[str, Any]] = {
    "serial": {"workers": 1},
    "2 workers": {"workers": 2},
    "Dask, 2 workers": {"workers": 2, "cluster": {"kind": "local"}},
}


def make(root: Path, slides: int, patches: int) -> Path:
    """Write slides, features, checkpoint, list; return the config without its run_arguments. What is there, stays."""
    import h5py
    import numpy as np
    import torch
    import yaml

    from benchmarks.bench_draw import _patches
    from benchmarks.big_slide import make_big_slide
    from mil_heatmaps.checkpoints.builder import create_model

    path = root / "config.yaml"
    if path.exists():
        return path
    (root / "slides").mkdir()
    (root / "h5").mkdir()
    make_big_slide(root / "slides" / "s000.tif")
    coords, _, size = _patches(patches, 0.0)
    attributes = {"patch_size": size, "patch_size_level0": size, "level0_magnification": 40,
                  "target_magnification": 40, "overlap": 0}  # fmt: skip
    for number in range(slides):
        name = f"s{number:03d}"
        if number:
            os.link(root / "slides" / "s000.tif", root / "slides" / f"{name}.tif")
        if number >= FILES:
            os.link(root / "h5" / f"s{number % FILES:03d}.h5", root / "h5" / f"{name}.h5")
            continue
        with h5py.File(root / "h5" / f"{name}.h5", "w") as file:
            file.create_dataset("coords", data=coords).attrs.update(attributes)
            generator = np.random.default_rng(number)
            file.create_dataset("features", data=generator.normal(size=(len(coords), WIDTH)).astype(np.float32))
    torch.manual_seed(0)
    torch.save(create_model("abmil.base.uni_v2.none", num_classes=2).state_dict(), root / "abmil.pt")
    (root / "list.csv").write_text("slide_id\n" + "".join(f"s{number:03d}\n" for number in range(slides)))
    config = {
        "exp_arguments": {"n_classes": 2},
        "data_arguments": {"data_dir": str(root / "slides"), "process_list": str(root / "list.csv"),
                           "h5_dir": str(root / "h5")},
        "model_arguments": {"ckpt_path": str(root / "abmil.pt"), "model_name": "abmil.base.uni_v2.none",
                            "device": "cpu"},
        "heatmap_arguments": {"vis_level": LEVEL, "figure": False, "save_orig": False},
        "sample_arguments": {"samples": []},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(config))
    return path


def run_ours(config: Path, name: str) -> dict[str, float]:
    """Run the command; return seconds from start to end, and from the first slide to the last."""
    import yaml

    root = config.parent
    values = yaml.safe_load(config.read_text())
    values["run_arguments"] = RUNS[name]
    values["exp_arguments"] |= {"save_exp_code": "E", "raw_save_dir": str(root / "raw"),
                                "production_save_dir": str(root / "prod"),
                                "results_dir": str(root / "res")}  # fmt: skip
    for folder in ("raw", "prod", "res"):
        shutil.rmtree(root / folder, ignore_errors=True)
    mine = root / "run.yaml"
    mine.write_text(yaml.safe_dump(values))
    began, cpu = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(
        [sys.executable, str(ROOT / "create_heatmaps.py"), "--config", str(mine)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds, cpu = time.perf_counter() - began, _cpu_of_children() - cpu
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    events = [json.loads(line) for line in (root / "raw" / "E" / "events.jsonl").read_text().splitlines()]
    moments = [event["time"] for event in events if event["event"] in ("slide_started", "slide_finished")]
    # The first slide of each worker still imports, so the steady rate leaves it out.
    ends = sorted(event["time"] for event in events if event["event"] == "slide_finished")
    skip = RUNS[name]["workers"]
    steady = (ends[-1] - ends[skip - 1]) / (len(ends) - skip) if len(ends) > skip else moments[-1] - moments[0]
    return {"all": seconds, "steady": steady, "cpu": cpu}


def adopt_orphans() -> None:
    """Have this process inherit the orphans of its children (Linux), so that their CPU seconds are counted.

    Workers are children of a server that outlives the command by a moment.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _cpu_of_children() -> float:
    """Return user and system seconds of all children so far, once they have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plain(root: Path, slides: int, patches: int, *, picture_only: bool) -> None:
    """Do what a user's own script does, one slide after another."""
    import h5py
    import torch

    from benchmarks.bench_draw import run_plain
    from mil_heatmaps.checkpoints.builder import create_model

    model = create_model("abmil.base.uni_v2.none", num_classes=2, checkpoint_path=str(root / "abmil.pt"))
    out = root / "plain"
    out.mkdir(exist_ok=True)
    for number in range(slides):
        name = f"s{number:03d}"
        slide = root / "slides" / f"{name}.tif"
        with h5py.File(root / "h5" / f"{name}.h5") as file:
            features, coords = torch.from_numpy(file["features"][:]), file["coords"][:]
        with torch.inference_mode():
            _, log = model(features[None], return_attention=True)
        _plain_tissue(slide, None if picture_only else out / name)
        if not picture_only:
            with h5py.File(out / f"{name}.h5", "w") as file:
                file.create_dataset("attention_scores", data=log["attention"].numpy().reshape(-1, 1))
                file.create_dataset("coords", data=coords)
            run_plain(slide, out / f"{name}.png", (patches, 0.0, LEVEL, ".png", False))
        run_plain(slide, out / f"{name}.jpg", (patches, 0.0, LEVEL, ".jpg", False))


def _plain_tissue(slide: Path, out: Path | None) -> None:
    """Find the tissue; write it, and draw its outlines, unless `out` is None."""
    import pickle

    import cv2
    import numpy as np
    import openslide
    from PIL import Image

    with openslide.OpenSlide(slide) as opened:
        level = opened.get_best_level_for_downsample(33)
        rgb = np.asarray(opened.read_region((0, 0), level, opened.level_dimensions[level]).convert("RGB"))
        saturation = cv2.medianBlur(np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[:, :, 1]), 7)
        mask = cv2.morphologyEx((saturation > 8).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((4, 4), np.uint8))
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        if out is None:
            return
        width, height = opened.level_dimensions[LEVEL]
        canvas = np.array(opened.read_region((0, 0), LEVEL, (width, height)).convert("RGB"))
    with out.with_suffix(".pkl").open("wb") as file:
        pickle.dump(contours, file)
    scaled = [(contour * (width / rgb.shape[1])).astype(np.int32) for contour in contours]
    cv2.drawContours(canvas, scaled, -1, (0, 255, 0), 16, cv2.LINE_8)
    Image.fromarray(canvas).save(f"{out}_mask.jpg")


def run_plain_loop(folder: Path, options: argparse.Namespace, *, picture_only: bool) -> dict[str, float]:
    """Run the usual loop in a separate process, with torch's usual threads."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, __file__, "--plain", str(folder), "--slides", str(options.slides)]
    command += ["--patches", str(options.patches), *(["--picture_only"] if picture_only else [])]
    began, cpu = time.perf_counter(), _cpu_of_children()
    subprocess.run(command, check=True, env=environment)
    return {"all": time.perf_counter() - began, "cpu": _cpu_of_children() - cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--patches", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to put the files (1.1 GB); default: a temporary folder")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files here, and use those that are there")
    parser.add_argument("--steady", action="store_true", help="serial and the floor alone")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--picture_only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain(options.plain, options.slides, options.patches, picture_only=options.picture_only)
        return
    adopt_orphans()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = options.keep or Path(name)
        folder.mkdir(exist_ok=True)
        config = make(folder, options.slides, options.patches)
        print(f"{options.slides} slides, {options.patches} patches, load {os.getloadavg()[0]:.1f} before")
        found: dict[str, list[dict[str, float]]] = {}
        ratios: list[float] = []
        for _ in range(options.rounds if options.steady else 0):
            run, least = run_ours(config, "serial"), sum(floor_of(folder, options.patches).values())
            ratios.append(run["steady"] / least)
            print(f"serial, steady: {run['steady']:.3f} s, floor {least:.3f} s, {ratios[-1]:.2f} times", flush=True)
        if options.steady:
            print(f"median of {len(ratios)}: {statistics.median(ratios):.2f} times its floor")
            return
        for number in range(options.rounds):
            for way in RUNS:
                run = run_ours(config, way)
                parts = floor_of(folder, options.patches)
                both = floor_of(folder, options.patches, RUNS[way]["workers"])
                run |= {"floor": sum(parts.values()), "both": sum(both.values())}
                found.setdefault(way, []).append(run)
                print(f"{way}: floor " + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in parts.items()))
            found.setdefault("plain", []).append(run_plain_loop(folder, options, picture_only=False))
            found.setdefault("picture", []).append(run_plain_loop(folder, options, picture_only=True))
            print(f"round {number + 1}: load {os.getloadavg()[0]:.1f}", flush=True)
    show(found, options.slides)


def show(found: dict[str, list[dict[str, float]]], slides: int) -> None:
    """Print one line per way: medians over the rounds, of figures and of ratios within each round."""
    times: dict[str, list[float]] = {}
    for way, runs in found.items():
        times[way] = [run["all"] / slides for run in runs]
        if "steady" in runs[0]:
            times[f"{way}, steady"] = [run["steady"] for run in runs]
    rows = []
    for name, seconds in times.items():
        way = name.removesuffix(", steady")
        runs, workers = found[way], RUNS.get(way, {}).get("workers", 2)
        beside = times["serial, steady" if name != way else "serial"]
        row = {"slides/min": 60 / statistics.median(seconds), "s a slide": statistics.median(seconds)}
        if name == way:
            row["CPU s"] = statistics.median(run["cpu"] / slides for run in runs)
        if "floor" in runs[0]:
            row["floor"] = statistics.median(run["floor"] for run in runs)
            pairs = list(zip(runs, seconds, strict=True))
            row["s/floor"] = statistics.median(each / run["floor"] for run, each in pairs)
            row["workers x s/floor"] = statistics.median(workers * each / run["floor"] for run, each in pairs)
            row["workers x s/both"] = statistics.median(workers * each / run["both"] for run, each in pairs)
        for head, other in (("x plain", times["plain"]), ("x picture", times["picture"]), ("x serial", beside)):
            row[head] = statistics.median(a / b for a, b in zip(other, seconds, strict=True))
        rows.append((name, row))
    heads = list(rows[0][1])
    print(" " * 24 + " ".join(f"{head:>{max(9, len(head))}}" for head in heads))
    for name, row in rows:
        figures = ("" if head not in row else f"{row[head]:.3g}" for head in heads)
        cells = (f"{text:>{max(9, len(head))}}" for head, text in zip(heads, figures, strict=True))
        print(f"{name:24}" + " ".join(cells))


if __name__ == "__main__":
    main()
