"""How long a report of finished slides and a film take, the film beside the bare encoding of the same frames.

    python benchmarks/bench_report.py --slides 50
    python benchmarks/bench_report.py --slides 50 --demo heatmaps/demo
    python benchmarks/bench_report.py --film
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE = 60_000, 50_000


def bench_report(slides: int, own: Path | None = None) -> None:
    """Time ``--report`` over finished slides, and again when nothing has changed.

    `own` is a folder of the demo; its first slide replaces the tiny one.
    """
    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.report.write import write_report
    from tests.helpers.cohort import make_small_cohort, write_features

    with tempfile.TemporaryDirectory() as folder:
        cohort = make_small_cohort(Path(folder), {"run_arguments": {"workers": 2}})
        cohort.rows = []
        for number in range(slides):
            name = f"t{number}"
            if own is None:
                (cohort.slides / f"{name}.tif").symlink_to(cohort.slides / "s1.tif")
                write_features(cohort.features / f"{name}.h5", number)
            else:
                (cohort.slides / f"{name}.tiff").symlink_to((own / "slides" / "demo_01_pyramid.tiff").resolve())
                (cohort.features / f"{name}.h5").symlink_to((own / "h5_files" / "demo_01_pyramid.h5").resolve())
                cohort.config["model_arguments"]["ckpt_path"] = str((own / "checkpoints" / "abmil_demo.pt").resolve())
                cohort.config["heatmap_arguments"]["vis_level"] = -1
            cohort.rows.append({"slide_id": name, "label": "ab"[number % 2]})
        config = cohort.write()
        Runner(load_config(config)).run()
        for what in ("report of finished slides", "again, nothing changed"):
            started = time.perf_counter()
            runner = Runner(load_config(config, {"report_arguments.write": True}))
            runner.run()
            stages = time.perf_counter() - started
            written = write_report(runner.cohort, runner.config)
            size = written.path.stat().st_size / 1e6
            total = time.perf_counter() - started
            print(f"{what}: {slides} slides in {total:.1f} s (stages {stages:.1f} s), {size:.1f} MB")


def bench_rows(slides: int) -> None:
    """Print the memory for writing a report of many slides, made from one slide's part and record."""
    from dataclasses import replace

    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.records.rows import ProcessList
    from mil_heatmaps.report.write import write_report
    from tests.helpers.cohort import make_small_cohort

    with tempfile.TemporaryDirectory() as folder:
        cohort = make_small_cohort(Path(folder), {"report_arguments": {}})
        cohort.rows = cohort.rows[:1]
        runner = Runner(load_config(cohort.write()))
        runner.run()
        (row,) = runner.cohort.rows
        job = runner.cohort.jobs[row.slide_id]
        rows = [replace(row, slide_id=f"t{number}") for number in range(slides)]
        runner.cohort.rows = ProcessList(rows)
        runner.cohort.jobs = {each.slide_id: replace(job, row=each) for each in rows}
        before, started = peak_mb(), time.perf_counter()
        said: list[str] = []
        written = write_report(runner.cohort, runner.config, said.append)
        seconds = time.perf_counter() - started
        print(f"{slides} slides: {seconds:.1f} s, peak {peak_mb():.0f} MB ({before:.0f} MB before); {said[0]}")
        print(f"  {written.path.name}: {written.path.stat().st_size / 1e6:.1f} MB")


def bench_film(size: tuple[int, int]) -> None:
    """Time a tour of 20 s at 1280x720 and 25 fps, and the encoding of its frames alone; print memory."""
    from benchmarks.big_slide import make_big_slide, tissue_at
    from mil_heatmaps.film.encode import write_film
    from mil_heatmaps.film.film import FilmedMap, film_frames, make_film, plan_flight
    from mil_heatmaps.film.settings import FilmSettings
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.reader import open_slide
    from mil_heatmaps.visualization.colour_rule import ColourRule
    from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
    from mil_heatmaps.visualization.tissue_slide import TissueSlide
    from mil_heatmaps.visualization.view import View

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        make_big_slide(path, size)
        x, y = np.meshgrid(np.arange(0, size[0] - 256, 256), np.arange(0, size[1] - 256, 256))
        coords = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64)
        coords = coords[tissue_at(coords[:, 0] / size[0], coords[:, 1] / size[1])]
        grid = PatchGrid(coords, (256, 256), (256, 256))
        scores = np.random.default_rng(0).normal(size=len(grid)).astype(np.float32)
        settings = FilmSettings()
        with open_slide(path, threads=2) as slide:
            rule = ColourRule.for_kind("attention_logit")
            drawing = plan_heatmap(scores, grid, TissueSlide(slide), View(segment=False), rule)
            filmed = FilmedMap(drawing, scores, "attention, logits", "attention")
            before, started = peak_mb(), time.perf_counter()
            make_film(Path(folder) / "tour.mp4", filmed, settings, threads=2)
            whole = time.perf_counter() - started
            print(f"tour, {settings.frames} frames of {size[0]}x{size[1]}, {len(grid)} patches: {whole:.1f} s, "
                  f"peak {peak_mb():.0f} MB ({before:.0f} MB before)")  # fmt: skip
            flight = plan_flight(filmed, settings)
            shape = (settings.frames, settings.size_px[1], settings.size_px[0], 3)
            frames = np.lib.format.open_memmap(Path(folder) / "frames.npy", "w+", np.uint8, shape)
            for number, frame in enumerate(film_frames(filmed, settings, flight, 2)):
                frames[number] = frame
        started = time.perf_counter()
        write_film(Path(folder) / "bare.mp4", frames, settings)
        bare = time.perf_counter() - started
        print(f"encoding of the same frames alone: {bare:.1f} s, ratio {whole / bare:.2f}")


def peak_mb() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=50)
    parser.add_argument("--rows", type=int, default=0, help="memory of a report of this many slides, and nothing else")
    parser.add_argument("--demo", type=Path, help="the demo's folder: its first slide in place of a tiny one")
    parser.add_argument("--film", action="store_true", help="the film, and nothing else")
    args = parser.parse_args()
    if args.film:
        bench_film(SIZE)
    elif args.rows:
        bench_rows(args.rows)
    else:
        bench_report(args.slides, args.demo)
    return 0


if __name__ == "__main__":
    sys.exit(main())
