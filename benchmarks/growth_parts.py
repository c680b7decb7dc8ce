"""Parts of a run that know every row; each is timed in a separate process, to measure its memory alone.

    python benchmarks/growth_parts.py list 10000        one part, one size; bench_growth.py --parts runs all
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RECORDS_A_FOLDER = 1000


def _rows_csv(folder: Path, rows: int) -> Path:
    path = folder / "list.csv"
    with path.open("w") as file:
        file.write("slide_id,label\n")
        file.writelines(f"slide_{number:07d},{'ab'[number % 2]}\n" for number in range(rows))
    return path


def _process_list(folder: Path, rows: int):  # type: ignore[no-untyped-def]
    from mil_heatmaps.cohort.process_list import read_process_list
    from mil_heatmaps.config.config import load_config

    return read_process_list(folder / "list.csv", load_config(_config(folder, rows)))


def _config(folder: Path, rows: int) -> Path:
    import yaml

    (folder / "slides").mkdir(exist_ok=True)
    (folder / "h5").mkdir(exist_ok=True)
    (folder / "model.pt").write_bytes(b"")
    settings = {
        "exp_arguments": {"save_exp_code": "E", "raw_save_dir": str(folder / "raw"),
                          "production_save_dir": str(folder / "prod"), "results_dir": str(folder)},
        "data_arguments": {"data_dir": str(folder / "slides"), "h5_dir": str(folder / "h5"),
                           "process_list": str(_rows_csv(folder, rows)), "label_dict": {"a": 0, "b": 1}},
        "model_arguments": {"ckpt_path": str(folder / "model.pt")},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def _outcomes(rows: int):  # type: ignore[no-untyped-def]
    from mil_heatmaps.records.outcome_tables import SlideOutcome

    done = SlideOutcome("processed", seconds=1.0, bag_size=48, classes=("a", "b"), probabilities=(0.7, 0.3))
    return {f"slide_{number:07d}": done for number in range(rows)}


def part_list(folder: Path, rows: int) -> Callable[[], object]:
    """Reading and checking a process list."""
    from mil_heatmaps.cohort.process_list import read_process_list
    from mil_heatmaps.config.config import load_config

    config = load_config(_config(folder, rows))
    return lambda: read_process_list(folder / "list.csv", config)


def part_records(folder: Path, rows: int) -> Callable[[], object]:
    """Writing and reading one record per slide."""
    from mil_heatmaps.records.slide_record import SlideRecord

    def write_and_read() -> None:
        for number in range(rows):
            path = folder / f"{number // RECORDS_A_FOLDER:04d}" / f"{number:07d}" / "record.json"
            record = SlideRecord(path, f"slide_{number:07d}", "processed", seconds=1.0)
            record.summary = {"bag_size": 48}
            record.save()
            SlideRecord.load(path, record.slide_id)

    return write_and_read


def part_tables(folder: Path, rows: int) -> Callable[[], object]:
    """Writing both tables of a run and reading one back."""
    from mil_heatmaps.records.finished_run import RunTable
    from mil_heatmaps.records.outcome_tables import process_list_text, results_csv_text

    listed, outcomes = _process_list(folder, rows), _outcomes(rows)

    def write_and_read() -> object:
        (folder / "process_list.csv").write_text(process_list_text(listed, outcomes))
        (folder / "results.csv").write_text(results_csv_text(listed, outcomes))
        return RunTable(folder / "process_list.csv").told()

    return write_and_read


def part_catalogue(folder: Path, rows: int) -> Callable[[], object]:
    """The viewer's list of slides."""
    from mil_heatmaps.records.outcome_tables import process_list_text
    from mil_heatmaps.viewer.run_folder import catalog_of_runs

    listed = _process_list(folder, rows)
    run = folder / "raw" / "E"
    run.mkdir(parents=True)
    (run / "process_list.csv").write_text(process_list_text(listed, _outcomes(rows)))
    (run / "config.yaml").write_text((folder / "config.yaml").read_text())
    return lambda: catalog_of_runs([run])


def part_report(folder: Path, rows: int) -> Callable[[], object]:
    """The report's table: the record of every slide is read; the first slide has a page of its own."""
    from dataclasses import replace

    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.records.rows import ProcessList
    from mil_heatmaps.report.write import write_report
    from tests.helpers.cohort import make_small_cohort

    cohort = make_small_cohort(folder, {"report_arguments": {}})
    cohort.rows = cohort.rows[:1]
    runner = Runner(load_config(cohort.write()))
    runner.run()
    (row,) = runner.cohort.rows
    job = runner.cohort.jobs[row.slide_id]
    other = runner.cohort.layout.slide("other", row.group)
    record = json.loads(job.paths.record.read_bytes())
    del record["stages"]["report"]
    other.record.parent.mkdir(parents=True)
    other.record.write_text(json.dumps(record))
    listed = [row, *(replace(row, slide_id=f"slide_{number:07d}") for number in range(1, rows))]
    runner.cohort.rows = ProcessList(listed)
    jobs = {each.slide_id: replace(job, row=each, paths=other) for each in listed[1:]}
    runner.cohort.jobs = {row.slide_id: job, **jobs}
    return lambda: write_report(runner.cohort, runner.config)


PARTS = {"list": part_list, "records": part_records, "tables": part_tables, "catalogue": part_catalogue,
         "report": part_report}  # fmt: skip


def measure(part: str, rows: int) -> tuple[float, float]:
    """Return seconds, and MB of memory that the part added to the memory before it."""
    done = subprocess.run([sys.executable, __file__, part, str(rows)], capture_output=True, text=True, check=True)
    seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(megabytes)


def exponent(rows: Sequence[int], values: Sequence[float]) -> float:
    """Return the slope of log(value) over log(rows) by least squares: 1 is proportional, NaN for fewer than two."""
    points = [(math.log(n), math.log(v)) for n, v in zip(rows, values, strict=True) if v > 0]
    if len(points) < 2:
        return math.nan
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)


def run_parts(sizes: Sequence[int], parts: Sequence[str]) -> None:
    """Print time and memory of each part at each size, and their exponents."""
    print(f"load {os.getloadavg()[0]:.1f}; seconds and MB beyond the start, a process each")
    for part in parts:
        found = [measure(part, rows) for rows in sizes]
        for rows, (seconds, megabytes) in zip(sizes, found, strict=True):
            each = 1e6 * seconds / rows
            numbers = f"{seconds:8.3f} s  {each:8.1f} us a row  {megabytes:8.1f} MB"
            print(f"{part:>10} {rows:>9,} rows  {numbers}", flush=True)
        time_slope, memory_slope = (exponent(sizes, [one[i] for one in found]) for i in (0, 1))
        print(f"{part:>10} time ~ rows^{time_slope:.2f}, memory ~ rows^{memory_slope:.2f}", flush=True)


def _highest_kb() -> int:
    """Return the peak memory of this process; `getrusage` may report the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    part, rows = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        work = PARTS[part](Path(folder), rows)
        before = _highest_kb()
        began = time.perf_counter()
        kept = work()
        seconds = time.perf_counter() - began
        after = _highest_kb()
        del kept
    print(json.dumps([seconds, (after - before) / 1024]))


if __name__ == "__main__":
    main()
