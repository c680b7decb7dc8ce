"""Stop a run at its n-th atomic write, in one of many ways, and let the same command continue.

The run is a separate process, forked from this one: run it where torch has not yet started threads.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mil_heatmaps.files import hdf5_guard
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort

REFUSALS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES, "ENODEV": errno.ENODEV}
LASTING = {"gone": (errno.ENODEV, 1 << 30), "away": (errno.ESTALE, 3), "read only": (errno.EROFS, 1 << 30)}
"""A drive that disappears for good, one that is away for some writes, and one that becomes read-only."""

CLOCKS = {"clock back": -1e6, "clock ahead": 1e6}
"""Seconds by which this machine's clock jumps; the run must not be affected."""

FAULTS = ("kill", "kill after", "interrupt", *REFUSALS, "EIO flush", *LASTING, *CLOCKS)
"""``kill`` comes just before a file is moved to its place, ``kill after`` just after, when nobody knows of it.

``EIO flush`` is at the first flush of a file after so many moves: network drives say only then that a write has failed.
"""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fault.

    Attributes
    ----------
    reached : whether the run reached that write at all
    wrong : checks that fail afterwards; empty when all is well
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


def full_run(root: Path) -> SmallCohort:
    """Return a cohort of one slide, encoded here, with all exports, explanations, a report, a film and the sheets."""
    cohort = make_encoded(root, "tests.helpers.stub_encoder:create", figure=True)
    cohort.rows = cohort.rows[:1]
    cohort.config["run_arguments"] = {"workers": 1, "isolate": "never"}
    formats = ["png", "ome_tiff", "geojson", "csv", "npz", "ome_zarr", "dicom", "annotation_store"]
    formats += ["wsidata"] if find_spec("pyarrow") else []
    settings = {"deepzoom": {"container": "dzi"}, "anndata": {"cohort": True}}
    cohort.config["export_arguments"] = dict.fromkeys(formats, True) | settings
    cohort.config["faithfulness_arguments"] = {"level": "quick"}
    cohort.config["explanation_arguments"] = {"scores": ["leave_one_out"]}
    cohort.config["report_arguments"] = {"write": True}
    cohort.config["patching_arguments"] = {"patch_size": 128, "overlap": 0.25}
    cohort.config["video_arguments"] = {"mode": "fade", "format": "gif", "seconds": 1, "fps": 2, "size": [320, 180]}
    cohort.config["insight_arguments"] = {"overview": True}
    cohort.write()
    return cohort


HOLD_TIMES = ("s1_scores.dcm", "s1_faithfulness.json", "E_faithfulness.csv", "E_report.html", ".done.json")
"""Outputs that hold the date, or durations: only their existence is compared."""


def held(cohort: SmallCohort) -> dict[str, str]:
    """Return `outputs` of the cohort without times and dates."""
    return {name: "" if name.endswith(HOLD_TIMES) else sha for name, sha in cohort.outputs().items()}


RUNS = {"small": small_run, "full": full_run}
"""A run that writes every kind of CLAM's files, and one that writes every kind there is."""


def _nothing() -> None:
    pass


