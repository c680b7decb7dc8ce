"""``create_heatmaps.py --watch``: look at a run from another terminal or machine."""

from __future__ import annotations

import shutil
import sys
import time

CLEAR = "\x1b[H\x1b[J"


def watch(experiment: str, *, once: bool, every: float) -> int:
    """Show the run until it ends; once when asked to, or when the output is no terminal. Returns the exit code."""
    from mil_heatmaps.cohort.experiments import find_experiment
    from mil_heatmaps.progress.watch import ExperimentView, view_text

    view = ExperimentView(find_experiment(experiment))
    live = sys.stdout.isatty() and not once
    try:
        while True:
            view.refresh()
            text = view_text(view, width=shutil.get_terminal_size().columns)
            print((CLEAR if live else "") + text, flush=True)
            if not live or not view.at_work:
                return 0
            print(f"\nlooked at {time.strftime('%H:%M:%S')}, again every {every:g} s; Ctrl-C leaves, the run goes on")
            time.sleep(every)
    except KeyboardInterrupt:
        print()
        return 0
