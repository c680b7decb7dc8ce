"""Stop a run at each of its atomic writes in turn, in each of several ways; the same command must then finish it.

    python benchmarks/fault_at_each_write.py --faults kill "kill after" ENOSPC EIO
    python benchmarks/fault_at_each_write.py --run full --log faults.jsonl --seconds 480    # again, until all is tried

Compares every output of the resumed run byte for byte with an undisturbed run, looks for halves of files in all three
output folders, and that no stage on record was done again. Exit code 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.fault_states import all_faults
from tests.helpers.faults import FAULTS, RUNS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--step", type=int, default=1, help="only every so many writes")
    parser.add_argument("--first", type=int, default=0, help="the write to begin with")
    parser.add_argument("--run", choices=RUNS, default="small", help="full: also encoder, exports, report, film")
    parser.add_argument("--white", action="store_true", help="leave figures and sheets white: half the time")
    parser.add_argument("--log", type=Path, help="file for the outcomes; what stands in it is not tried again")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no trial after so many seconds")
    args = parser.parse_args()
    import mil_heatmaps.execution.worker_imports  # noqa: F401 - once, before the forks

    lines = args.log.read_text().splitlines() if args.log and args.log.exists() else []
    outcomes = {(one["fault"], one["write"]): one for one in map(json.loads, lines) if one["run"] == args.run}
    known = {key: bool(one["reached"]) for key, one in outcomes.items()}
    started, complete = time.perf_counter(), True
    with tempfile.TemporaryDirectory() as folder:
        for fault, number, outcome in all_faults(
            Path(folder), tuple(args.faults), args.step, args.run, args.first, known, white=args.white
        ):
            one = {"run": args.run, "fault": fault, "write": number, **vars(outcome)}
            outcomes[fault, number] = one
            if args.log:
                with args.log.open("a") as file:
                    print(json.dumps(one), file=file)
            if outcome.wrong:
                print(f"{fault} at write {number}: {outcome.wrong}", flush=True)
            if time.perf_counter() - started > args.seconds:
                complete = False
                break
    tried = [one for one in outcomes.values() if one["reached"] and one["fault"] in args.faults]
    for fault in args.faults:
        mine = [one for one in tried if one["fault"] == fault]
        ends = ", ".join(f"{code} x {times}" for code, times in sorted(Counter(one["code"] for one in mine).items()))
        print(f"{fault:<12} {sum(not one['wrong'] for one in mine)} of {len(mine)} well; exit codes {ends}")
    print(f"{time.perf_counter() - started:.0f} s{'' if complete else '; not everything is tried: run again'}")
    return 1 if any(one["wrong"] for one in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
