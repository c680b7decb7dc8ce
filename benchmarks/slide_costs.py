"""What each stage of a slide costs: seconds, CPU, bytes read and written, calls of the file system.

    python benchmarks/slide_costs.py [--slides 5] [--patches 20000]

The slides of `bench_cohort.py` (60000 x 50000 pixels, features of 20,000 patches, a picture at 1/16), one after the
other in this process; medians of all but the first, which still imports. Bytes are those that the stage asks the system
for (``/proc/self/io``: rchar, wchar), from its cache or not. Calls are counted by strace where it is installed: all
that name a file, flush or lock, in a run of so many slides more.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import yaml

from benchmarks.bench_cohort import make
from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.stages.all_stages import STAGES

Costs = dict[str, float]
ROOT = Path(__file__).resolve().parents[1]
COUNTED = "%file,fsync,fdatasync,flock,fcntl"


def now() -> Costs:
    """Return the costs of this process so far."""
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return {
        "s": time.perf_counter(),
        "CPU s": time.process_time(),
        "MB read": int(told["rchar"]) / 1e6,
        "MB written": int(told["wchar"]) / 1e6,
    }


def made(root: Path, slides: int, patches: int) -> Path:
    """Return the config of a generated cohort that this process alone works on."""
    values = yaml.safe_load((path := make(root, slides, patches)).read_text())
    values["run_arguments"] = {"workers": 1}
    folders = {"raw_save_dir": "raw", "production_save_dir": "prod", "results_dir": "res"}
    values["exp_arguments"] |= {"save_exp_code": "E"} | {key: str(root / name) for key, name in folders.items()}
    path.write_text(yaml.safe_dump(values))
    return path


def costs_of_stages(config: Path) -> dict[str, list[Costs]]:
    """Run the cohort here; return the costs of every stage of every slide."""
    found: dict[str, list[Costs]] = {}
    for stage in STAGES:

        def run(work: Any, *more: Any, name: str = stage.name, real: Any = stage.run) -> Any:
            before = now()
            result = real(work, *more)
            found.setdefault(name, []).append({key: value - before[key] for key, value in now().items()})
            return result

        object.__setattr__(stage, "run", run)
    before = now()
    assert Runner(load_config(config)).run().exit_code == 0
    found["whole run"] = [{key: value - before[key] for key, value in now().items()}]
    return found


def calls_of(config: Path) -> int:
    """Return how many file-system calls a run of the cohort makes."""
    for folder in ("raw", "prod", "res"):
        shutil.rmtree(config.parent / folder, ignore_errors=True)
    command = ["strace", "-f", "-c", "-e", f"trace={COUNTED}", sys.executable, str(ROOT / "create_heatmaps.py")]
    told = subprocess.run([*command, "--config", str(config)], capture_output=True, text=True, check=True).stderr
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", told, re.MULTILINE)
    return sum(int(count) for count, name in rows if name != "total")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=5)
    parser.add_argument("--patches", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where to put the files (1.1 GB); default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        config = made(Path(name), options.slides, options.patches)
        found = costs_of_stages(config)
        heads = list(now())
        print(f"{options.slides} slides, {options.patches:,} patches; a slide")
        print(f"{'stage':16}" + "".join(f"{head:>12}" for head in heads))
        for stage, costs in found.items():
            kept = costs[1:] or costs
            print(f"{stage:16}" + "".join(f"{statistics.median(each[head] for each in kept):12.3f}" for head in heads))
        if shutil.which("strace"):
            counts = []
            for slides in (1, options.slides):
                (Path(name) / "list.csv").write_text("slide_id\n" + "".join(f"s{n:03d}\n" for n in range(slides)))
                counts.append(calls_of(config))
            each = (counts[1] - counts[0]) / (options.slides - 1)
            print(f"calls of the file system ({COUNTED}): {each:.0f} a slide, {counts[0] - each:.0f} for the run")


if __name__ == "__main__":
    main()
