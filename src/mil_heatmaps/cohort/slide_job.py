"""One row of the process list with the files found for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mil_heatmaps.records.layout import CaseLayout, SlideLayout
from mil_heatmaps.records.rows import ProcessRow


@dataclass(frozen=True)
class SlideJob:
    """A slide to process: its row, where its results go, and its input files."""

    row: ProcessRow
    paths: SlideLayout
    slide_path: Path
    features_path: Path | None
    tissue_path: Path | None
    scores_path: Path | None
    coords_dir: Path | None = None  # or the one file in it that is this slide's
    coords_path: Path | None = None  # where to encode patches, if the user provides no features
    roi_path: Path | None = None
    qc_path: Path | None = None  # a mask of quality control; HistoQC's others lie beside it
    beside_path: Path | None = None  # a second slide of the same tissue, and where it lies
    affine_path: Path | None = None
    bag_path: Path | None = None
    """Features on which the user's scores are measured; None unless that is asked for."""
    unused_tissue: str = ""
    """Which files of the slide in tissue_dir cannot be used, and why, if it has no outlines there."""
    case: Case | None = field(default=None, repr=False, compare=False)
    """The case of the slide, whose `slides` has the job; None where cases do not matter."""

    slide_vector: Path | None = None
    """Stored vector of the slide, which is compared with the one that a slide encoder makes."""
    other_bags: Mapping[str, Path] = field(default_factory=dict)
    """Features of all bags but the first, by name, for a model that takes several."""
    extra: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Numbers besides the patches, by name, for a model that takes them."""

    @property
    def slide_id(self) -> str:
        return self.row.slide_id

    def put_in_case(self, case: Case) -> None:
        """Set the case of a job, while the cohort is made: copies take time in long lists."""
        vars(self)["case"] = case


@dataclass(frozen=True)
class Case:
    """The slides of a patient.

    Attributes
    ----------
    slides : in the order of the list
    lacking : slides of the list that the bag lacks, each with the reason
    """

    case_id: str
    slides: tuple[SlideJob, ...]
    paths: CaseLayout
    lacking: tuple[str, ...] = ()

    def number(self, slide_id: str) -> int:
        """Return the position of a slide in the case, counted from 1."""
        return [job.slide_id for job in self.slides].index(slide_id) + 1
