"""Write the report of a run: one file, or a folder with an index if one file would be too large."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import binary_writer, remove_abandoned
from mil_heatmaps.records.layout import safe_name
from mil_heatmaps.report.front import Front
from mil_heatmaps.report.outcome_panels import Predictions, outcome_panels
from mil_heatmaps.report.pages import environment, plot, rendered
from mil_heatmaps.report.rows import page_of, row_of
from mil_heatmaps.report.slides import ReportedSlide, slides_of
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    from mil_heatmaps.cohort.jobs import Cohort
    from mil_heatmaps.config.config import Config

MEGABYTE = 1_000_000
_ROW_BYTES = 2500
"""Approximate size of a row of the table without its thumbnail."""

_PRINTED_MEASURES = 2
"""Columns of measures that fit on paper; the screen shows all."""


@dataclass
class Written:
    """The files of a written report.

    Attributes
    ----------
    path : Path
        The file to open.
    slides : int
        Number of slides with a page.
    changed, kept : list of Path
        Files that were written, and files that already had the right content.
    """

    path: Path
    slides: int = 0
    changed: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)


def write_report(cohort: Cohort, config: Config, say: Callable[[str], None] = lambda line: None) -> Written:
    """Write the report of a run so far; `say` receives the form of the report before anything is written.

    Files whose content would not change are not touched.

    Raises
    ------
    HeatmapError
        No slide has a part of the report, or Jinja2 is not installed.
    """
    environment()
    front, predictions = Front(config), Predictions(config)
    size = 0
    for slide in slides_of(cohort):
        part = slide.part()
        front.add(slide, part)
        predictions.add(slide)
        size += slide.part_bytes + _ROW_BYTES + (len(part["pictures"]["thumbnail"]) if part is not None else 0)
    if not front.parts:
        raise HeatmapError(
            f"there is nothing to report: none of {counted(front.slides, 'slide')} is finished "
            f"({front.status_words.partition(': ')[2] or 'the list is empty'}); run the slides first, with --report or "
            "report_arguments, and every finished one is in the report"
        )
    form = _Report(cohort, config, front, predictions)
    arguments, name = config.report_arguments, cohort.layout.report(config.exp_arguments.save_exp_code)
    as_folder = arguments.form == "folder" or (arguments.form == "auto" and size > arguments.max_mb * MEGABYTE)
    if as_folder:
        why = "" if arguments.form == "folder" else f", more than {arguments.max_mb:g} MB"
        say(f"the report of {counted(front.parts, 'slide')} is {size / MEGABYTE:.0f} MB{why}: "
            f"written as a folder, {name.with_suffix('')}")  # fmt: skip
    else:
        say(f"the report of {counted(front.parts, 'slide')} is {size / MEGABYTE:.1f} MB: written as one file")
    cohort.layout.raw_root.mkdir(parents=True, exist_ok=True)
    with FileLock(cohort.layout.list_lock):
        return form.as_folder(name) if as_folder else form.as_file(name)


class _Report:
    def __init__(self, cohort: Cohort, config: Config, front: Front, predictions: Predictions) -> None:
        self._cohort, self._front, self._predictions = cohort, front, predictions
        self._name = config.run_name or "run"
        folder = cohort.layout.raw_root
        self._viewer = f"python view_heatmap_sync.py --run {shlex.quote(str(folder))}"

    def as_file(self, path: Path) -> Written:
        """Write everything into one file."""
        written = Written(path, self._front.parts)
        _remove_pages(path.with_suffix(""))

        def make() -> Iterable[bytes]:
            values = self._values(lambda number, slide: f"#slide-{number}")
            return rendered("index.html", values | {"pages": (page for _, page in self._pages(path.parent))})

        _write(path, make, written)
        return written

    def as_folder(self, path: Path) -> Written:
        """Write an index and one page per slide."""
        folder = path.with_suffix("")
        written = Written(folder / "index.html", self._front.parts)
        pages = folder / "slides"
        remove_abandoned(folder)
        names: set[str] = set()
        for slide, page in self._pages(pages):
            name = _page_name(page["number"], slide)
            names.add(name)
            values = {"page": page, "name": self._name, "index": "../index.html"}
            _write(pages / name, partial(rendered, "slide_page.html", values), written)
        for old in pages.glob("*.html"):
            if old.name not in names:
                old.unlink()


        def make() -> Iterable[bytes]:
            values = self._values(lambda number, slide: f"slides/{_page_name(number, slide)}")
            return rendered("index.html", values | {"pages": ()})

        _write(written.path, make, written)
        path.unlink(missing_ok=True)
        return written

    def _slides(self) -> Iterator[tuple[int, ReportedSlide, Mapping[str, Any] | None]]:
        for number, slide in enumerate(slides_of(self._cohort), 1):
            yield number, slide, slide.part()

    def _pages(self, folder: Path) -> Iterator[tuple[ReportedSlide, dict[str, Any]]]:
        """Yield the page of every slide that has one."""
        for number, slide, part in self._slides():
            if part is not None:
                page = page_of(slide, part, number, folder, self._viewer)
                yield slide, page | {"curves": plot(page["curves"])}

    @cached_property
    def _panels(self) -> list[dict[str, Any]]:
        """Panels of the cohort: the index may be rendered twice, once to see whether it has changed."""
        return outcome_panels(self._predictions, self._cohort.layout.insight)

    def _values(self, href: Callable[[int, ReportedSlide], str]) -> dict[str, Any]:
        """Return the content of the index; its rows are generated while it is written."""
        has, measures = self._predictions.columns, self._predictions.measures
        columns = [
            ("number", "No."), ("", "Map"), ("slide_id", "Slide"), *((("label", "Label"),) if has["label"] else ()),
            ("prediction", "Prediction"), *((("chance", "Probability"),) if has["chance"] else ()),
            *((("verdict", "Faithfulness"),) if has["verdict"] else ()),
            ("status", "Status"), ("notices", "Notices"), *((name, _heading(name)) for name in measures),
        ]  # fmt: skip
        rows = (row_of(slide, part, number, "" if part is None else href(number, slide), measures)
                for number, slide, part in self._slides())  # fmt: skip
        return {
            "name": self._name,
            "front": self._front,
            "notices": self._front.told_notices(),
            "sentences": [str(note) for note in self._cohort.notes],
            "config": self._front.config_text,
            "panels": self._panels,
            "columns": columns,
            "has": has,
            "printed": _PRINTED_MEASURES,
            "more": measures[_PRINTED_MEASURES:],
            "rows": rows,
        }


def _heading(measure: str) -> str:
    """Return the name of a measure as a column heading."""
    words = measure.removeprefix("qc_").replace("_percent", " %").replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}"


def _page_name(number: int, slide: ReportedSlide) -> str:
    return f"{number:04d}_{safe_name(slide.slide_id)}.html"


def _write(path: Path, make: Callable[[], Iterable[bytes]], written: Written) -> None:
    """Write a file while it is generated, unless it already has the same content."""
    if _holds(path, make()):
        written.kept.append(path)
        return
    with binary_writer(path) as file:
        for piece in make():
            file.write(piece)
    written.changed.append(path)


def _holds(path: Path, pieces: Iterable[bytes]) -> bool:
    """Whether a file holds exactly these bytes; stops at the first difference."""
    try:
        with path.open("rb") as file:
            return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
    except OSError:
        return False


def _remove_pages(folder: Path) -> None:
    """Remove the pages of an earlier report that was a folder."""
    if not (folder / "index.html").is_file():
        return
    for page in (*(folder / "slides").glob("*.html"), folder / "index.html"):
        page.unlink()
    for place in (folder / "slides", folder):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
