"""How a run grows with its process list: 1k, 10k, 100k rows with the slide work stubbed out, and resuming them.

    python benchmarks/bench_growth.py                        1,000 and 4,000 rows, under a minute
    python benchmarks/bench_growth.py --rows 1000 10000 100000
    python benchmarks/bench_growth.py --parts --rows 1000 10000 100000 1000000

    python benchmarks/bench_growth.py --finished 100000 --folder DIR     resuming alone; DIR is kept, and used again

With --finished every slide is done and its record tells of its files as they are: the survey that finds this out, five
times, and the whole run.

With --parts what knows every row is measured alone, time and memory against rows with the fitted exponent: reading the
list, writing and reading records, the tables, the viewer's catalogue, the report's table.

Three slides are really done; their files are linked under as many names as there are rows, so that records, outputs,
features and slides of every row are there, as after a run. Then three runs of the whole list are timed:

first     slide work stubbed out: everything the coordinator does for a slide, but the stages
again     everything done already: what a resumed run takes before it could begin
list      one write of both lists, which at most a twentieth of a long run goes into
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.growth_parts import PARTS, run_parts
from mil_heatmaps.config.config import load_config
from mil_heatmaps.execution import scheduler
from mil_heatmaps.execution.slide_tasks import SlideTask
from mil_heatmaps.machine import no_collection
from mil_heatmaps.pipeline.decide import survey
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.records.run_tables import ListKeeper
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.records.slide_run import SlideRun
from tests.helpers.cohort import SmallCohort, make_small_cohort

LINKS = 30_000  # a file may have 65,000 names on ext4


def name_of(number: int) -> str:
    return f"slide_{number:06d}"


def make(root: Path) -> SmallCohort:
    """Return a cohort of one slide, fully processed, to be multiplied."""
    cohort = make_small_cohort(root, {"run_arguments": {"workers": 1}})
    cohort.config["heatmap_arguments"]["figure"] = False
    cohort.rows = [{"slide_id": name_of(0), "label": "a"}]
    os.rename(cohort.slides / "s1.tif", cohort.slides / f"{name_of(0)}.tif")
    os.rename(cohort.features / "s1.h5", cohort.features / f"{name_of(0)}.h5")
    assert Runner(load_config(cohort.write())).run().exit_code == 0
    return cohort


class Multiplier:
    """Gives every file of the one slide as many names as there are rows."""

    def __init__(self, cohort: SmallCohort) -> None:
        self.cohort = cohort
        self.record = cohort.record(name_of(0)).read_text()
        folder = cohort.record(name_of(0)).parent
        outputs = {key for stage in json.loads(self.record)["stages"].values() for key in stage["outputs"]}
        self.files = [Path(os.path.normpath(folder / key)) for key in outputs]
        self.files += [cohort.slides / f"{name_of(0)}.tif", cohort.features / f"{name_of(0)}.h5"]
        self.sources = {path: path for path in self.files}
        self.made = 1

    def grow(self, rows: int) -> None:
        """Add rows until there are `rows`."""
        old = name_of(0)
        for number in range(self.made, rows):
            new = name_of(number)
            (self.cohort.raw / "a" / new).mkdir()
            for path in self.files:
                target = Path(str(path).replace(old, new))
                os.link(self.sources[path], target)
                if number % LINKS == 0:  # a new inode, with the old one's time
                    target.unlink()
                    shutil.copy2(self.sources[path], target)
                    self.sources[path] = target
            self.cohort.record(new).write_text(self.record.replace(old, new))
            self.cohort.rows.append({"slide_id": new, "label": "a"})
        self.made = rows


def stubbed(task: SlideTask, on_stage: Any = None) -> SlideRun:
    """Report the slide as done, as a worker does."""
    record = SlideRecord(task.job.paths.record, task.job.slide_id, "processed", seconds=1.0)
    record.summary = {"bag_size": 48, "prediction": {"classes": ["a", "b"], "values": [0.7, 0.3]}}
    return SlideRun(record, ("segment",), 0.0)


def measure(cohort: SmallCohort) -> dict[str, float]:
    config = load_config(cohort.write())
    rows = len(cohort.rows)
    Runner(config).run()  # linking has changed the ctime of the files, so they are read once more
    began, cpu = time.perf_counter(), time.process_time()
    summary = Runner(config).run()
    again, again_cpu = time.perf_counter() - began, time.process_time() - cpu
    assert len(summary.reused) == rows, (len(summary.reused), summary.failed)
    kept = cohort.raw / "a"
    aside = cohort.root / "aside"
    os.rename(kept, aside)
    real, scheduler.do_task = scheduler.do_task, stubbed
    began, cpu = time.perf_counter(), time.process_time()
    summary = Runner(config).run()
    first, first_cpu = time.perf_counter() - began, time.process_time() - cpu
    scheduler.do_task = real
    assert len(summary.processed) == rows, summary
    shutil.rmtree(kept, ignore_errors=True)
    os.rename(aside, kept)
    runner = Runner(config)
    listed = runner.cohort
    keeper = ListKeeper(listed.layout, listed.rows, listed.problems, config.output_names)
    keeper.start({})
    began = time.perf_counter()
    keeper._write()
    return {
        "first": 1e3 * first / rows,
        "first CPU": 1e3 * first_cpu / rows,
        "again": 1e3 * again / rows,
        "again CPU": 1e3 * again_cpu / rows,
        "again in all, s": again,
        "CPU s": again_cpu,
        "list, s": time.perf_counter() - began,
    }


def make_finished(root: Path, rows: int) -> Path:
    """Return the config of a cohort whose slides are all done, with records that know their files; made only once."""
    config = root / f"finished_{rows}.yaml"
    if config.exists():
        return config
    multiplier = Multiplier(make(root))
    multiplier.grow(rows)
    for number in range(rows):  # a new name changes the ctime of its file, so the records come last
        path = multiplier.cohort.record(name_of(number))
        record = json.loads(path.read_text())
        for name, seen in record["files"].items():
            seen[:3] = (status := os.stat(name)).st_size, status.st_mtime_ns, status.st_ctime_ns
        path.write_text(json.dumps(record, sort_keys=True))
    os.replace(multiplier.cohort.write(), config)
    return config


def resume(path: Path, rows: int) -> None:
    """Print what it takes to find that all slides are done, and to run."""
    config = load_config(path)
    runner = Runner(config)
    jobs, surveys = runner.chosen_jobs(), []
    for _ in range(5):
        runner = Runner(config)
        began = time.process_time()
        with no_collection():  # as in a run
            found = list(survey(jobs, runner.settings, runner.stages, brief=True))
        surveys.append(1e3 * (time.process_time() - began) / rows)
        assert all(slide.up_to_date and not slide.read_files for slide in found)
        del found
    print(f"survey, CPU ms a slide: median {statistics.median(surveys):.3f}, least {min(surveys):.3f}", flush=True)
    began, cpu = time.perf_counter(), time.process_time()
    summary = Runner(config).run()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert len(summary.reused) == rows, summary
    print(f"run over {rows:,} finished slides: {seconds:.1f} s, {cpu:.1f} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 4000])
    parser.add_argument("--folder", type=Path, help="where to put the files; default: a temporary folder")
    parser.add_argument(
        "--parts", nargs="*", choices=tuple(PARTS), metavar="PART", help=f"these alone: {', '.join(PARTS)}; none: all"
    )
    parser.add_argument("--finished", type=int, metavar="ROWS", help="resume a cohort of this many finished slides")
    options = parser.parse_args()
    if options.finished is not None:
        with tempfile.TemporaryDirectory() as folder:
            root = options.folder or Path(folder)
            resume(make_finished(root, options.finished), options.finished)
        return
    if options.parts is not None:
        run_parts(options.rows, options.parts or tuple(PARTS))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        multiplier = Multiplier(make(Path(folder)))
        print(f"load {os.getloadavg()[0]:.1f}, {len(multiplier.files)} files a slide")
        print("ms a slide, of the clock and of CPU, and seconds in all")
        for number, rows in enumerate(options.rows):
            multiplier.grow(rows)
            found = measure(multiplier.cohort)
            if number == 0:
                print(f"{'rows':>8} " + " ".join(f"{name:>10}" for name in found))
            print(f"{rows:8d} " + " ".join(f"{value:>{max(10, len(name))}.2f}" for name, value in found.items()),
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
