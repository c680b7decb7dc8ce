"""What there is to look at: slides, their score files and pictures, and what the process list says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.names import slide_id_of


@dataclass(frozen=True)
class NamedFile:
    """A score file or picture, and the name by which panes call it.

    Attributes
    ----------
    source : int
        Number of the run it comes from; files of one run are looked at one at a time, those of two are compared.
    bag : bool
        Whether the other maps of its source were ranked among its scores.
    """

    path: Path
    title: str
    source: int = 0
    bag: bool = False


@dataclass(frozen=True)
class SlideEntry:
    """One slide of the list.

    Attributes
    ----------
    slide_id : str
    slide_path : Path or None
        None when the slide was not found; `problem` then says where it was looked for.
    scores, pictures : tuple of NamedFile
    tissue : Path or None
    cells : mapping from process-list column to text
        Shown, searched and sorted by.
    status, label, prediction : str
    probability : float or None
        Of the predicted class.
    number : float or None
        Risk or first value of a survival or regression model, for which there is no predicted class: `prediction`
        then says all of it, and nothing is right or wrong.
    problem : str
        Why it failed, or what is missing.
    own_files : bool
        Scores and outlines are the user's own, whose coordinates may count from the scanned area or be micrometres;
        those of a run are in the slide's pixels and frame.
    mpp, default_mpp : float or None
        The resolution given by hand for this slide, and for all that say none.
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

    @property
    def is_wrong(self) -> bool | None:
        """Whether the prediction differs from the label; None when one of them is not known."""
        if not self.label or not self.prediction or self.label == "Unspecified" or self.number is not None:
            return None
        return self.label != self.prediction

    def summary(self) -> dict[str, Any]:
        """Return what the list of slides shows, as JSON values."""
        return {
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
        }


@dataclass(frozen=True)
class Defaults:
    """How colours begin, as the run drew them; the page may change all of it. None: as the page likes.

    Attributes
    ----------
    ends : (float or None, float or None)
        The run's own ends of the range, the same for all slides, in the unit of a layer's normalisation; None: the
        normalisation's.
    threshold : float
        Hidden below this place on the scale.
    inside, smooth : bool
        Colours inside the tissue only; interpolated between patches.
    by_rank : bool
        Scores of every kind are ranked unless `normalize` says otherwise, as in CLAM.
    among_bag : bool
        Those of a fine map are ranked among the bag's, not among themselves.
    evidence : bool
        The evidence set of the drawn map is outlined.
    """

    cmap: str | None = None
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
        """Whether the run sets an end of the range itself."""
        return self.ends != (None, None)

    def as_view(self) -> dict[str, Any]:
        """Return them under the page's own names (state.js)."""
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
class Catalog:
    """All slides of one viewer, addressed by their place in `slides` and never by a path."""

    title: str
    slides: tuple[SlideEntry, ...]
    columns: tuple[str, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.slides:
            raise ConfigError(f"{self.title}: there is no slide to show")


def titles_for(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each path: its stem, with as many folders as tell equal ones apart."""
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
