"""One row of the process list with the files found for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mil_heatmaps.records.layout import CaseLayout, SlideLayout
from mil_heatmaps.records.rows import ProcessRow


@dataclass(frozen=True)
class SlideJob:
    """A slide to be worked on: what its row says, where its results go, and its input files."""

    row: ProcessRow
    paths: SlideLayout
    slide_path: Path
    features_path: Path | None
    tissue_path: Path | None
    scores_path: Path | None
    coords_dir: Path | None = None  # or the one file in it that is this slide's
    coords_path: Path | None = None  # where patches are to be encoded, when no features are brought
    roi_path: Path | None = None
    qc_path: Path | None = None  # a mask of quality control; HistoQC's others lie beside it
    beside_path: Path | None = None  # a second slide of the same tissue, and where it lies
    affine_path: Path | None = None
    bag_path: Path | None = None
    """Features by which scores that are brought are measured; None unless that is asked for."""
    unused_tissue: str = ""
    """Which files of the slide in tissue_dir cannot be used, and why, where it has no outlines there."""
    case: Case | None = None
    """The slides it belongs with; None where cases do not matter."""

    slide_vector: Path | None = None
    """Vector of the slide from elsewhere, with which the one that a slide encoder makes is compared."""
    other_bags: Mapping[str, Path] = field(default_factory=dict)
    """Features of the bags beside the first, by name, of a model that takes several."""
    extra: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Numbers beside the patches, by name, of a model that takes them."""

    @property
    def slide_id(self) -> str:
        return self.row.slide_id

    def in_case(self, case: Case) -> SlideJob:
        """Return the job as one of a case's; `dataclasses.replace` costs ten times as much, for every slide."""
        made = object.__new__(SlideJob)
        made.__dict__.update(self.__dict__, case=case)
        return made


@dataclass(frozen=True)
class Case:
    """The slides of a patient.

    Attributes
    ----------
    slides : in the order of the list; their own `case` is None
    lacking : slides that the list has and the bag has not, each with the reason
    """

    case_id: str
    slides: tuple[SlideJob, ...]
    paths: CaseLayout
    lacking: tuple[str, ...] = ()

    def number(self, slide_id: str) -> int:
        """Return where a slide stands in the case, counted from 1."""
        return [job.slide_id for job in self.slides].index(slide_id) + 1
