"""A report's data on each slide: its record, its part of the report, its files; one slide in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic_core import from_json

from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.records.outcome_tables import SlideOutcome, outcome_of
from mil_heatmaps.records.rows import UNSPECIFIED
from mil_heatmaps.records.slide_record import SlideRecord, output_path
from mil_heatmaps.words import printable

if TYPE_CHECKING:
    from mil_heatmaps.cohort.jobs import Cohort
    from mil_heatmaps.cohort.slide_job import SlideJob

_SHOWN_FILES = {
    "heatmap": "the heatmap", "faithfulness": "what was measured of the map", "samples": "saved patches",
    "exports": "export", "video": "film",
}  # fmt: skip
"""Stages whose files are linked, with the names of the files."""


@dataclass(frozen=True)
class LinkedFile:
    """A file of the run that a page links to.

    Attributes
    ----------
    what : str
        A description of the file.
    name : str
    href : str
        Relative to the folder of the page, quoted; empty where the file no longer exists.
    """

    what: str
    name: str
    href: str


@dataclass(frozen=True)
class ReportedSlide:
    """A slide as the run left it.

    Attributes
    ----------
    slide_id : str
    label : str
        The class of the slide in the list; empty without one.
    own_label : str
        The label as written in the list.
    job : SlideJob or None
        None where the slide's files were not found.
    problem : str
        Why the slide could not be started.
    """

    slide_id: str
    label: str
    own_label: str = ""
    job: SlideJob | None = None
    problem: str = ""

    @cached_property
    def record(self) -> SlideRecord | None:
        """The slide's record; None where there is none."""
        if self.job is None or not self.job.paths.record.is_file():
            return None
        return SlideRecord.load(self.job.paths.record, self.slide_id)

    @cached_property
    def outcome(self) -> SlideOutcome:
        """Its status, prediction and numbers."""
        if self.problem:
            return SlideOutcome("failed", "start", self.problem)
        return SlideOutcome() if self.record is None else outcome_of(self.record)

    @property
    def status(self) -> str:
        """Its status in words."""
        return {"tbp": "not begun", "running": "begun"}.get(self.outcome.status, self.outcome.status)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """The slide's notices."""
        own = () if self.job is None else self.job.row.notes
        return distinct((*own, *(() if self.record is None else self.record.notices())))

    @property
    def failure(self) -> str:
        """Where and why the slide failed, empty where it did not."""
        if self.outcome.status != "failed":
            return ""
        stage = self.outcome.failed_stage
        return printable(f"{stage}: {self.outcome.error}" if stage else self.outcome.error)

    @cached_property
    def has_part(self) -> bool:
        """Whether the slide has a part of the report that is unchanged since the run wrote it."""
        stage = None if self.record is None else self.record.stages.get("report")
        if stage is None or self.job is None:
            return False
        raw = str(self.job.paths.raw)
        return all(output.matches(output_path(raw, key)) for key, output in stage.outputs.items())

    def part(self) -> dict[str, Any] | None:
        """Read the slide's part of the report; None where there is no readable one."""
        if not self.has_part or self.job is None:
            return None
        try:
            document = from_json(self.job.paths.report_json.read_bytes())
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    @property
    def part_bytes(self) -> int:
        """Size of the slide's part of the report."""
        stage = None if self.record is None or not self.has_part else self.record.stages["report"]
        return 0 if stage is None else sum(output.size for output in stage.outputs.values())

    def files(self, folder: Path) -> tuple[list[LinkedFile], list[str]]:
        """Return links to the slide's files for a page in `folder`, and a sentence for each missing file."""
        links: list[LinkedFile] = []
        gone: list[str] = []
        if self.record is None or self.job is None:
            return links, gone
        for stage, what in _SHOWN_FILES.items():
            done = self.record.stages.get(stage)
            for key in () if done is None else done.outputs:
                path = Path(output_path(str(self.job.paths.raw), key))
                if path.suffix == ".json" and stage == "faithfulness":
                    continue
                if not path.is_file():
                    gone.append(
                        f"{path.name} ({what}) was deleted: the run writes it again (--from_stage {stage})"
                    )
                elif not _is_one_of_many(path, stage):
                    links.append(LinkedFile(_named(path, what), path.name, _href(path, folder)))
        return links, gone


def slides_of(cohort: Cohort) -> Iterator[ReportedSlide]:
    """Yield every slide of a run, in the order of its list."""
    for index, row in enumerate(cohort.rows):
        label = "" if row.group == UNSPECIFIED else row.group
        name = row.slide_id or row.slide_name
        if index in cohort.problems:
            yield ReportedSlide(name, label, row.label, None, cohort.problems[index])
        else:
            yield ReportedSlide(name, label, row.label, cohort.jobs[row.slide_id])


def _is_one_of_many(path: Path, stage: str) -> bool:
    """Whether a link to it would be one of hundreds: patches and tiles are reached by their sheet or folder."""
    if stage == "samples":
        return not (path.suffix == ".csv" or "sheet" in path.stem)
    return stage == "exports" and path.parent.name != "exports"


def _named(path: Path, what: str) -> str:
    if what == "the heatmap":
        stem = path.stem
        if stem.endswith("_figure"):
            return "figure"
        return "slide without colours" if "_orig_" in stem or stem.endswith("_slide") else "heatmap"
    return f"{what} ({path.suffix.lstrip('.')})" if what in ("export", "saved patches") else what


def _href(path: Path, folder: Path) -> str:
    """Return a path relative to a page in `folder`; bytes that are not text are quoted like any other character."""
    return quote(os.fsencode(os.path.relpath(path, folder).replace(os.sep, "/")))
