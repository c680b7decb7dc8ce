"""What the viewer can show: slides, their score files and pictures, and what the process list says about them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mil_heatmaps.choices import CASE_COLUMNS
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.names import slide_id_of
from mil_heatmaps.records.layout import FAITHFULNESS, RECORD
from mil_heatmaps.visualization.palette import DIVERGING_CMAP


@dataclass(frozen=True)
class NamedFile:
    """A score file or picture, and the name that panes use for it.

    Attributes
    ----------
    source : int
        Number of its run; files of one run are looked at one at a time, those of two runs are compared.
    bag : bool
        Whether the other maps of its source were ranked among its scores.
    run : str
        Name of its run, empty for a file of the user's own.
    region : Region or None
        The part of the slide that the run's pictures show.
    feature_dirs : paths
        Where the features of its patches may be.
    """

    path: Path
    title: str
    source: int = 0
    bag: bool = False
    run: str = ""
    region: "Region | None" = None
    feature_dirs: tuple[Path, ...] = ()

    @property
    def faithfulness(self) -> Path:
        """The file of faithfulness measurements of its maps; bags after the first have their name at the end of it."""
        slide, _, bag = self.path.stem.rpartition("_blockmap")
        if not slide:
            return self.path.with_name(self.path.stem + FAITHFULNESS)
        return self.path.with_name(f"{slide}{FAITHFULNESS.removesuffix('.json')}{bag}.json")

    @property
    def record(self) -> Path:
        """The run's record of how the slide's maps were made, if there is one."""
        return self.path.with_name(RECORD)


@dataclass(frozen=True)
class Region:
    """The part of a slide that a run draws: a box, or the file of its outlines.

    Attributes
    ----------
    box : (x1, y1, x2, y2) or None
        As the run's list has it.
    outlines : Path or None
    reaching : bool
        Draw every patch that reaches into the region, not only those that begin in it.
    """

    box: tuple[float, ...] | None = None
    outlines: Path | None = None
    reaching: bool = False


@dataclass(frozen=True)
class RunAnswer:
    """What one of several runs says about a slide."""

    run: str
    prediction: str
    probability: float | None
    number: float | None
    status: str


@dataclass(frozen=True)
class SlideEntry:
    """One slide of the list.

    Attributes
    ----------
    slide_id : str
    slide_path : Path or None
        None when the slide was not found; `problem` then says where it was searched for.
    scores, pictures : tuple of NamedFile
    tissue : Path or None
    cells : mapping from process-list column to text
        Shown, searched and sorted by.
    status, label, prediction : str
    probability : float or None
        Of the predicted class.
    number : float or None
        Risk or first value of a survival or regression model. Such a model predicts no class: `prediction` then says
        all of it, and nothing is right or wrong.
    problem : str
        Why the slide failed, or what is missing.
    own_files : bool
        Scores and outlines are the user's own; their coordinates may count from the scanned area or be micrometres.
        Those of a run are in the slide's pixels and frame.
    mpp, default_mpp : float or None
        The resolution given by hand for this slide, and the one for all slides that state none.
    answers : tuple of RunAnswer
        One per run where there are several runs.
    verdict : str
        How faithful the drawn map was found to be.
    """

    slide_id: str
    slide_path: Path | None
    scores: tuple[NamedFile, ...] = ()
    pictures: tuple[NamedFile, ...] = ()
    tissue: Path | None = None
    cells: dict[str, str] = field(default_factory=dict)
    status: str = ""
    label: str = ""
    prediction: str = ""
    probability: float | None = None
    problem: str = ""
    number: float | None = None
    own_files: bool = False
    mpp: float | None = None
    default_mpp: float | None = None
    answers: tuple[RunAnswer, ...] = ()
    verdict: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files behind what is shown, except the slide."""
        measured = dict.fromkeys(named.faithfulness for named in self.scores)
        paths = (*(named.path for named in (*self.scores, *self.pictures)), *measured)
        return (*paths, self.tissue) if self.tissue else paths

    @property
    def disagrees(self) -> bool:
        """Whether the runs predict different classes."""
        return len({answer.prediction for answer in self.answers if answer.prediction}) > 1

    @property
    def is_wrong(self) -> bool | None:
        """Whether the prediction differs from the label; None when either is unknown."""
        if not self.label or not self.prediction or self.label == "Unspecified" or self.number is not None:
            return None
        return self.label != self.prediction

    def _is_wrong_of(self, answer: RunAnswer) -> bool | None:
        return replace(self, prediction=answer.prediction, number=answer.number).is_wrong

    def summary(self, *, blind: bool = False) -> dict[str, Any]:
        """Return what the list of slides shows, as JSON values; when `blind`, nothing that gives away the answer."""
        shown: dict[str, Any] = {
            "name": self.slide_id,
            "status": self.status,
            "label": self.label,
            "prediction": self.prediction,
            "probability": self.probability,
            "number": self.number,
            "wrong": self.is_wrong,
            "problem": self.problem,
            "notices": self.cells.get("notes", ""),
            "cells": self.cells,
            "canOpen": self.slide_path is not None,
            "layers": len(self.scores) + len(self.pictures),
            "verdict": self.verdict,
        }
        if self.answers:
            shown["answers"] = [
                {**vars(answer), "wrong": self._is_wrong_of(answer)} for answer in self.answers
            ]
            shown["disagree"] = self.disagrees
        if not blind:
            return shown
        hidden = {"label": "", "prediction": "", "probability": None, "number": None, "wrong": None, "verdict": ""}
        return {key: value for key, value in shown.items() if key not in ("answers", "disagree")} | {
            **hidden, "cells": {}, "notices": "",
        }  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """The colours to begin with, as the run drew them; the page may change all of them. None: the page decides.

    Attributes
    ----------
    cmap_signed : str or None
        Colormap of scores for and against; None: the same as for all other scores.
    center : ``auto``, ``cohort_median`` or float
        The middle of a diverging map; the cohort's median is read from the slide's record.
    ends : (float or None, float or None)
        The run's own ends of the range, the same for all slides, in the unit of a layer's normalisation; None: the
        ends of the normalisation.
    threshold : float
        Scores below this place on the scale are hidden.
    inside, smooth : bool
        Colours inside the tissue only; interpolated between patches.
    by_rank : bool
        Scores of every kind are ranked unless `normalize` says otherwise, as in CLAM.
    among_bag : bool
        Scores of a fine map are ranked among those of the bag, not among themselves.
    evidence : bool
        The evidence set of the drawn map is outlined.
    """

    cmap: str | None = None
    cmap_signed: str | None = DIVERGING_CMAP
    center: str | float = "auto"
    alpha: float | None = None
    normalize: str | None = None
    ends: tuple[float | None, float | None] = (None, None)
    threshold: float = 0.0
    inside: bool = False
    smooth: bool = False
    by_rank: bool = False
    among_bag: bool = True
    evidence: bool = False

    @property
    def has_ends(self) -> bool:
        """Whether the run itself sets an end of the range."""
        return self.ends != (None, None)

    def as_view(self) -> dict[str, Any]:
        """Return the defaults under the page's names (state.js)."""
        low, high = self.ends
        in_scores = self.normalize in ("minmax", "robust", "none") and low is not None and high is not None
        norm = "fixed" if in_scores else "auto" if self.has_ends else self.normalize  # auto: with the layer's own ends
        view = {
            "cmap": self.cmap,
            "norm": norm,
            "opacity": self.alpha,
            "fixedLow": low if in_scores else None,
            "fixedHigh": high if in_scores else None,
            "threshold": self.threshold,
            "inside": self.inside,
            "smooth": self.smooth,
        }
        return {key: value for key, value in view.items() if value is not None}


