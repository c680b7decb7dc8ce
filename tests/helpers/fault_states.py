"""Try every fault at every write of a run, each from the state in which the run was just before this write.

One undisturbed run leaves a copy of its folders before and after each of its writes. A kill at a write is such a copy.
Any other fault comes in the next command: it starts from the copy, and the fault hits the same write, whose number
there was counted when the command went on after the kill. So each write is hit twice in one run, and no work is done
that is not needed. Where the next command does not write the same files to its end, the fault hits a run from nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mil_heatmaps.files import hdf5_guard
from mil_heatmaps.visualization import figure_page
from tests.helpers.cohort import SmallCohort
from tests.helpers.faults import FAULTS, RUNS, Outcome, at_each_write, fault_at, held, judged, run_forked

FOLDERS = ("raw", "prod", "results", "features_cache")


class States:
    """A run with its folders as they were before and after each of its writes.

    Attributes
    ----------
    names : names of the files that the undisturbed run moved in, in order
    calm : its outputs, without times and dates
    """

    def __init__(self, root: Path, kind: str, *, white: bool = False) -> None:
        if white:
            figure_page._figure_class().draw = lambda self, renderer: None  # type: ignore[method-assign]
        _warm(root / "warm", kind)
        self.root, self.kind, self.cohort = root, kind, RUNS[kind](root / "run")
        self.names: list[str] = []
        self._there: dict[int, int | None] = {}
        written, shots = root / "names", root / "shots"

        def shoot(when: str, name: str) -> None:
            with written.open("a") as file:
                print(json.dumps([when, name]), file=file)
            number = sum(json.loads(line)[0] == when for line in written.read_text().splitlines()) - 1
            _copy(self.cohort.root, shots / f"{when}{number}")

        seen = at_each_write(lambda name: shoot("before", name), lambda name: shoot("after", name))
        if (code := run_forked(self.cohort.root / "config.yaml", seen)) != 0:
            raise RuntimeError(f"the undisturbed run ended with {code}")
        lines = map(json.loads, written.read_text().splitlines())
        self.names = [name for when, name in lines if when == "before"]
        self.calm = held(self.cohort)

    def _restore(self, when: str, number: int) -> None:
        """Put the folders back as they were `when` ("before" or "after") a write; none where there is no such write."""
        for folder in FOLDERS:
            shutil.rmtree(self.cohort.root / folder, ignore_errors=True)
        _copy(self.root / "shots" / f"{when}{number}", self.cohort.root)

    def _go_on(self, number: int) -> int:
        """Run the command again from before a write; find out which of its writes is that write; return its exit code.

        None is kept where it does not write the same files from there on.
        """
        told, rest = self.root / "told", self.names[number:]
        told.write_text("")

        def tell(name: str) -> None:
            with told.open("a") as file:
                print(json.dumps(name), file=file)

        code = run_forked(self.cohort.root / "config.yaml", at_each_write(tell))
        names = [json.loads(line) for line in told.read_text().splitlines()]
        more = len(names) - len(rest)
        self._there[number] = more if more >= 0 and names[more:] == rest else None
        return code

    def _number_there(self, number: int) -> int | None:
        if number not in self._there:
            self._restore("before", number)
            self._go_on(number)
        return self._there[number]

    def attempt(self, fault: str, number: int) -> Outcome:
        """Make a fault at a write, run the command again, and say what differs from the undisturbed run."""
        config = self.cohort.root / "config.yaml"
        if fault == "kill":
            self._restore("before", number)
            return Outcome(True, judged(self.cohort, -9, fault, self.calm, lambda: self._go_on(number)), -9)
        if fault == "kill after":
            self._restore("after", number)
            return Outcome(True, judged(self.cohort, -9, fault, self.calm, lambda: run_forked(config)), -9)
        there, mark = self._number_there(number), self.root / "reached"
        self._restore("before", number if there is not None else -1)
        mark.unlink(missing_ok=True)
        code = run_forked(config, fault_at(number if there is None else there, fault, mark))
        if not mark.exists():
            return Outcome(False, "", code)
        return Outcome(True, judged(self.cohort, code, fault, self.calm, lambda: run_forked(config)), code)


def _copy(source: Path, target: Path) -> None:
    """Copy the output folders below one folder to another, with their times; a file that goes meanwhile is left out."""
    for folder in FOLDERS:
        if (source / folder).is_dir():
            with suppress(shutil.Error):
                shutil.copytree(source / folder, target / folder, symlinks=True)


def _warm(root: Path, kind: str) -> None:
    """Run once in this process, so that the forked ones find modules, fonts and tables loaded."""
    from mil_heatmaps.cli.create_heatmaps import main

    hdf5_guard._LOOKER.refusal = lambda path: None  # type: ignore[method-assign]
    cohort: SmallCohort = RUNS[kind](root)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if (code := main(["--config", str(cohort.root / "config.yaml")])) != 0:
            raise RuntimeError(f"the undisturbed run ended with {code}")


def all_faults(
    root: Path,
    faults: tuple[str, ...] = FAULTS,
    step: int = 1,
    kind: str = "small",
    first: int = 0,
    known: Mapping[tuple[str, int], bool] | None = None,
    *,
    white: bool = False,
) -> Iterator[tuple[str, int, Outcome]]:
    """Yield (fault, number of the write, outcome) for every `step`-th write of a run, each fault in turn.

    `known` maps (fault, number) of earlier trials, which are not made again, to whether the run reached that write.
    With `white`, figures and sheets are left white, which takes half the time.
    """
    states, known = States(root, kind, white=white), known or {}
    for fault in faults:
        for number in range(first, len(states.names), step):
            if (fault, number) not in known:
                yield fault, number, states.attempt(fault, number)
