"""Experiments as a study needs them: which slides have scores, and what the list says about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mil_heatmaps.cohort.experiments import find_experiment
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.files.names import comparable
from mil_heatmaps.insight.statistics import patients_of
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.layout import BLOCKMAP
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.scores.quick_read import QuickScores
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import first_of

SpaceOf = Callable[[str, QuickScores], SlideSpace]
"""Returns, for a slide's name and scores, what positions in files mean on the slide."""


def told_space(slide_id: str, read: QuickScores) -> SlideSpace:
    """Return what a slide's scores tell about it: everything but its scanned area."""
    return SlideSpace(read.slide_size_l0, mpp=read.level0_mpp, name=slide_id)


@dataclass(frozen=True)
class ScoredSlide:
    """A slide with scores.

    Attributes
    ----------
    slide_id : str
    scores : Path
        Its score file.
    group : str
        Folder of its group, empty without one.
    cells : mapping from column to text
        Its row of the list.
    record : SlideRecord or None
    """

    slide_id: str
    scores: Path
    group: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    record: SlideRecord | None = None

    @property
    def label(self) -> str:
        """The slide's label in the list, empty without one."""
        return self.cells.get("label", "")


class StudyRun:
    """One experiment, finished or in progress: the slides that have scores so far.

    Parameters
    ----------
    folder : ``<raw_save_dir>/<save_exp_code>``, the output of generate_heatmaps.py, its name below the usual place, its
    config, or any folder of score files (``S_blockmap.h5``)

    Raises
    ------
    ConfigError
        There is no such folder, or no slide in it has scores.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = find_experiment(folder, any_folder=True)
        self.run = FinishedRun(self.folder)
        if not self.slides:
            raise ConfigError(f"{self.folder}: no slide has scores yet (no file that ends with {BLOCKMAP})")

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.folder.resolve().name

    @cached_property
    def slides(self) -> dict[str, ScoredSlide]:
        """The slides with scores, by slide_id."""
        try:
            rows = {comparable(row.slide_id): row.cells for row in self.run.rows}
        except HeatmapError:  # without a readable list, scores are used without labels
            rows = {}
        found = {}
        for slide_id, path in self.run.records.items():
            scores = path.parent / f"{slide_id}{BLOCKMAP}"
            if scores.is_file():
                cells = rows.get(comparable(slide_id), {})
                found[slide_id] = ScoredSlide(slide_id, scores, path.parent.parent.name, cells)
        if not found and not self.run.is_there:
            for scores in sorted(self.folder.rglob(f"*{BLOCKMAP}")):
                slide_id = scores.name.removesuffix(BLOCKMAP)
                found.setdefault(slide_id, ScoredSlide(slide_id, scores))
        return found

    @cached_property
    def patients(self) -> dict[str, str] | None:
        """The patient of each slide; None where the list has no such column."""
        return patients_of({slide_id: slide.cells for slide_id, slide in self.slides.items()})

    def record(self, slide_id: str) -> SlideRecord | None:
        """Return the slide's record; None where there is none."""
        return self.run.record(slide_id)


def open_runs(folders: Sequence[str | Path]) -> dict[str, StudyRun]:
    """Return experiments by name, in the order given.

    Raises
    ------
    ConfigError
        Fewer than two, the same one twice, or no slide in common; the message says which.
    """
    if len(folders) < 2:
        raise ConfigError("a consensus needs at least two experiments")
    runs = [StudyRun(folder) for folder in folders]
    places = [run.folder.resolve() for run in runs]
    if twice := [str(place) for place in places if places.count(place) > 1]:
        raise ConfigError(f"{twice[0]} is given twice: a consensus with itself would agree entirely")
    names = [run.name for run in runs]
    named = {
        name if names.count(name) == 1 else "/".join(place.parts[-2:]): run
        for name, place, run in zip(names, places, runs, strict=True)
    }
    if len(named) < len(runs):
        named = dict(zip(map(str, places), runs, strict=True))
    if not common_slides(named):
        some = "; ".join(f"{name} has {first_of(sorted(run.slides), 3)}" for name, run in named.items())
        raise ConfigError(f"the experiments have no slide in common: {some}")
    return named


def common_slides(runs: Mapping[str, StudyRun]) -> list[str]:
    """Return the slides that have scores in every experiment, in the order of the first."""
    others = [{comparable(slide_id) for slide_id in run.slides} for run in runs.values()]
    first = next(iter(runs.values()))
    return [slide_id for slide_id in first.slides if all(comparable(slide_id) in other for other in others)]


def slide_of(run: StudyRun, slide_id: str) -> ScoredSlide | None:
    """Return a run's slide by its name, in any Unicode normalisation."""
    found = run.slides.get(slide_id)
    if found is None:
        found = {comparable(name): slide for name, slide in run.slides.items()}.get(comparable(slide_id))
    return found