@dataclass(frozen=True)
class Beside:
    """A second slide in the frame of the first.

    Attributes
    ----------
    affine : 3 x 3
        From level-0 pixels of the first slide to those of this one.
    """

    slide_path: Path
    affine: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Catalog:
    """All slides of one viewer, addressed by their place in `slides` and never by a path.

    Attributes
    ----------
    blind : bool
        Labels and predictions are hidden from the page.
    beside : Beside or None
        A second slide; every pane that shows it moves along with the first.
    lists : tuple of Path
        Folders where a study of the run may have left lists of patches.
    """

    title: str
    slides: tuple[SlideEntry, ...]
    columns: tuple[str, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)
    notes: tuple[str, ...] = ()
    blind: bool = False
    beside: "Beside | None" = None
    lists: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not self.slides:
            raise ConfigError(f"{self.title}: there is no slide to show")

    @cached_property
    def cases(self) -> dict[str, str]:
        """The case of each slide, by slide_id, for the slides whose case the list tells."""
        named = ((entry, next(filter(None, map(entry.cells.get, CASE_COLUMNS)), "")) for entry in self.slides)
        return {entry.slide_id: case for entry, case in named if case}


def titles_for(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each path: its stem, with as many folders as it takes to tell equal stems apart."""
    stems = [path.stem.removesuffix("_blockmap") for path in paths]
    titles = list(stems)
    depth = 1
    while len(set(titles)) < len(titles) and depth < 6:
        above = [path.absolute().parts[-1 - depth : -1] for path in paths]
        titles = ["/".join((*parts, stem)) for parts, stem in zip(above, stems, strict=True)]
        depth += 1
    return titles if len(set(titles)) == len(titles) else [f"{title} ({i + 1})" for i, title in enumerate(titles)]


def catalog_of_files(slide: Path, pictures: Sequence[Path], scores: Sequence[Path], tissue: Path | None) -> Catalog:
    """Return a catalog of one slide and the files given for it."""
    for path in (slide, *pictures, *scores, *([tissue] if tissue else [])):
        if not path.exists():
            raise ConfigError(f"no such file: {path}")
    entry = SlideEntry(
        slide_id_of(slide),
        slide,
        scores=tuple(map(NamedFile, scores, titles_for(scores), range(len(scores)))),
        pictures=tuple(map(NamedFile, pictures, titles_for(pictures))),
        tissue=tissue,
        own_files=True,
    )
    return Catalog(slide_id_of(slide), (entry,))
