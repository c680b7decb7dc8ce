"""Run a cohort of many small slides in one process and watch its memory and open files.

    python benchmarks/soak_cohort.py --slides 500

Prints resident memory and descriptors at ten moments, and the growth from the second tenth to the end, which is to be
flat (below 5 %). Exit code 1 when it grows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.cohort import make_small_cohort

ROOT = Path(__file__).resolve().parents[1]


def measure(pid: int) -> tuple[float, int]:
    """Return resident memory in MB and the number of open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return resident / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_small_cohort(Path(folder, "c"), {"run_arguments": {"workers": 1}})
        cohort.rows = []
        for number in range(args.slides):
            shutil.copy(cohort.slides / "s1.tif", cohort.slides / f"n{number}.tif")
            shutil.copy(cohort.features / "s1.h5", cohort.features / f"n{number}.h5")
            cohort.rows.append({"slide_id": f"n{number}", "label": "a"})
        command = [sys.executable, str(ROOT / "create_heatmaps.py"), "--config", str(cohort.write())]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        curve: dict[int, tuple[float, int]] = {}
        started = time.monotonic()
        while run.poll() is None:
            done = len(list(cohort.raw.glob("a/*/record.json")))
            tenth = done * 10 // args.slides
            if tenth not in curve and tenth > 0:
                try:
                    curve[tenth] = measure(run.pid)
                except OSError:
                    break
            time.sleep(0.2)
        seconds = time.monotonic() - started
        failed = run.wait()
    for tenth, (resident, files) in sorted(curve.items()):
        print(f"{tenth * 10:>4} % of {args.slides} slides: {resident:7.1f} MB resident, {files} files open")
    first, last = curve[min(k for k in curve if k >= 2)], curve[max(curve)]
    growth = last[0] / first[0] - 1
    print(f"{seconds:.0f} s, exit code {failed}; growth {growth:+.1%}, files {last[1] - first[1]:+d}")
    return int(failed != 0 or growth > 0.05 or last[1] > first[1] + 2)


if __name__ == "__main__":
    sys.exit(main())
