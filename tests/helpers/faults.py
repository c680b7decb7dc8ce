"""Stop a run at its n-th atomic write, in one of many ways, and let the same command go on.

The run is a process of its own, forked from this one: run it where torch has started no threads yet.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.cohort import SmallCohort, make_small_cohort

REFUSALS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES, "ENODEV": errno.ENODEV}
FAULTS = ("kill", "kill after", "interrupt", *REFUSALS)
"""``kill`` comes just before a file is moved to its place, ``kill after`` when it is there and nobody knows."""


@dataclass(frozen=True)
class Outcome:
    """What became of one fault.

    Attributes
    ----------
    reached : whether the run came to that write at all
    wrong : what does not hold afterwards; empty when all is well
    code : exit code of the disturbed run, negative for a signal
    """

    reached: bool
    wrong: str
    code: int


def small_run(root: Path) -> SmallCohort:
    """Return a cohort of one slide that writes every kind of file."""
    cohort = make_small_cohort(root, {"run_arguments": {"workers": 1, "isolate": "never"}})
    cohort.rows = cohort.rows[:1]
    cohort.config["heatmap_arguments"]["figure"] = True
    cohort.config["export_arguments"] = {"csv": {}, "geojson": {}}
    cohort.write()
    return cohort


def run_forked(config: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Run the command on a config in a forked process; return its exit code, -N for signal N."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, 1)
            os.dup2(void, 2)
            prepare()
            from mil_heatmaps.cli.create_heatmaps import main

            code = main(["--config", str(config)])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fault_at(number: int, fault: str, mark: Path) -> Callable[[], None]:
    """Return what makes the `number`-th move of a file into its place go wrong; `mark` is made when it is reached."""

    def prepare() -> None:
        from mil_heatmaps.files import atomic

        real, count = os.replace, 0

        def replace(source: Any, target: Any) -> None:
            nonlocal count
            count += 1
            if count - 1 != number:
                return real(source, target)
            mark.touch()
            if fault == "kill after":
                real(source, target)
            if fault.startswith("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "interrupt":
                raise KeyboardInterrupt
            raise OSError(REFUSALS[fault], os.strerror(REFUSALS[fault]), str(target))

        atomic.os = _Patched(os, replace)  # type: ignore[assignment]

    return prepare


class _Patched:
    """The module os, with another `replace`."""

    def __init__(self, module: Any, replace: Callable[..., None]) -> None:
        self._module, self.replace = module, replace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def finished_stages(cohort: SmallCohort) -> dict[str, Any]:
    """Return every stage on record with all that is said of it, times included."""
    found = {}
    for path in cohort.raw.rglob("record.json"):
        for name, stage in json.loads(path.read_text())["stages"].items():
            found[f"{path.parent.name}/{name}"] = stage
    return found


def halves(cohort: SmallCohort) -> list[str]:
    """Return the files below the output folders that no finished run leaves."""
    folders = (cohort.root / "raw", cohort.root / "prod", cohort.root / "results")
    return [
        path.name
        for folder in folders
        for path in folder.rglob(".*")
        if ".partial" in path.name or path.name.startswith((".write-", ".running-", ".stop-"))
    ]


def try_fault(root: Path, number: int, fault: str, calm: dict[str, str]) -> Outcome:
    """Disturb a run at one write, run the command again, and say what is not as in the undisturbed run."""
    cohort = small_run(root)
    mark = root / "reached"
    code = run_forked(root / "config.yaml", fault_at(number, fault, mark))
    if not mark.exists():
        return Outcome(False, "", code)
    wrong = []
    if code == 99:
        wrong.append("the disturbed run ended with a traceback")
    before = finished_stages(cohort)
    if (again := run_forked(root / "config.yaml")) != 0:
        wrong.append(f"the resumed run ended with {again}")
    if (found := cohort.outputs()) != calm:
        differing = sorted(name for name in set(found) | set(calm) if found.get(name) != calm.get(name))
        wrong.append(f"{len(differing)} outputs differ, such as {differing[0]}")
    after = finished_stages(cohort)
    if repeated := [name for name, stage in before.items() if after.get(name) != stage]:
        wrong.append(f"finished stages were done again: {repeated}")
    if left := halves(cohort):
        wrong.append(f"left behind: {left}")
    return Outcome(True, "; ".join(wrong), code)


def all_faults(root: Path, faults: tuple[str, ...] = FAULTS, step: int = 1) -> Iterator[tuple[str, int, Outcome]]:
    """Yield (fault, number of the write, outcome) for every `step`-th write of a run, each fault in turn."""
    calm_run = small_run(root / "calm")
    if (code := run_forked(calm_run.root / "config.yaml")) != 0:
        raise RuntimeError(f"the undisturbed run ended with {code}")
    calm = calm_run.outputs()
    for fault in faults:
        number = 0
        while True:
            outcome = try_fault(root / f"{fault.replace(' ', '_')}{number}", number, fault, calm)
            if not outcome.reached:
                break
            yield fault, number, outcome
            number += step
