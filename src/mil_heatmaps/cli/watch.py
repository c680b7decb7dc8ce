"""``create_heatmaps.py --watch``: follow a run from another terminal or machine, or from a program (``--json``)."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mil_heatmaps.progress.watch import ExperimentView

CLEAR = "\x1b[H\x1b[J"


def watch(experiment: str, *, once: bool, every: float, as_json: bool = False) -> int:
    """Show the run until it ends; once when asked to, or when the output is not a terminal. Returns the exit code.

    With `as_json` each update is one line of JSON, also where the output is not a terminal.
    """
    from mil_heatmaps.cohort.experiments import find_experiment
    from mil_heatmaps.progress.watch import ExperimentView, view_text

    view = ExperimentView(find_experiment(experiment))
    live = sys.stdout.isatty() and not once and not as_json
    try:
        while True:
            view.refresh()
            if as_json:
                print(json.dumps(view_facts(view, time.time()), ensure_ascii=False, allow_nan=False), flush=True)
            else:
                text = view_text(view, width=shutil.get_terminal_size().columns)
                print((CLEAR if live else "") + text, flush=True)
            if once or not view.at_work or not (live or as_json):
                return 0
            if live:
                print(f"\nlooked at {time.strftime('%H:%M:%S')}, again every {every:g} s; "
                      "Ctrl-C leaves, the run goes on")  # fmt: skip
            time.sleep(every)
    except KeyboardInterrupt:
        if not as_json:
            print()
        return 0


def view_facts(view: ExperimentView, now: float) -> dict[str, Any]:
    """Return the state of an experiment as plain values (docs/automation.md); `now` is in seconds."""
    counts = Counter(view.statuses.values())
    alive = {run.name for run in view.at_work}
    return {
        "format": 1,
        "experiment": view.folder.name,
        "folder": str(view.folder),
        "slides": len(view.statuses),
        "statuses": dict(counts),
        "at_work": bool(alive),
        "runs": [
            {
                "run": run.name,
                "host": run.host,
                "pid": run.pid,
                "shard": run.shard,
                "state": "at work" if run.name in alive else "ended" if run.finished is not None else "lost",
                "began": run.began,
                "slides": run.slides,
                "up_to_date": run.up_to_date,
                "done": run.done,
                "failed": run.failed,
                "left": run.left,
                "slides_per_minute": round(run.per_minute(now), 3) if run.name in alive else None,
                "slides_at_work": dict(run.at_work) if run.name in alive else {},
                "stopped": None if run.finished is None else run.finished.get("stopped"),
            }
            for run in view.runs.values()
        ],
        "stage_seconds": {stage: view.stage_seconds[stage] / count for stage, count in view.stage_counts.items()},
        "failures": [{"slide_id": one.slide_id, "reason": one.reason} for one in view.failures.values()],
    }