def run_forked(config: Path, prepare: Callable[[], Any] = _nothing, after: Callable[[], Any] = _nothing) -> int:
    """Run the command on a config in a forked process; return its exit code, -N for signal N."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, 1)
            os.dup2(void, 2)
            hdf5_guard._LOOKER.refusal = lambda path: None  # type: ignore[method-assign]  # the files are ours
            prepare()
            from mil_heatmaps.cli.create_heatmaps import main

            code = main(["--config", str(config)])
            after()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counted() -> Callable[[str], bool]:
    """Return a function that says of each written file, by its name, whether it counts: a sign of life does once."""
    signs: set[str] = set()

    def counts(name: str) -> bool:
        again = name in signs
        signs.update([name] if name.startswith(".running-") else [])
        return not again

    return counts


def fault_at(number: int, fault: str, mark: Path) -> Callable[[], None]:
    """Return a function that makes the `number`-th move of a file fail; it creates `mark` when it gets there."""

    def prepare() -> None:
        from mil_heatmaps.files import atomic

        real, count, counts = os.replace, 0, counted()

        def fsync(descriptor: int) -> None:
            due = fault == "EIO flush" and count == number and not mark.exists()
            if due and stat.S_ISREG(os.fstat(descriptor).st_mode):
                mark.touch()
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.fsync(descriptor)

        def replace(source: Any, target: Any) -> None:
            nonlocal count
            if not counts(Path(target).name):
                return real(source, target)
            count += 1
            code, lasts = LASTING.get(fault, (REFUSALS.get(fault, 0), 1))
            if fault == "EIO flush" or not number <= count - 1 < number + lasts:
                return real(source, target)
            mark.touch()
            if fault in CLOCKS:
                truth, jump = time.time, CLOCKS[fault]
                time.time = lambda: truth() + jump
                return real(source, target)
            if fault == "kill after":
                real(source, target)
            if fault.startswith("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "interrupt":
                raise KeyboardInterrupt
            raise OSError(code, os.strerror(code), str(target))

        atomic.os = _Patched(os, replace, fsync)  # type: ignore[assignment]

    return prepare


def at_each_write(
    before: Callable[[str], None] = lambda name: None, after: Callable[[str], None] = lambda name: None
) -> Callable[[], None]:
    """Return a function that has `before` and `after` called with the name of every file that is moved in."""

    def prepare() -> None:
        from mil_heatmaps.files import atomic

        counts = counted()

        def replace(source: Any, target: Any) -> None:
            if not counts(name := Path(target).name):
                return os.replace(source, target)
            before(name)
            os.replace(source, target)
            after(name)
            return None

        atomic.os = _Patched(os, replace, os.fsync)  # type: ignore[assignment]

    return prepare


class _Patched:
    """The module os, with another `replace` and `fsync`."""

    def __init__(self, module: Any, replace: Callable[..., None], fsync: Callable[[int], None]) -> None:
        self._module, self.replace, self.fsync = module, replace, fsync

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def finished_stages(cohort: SmallCohort) -> dict[str, Any]:
    """Return every stage on record with all its data, times included."""
    found = {}
    for path in cohort.raw.rglob("record.json"):
        for name, stage in json.loads(path.read_text())["stages"].items():
            if any(note["code"] == "export_refused" for note in stage["notes"]):
                continue  # reported, and tried again by the next run
            found[f"{path.parent.name}/{name}"] = stage
    return found


def halves(cohort: SmallCohort) -> list[str]:
    """Return files below the cohort's folder that no finished run leaves behind."""
    return [
        path.name
        for path in cohort.root.rglob(".*")
        if ".partial" in path.name or path.name.startswith((".write-", ".running-", ".stop-"))
    ]


def judged(cohort: SmallCohort, code: int, fault: str, calm: dict[str, str], resume: Callable[[], int]) -> str:
    """Run the command again, after one that was disturbed and ended with `code`; return what is wrong, else nothing."""
    wrong = []
    if fault in CLOCKS and code != 0:
        wrong.append(f"the run whose clock jumped ended with {code}")
    if code == 99:
        wrong.append("the disturbed run ended with a traceback")
    before = finished_stages(cohort)
    if (again := resume()) != 0:
        wrong.append(f"the resumed run ended with {again}")
    if (found := held(cohort)) != calm:
        differing = sorted(name for name in set(found) | set(calm) if found.get(name) != calm.get(name))
        wrong.append(f"{len(differing)} outputs differ, such as {differing[0]}")
    after = finished_stages(cohort)
    if repeated := [name for name, stage in before.items() if after.get(name) != stage]:
        wrong.append(f"finished stages were done again: {repeated}")
    if left := halves(cohort):
        wrong.append(f"left behind: {left}")
    return "; ".join(wrong)
