"""Stop a run at each of its atomic writes in turn, in each of several ways; the same command must then finish it.

    python benchmarks/fault_at_each_write.py --faults kill "kill after" ENOSPC EIO

Compares every output of the resumed run byte for byte with an undisturbed run, looks for halves of files in all three
output folders, and that no stage on record was done again. Exit code 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.faults import FAULTS, RUNS, all_faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--step", type=int, default=1, help="only every so many writes")
    parser.add_argument("--first", type=int, default=0, help="the write to begin with")
    parser.add_argument("--run", choices=RUNS, default="small", help="full: also encoder, exports, report, film")
    args = parser.parse_args()
    import mil_heatmaps.execution.worker_imports  # noqa: F401 - once, before the forks

    tried: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    codes: dict[str, Counter[int]] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for fault, number, outcome in all_faults(Path(folder), tuple(args.faults), args.step, args.run, args.first):
            tried[fault] += 1
            codes.setdefault(fault, Counter())[outcome.code] += 1
            if outcome.wrong:
                bad[fault] += 1
                print(f"{fault} at write {number}: {outcome.wrong}")
    for fault in args.faults:
        ends = ", ".join(f"{code} x {times}" for code, times in sorted(codes.get(fault, {}).items()))
        print(f"{fault:<12} {tried[fault] - bad[fault]} of {tried[fault]} well; exit codes {ends}")
    print(f"{time.perf_counter() - started:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
