"""Read the list of slides to process: CLAM's CSV, one row per slide, checked row by row.

A row that cannot be processed carries its reason in `ProcessRow.problem`, so that only this row fails. An error
of the whole list raises a `ProcessListError` before any work.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mil_heatmaps.choices import CASE_COLUMNS
from mil_heatmaps.cohort.cases import assign_cases
from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.config.labels import class_names_by_number
from mil_heatmaps.config.section_types import shown, unsafe_name
from mil_heatmaps.config.tissue_parameters import (
    BLANKS,
    PARAMETER_KEYS,
    cohort_params,
)
from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.files.names import comparable, stem_of
from mil_heatmaps.notices import Notice
from mil_heatmaps.records.rows import UNSPECIFIED, ProcessList, ProcessRow
from mil_heatmaps.slides.resolution import MPP_BELIEVED
from mil_heatmaps.words import did_you_mean, near

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

ROI_KEYS = ("x1", "y1", "x2", "y2")
KNOWN_COLUMNS = ("slide_id", "process", "status", "label", "mpp", *ROI_KEYS, *PARAMETER_KEYS)
_WHOLE = re.compile(r"^[+-]?\d{1,15}(\.0*)?$")


def read_process_list(
    path: Path | None, cfg: "Config", slides: Mapping[str, SlideIndex] = MappingProxyType({})
) -> ProcessList:
    """Return the slides to process: the rows of the table at `path`, or every slide of data_dir when it is None.

    `slides` are the indexes of data_dir by source, if they exist already.

    Raises
    ------
    ProcessListError
        When the table is missing, unreadable, without a slide_id column or rows, or no slide is found.
    """
    if path is None:
        return _from_folder(cfg, slides)
    columns, records = read_table(path)
    if "slide_id" not in columns:
        hint = near("slide_id", columns)
        guess = f"; rename column {hint!r}? It has" if hint else "; it has"
        raise ProcessListError(f"{path} has no column slide_id{guess}: {', '.join(columns)}")
    if not records:
        raise ProcessListError(f"{path} has no rows below its header")
    reader = _RowReader(cfg, columns, path)
    read = [(reader.row(line, cells, extra), cells) for line, cells, extra in records]
    rows = [row for row, _ in read if row is not None]
    result = ProcessList(rows, columns)
    assign_cases(result, [cells for row, cells in read if row is None], cfg)
    result[:] = _without_repeats(list(result))
    result.dropped = len(records) - len(rows)
    known = [name for name in columns if name in KNOWN_COLUMNS and name not in ("slide_id", "label")]
    result.column_texts = {name: tuple(cells.get(name, "") for _, cells, _ in records) for name in known}
    result.notes = list(reader.table_notes())
    if not rows:
        result.notes.append(f"no row of {path} has process 1, so there is nothing to do")
    return result


class _RowReader:
    """Turns cells into rows; values that all rows share are computed once."""

    def __init__(self, cfg: "Config", columns: Sequence[str], path: Path | None) -> None:
        self.cfg = cfg
        self.columns = columns
        self.path = path
        self.params = cohort_params(cfg)
        self.labels = cfg.data_arguments.label_dict
        self.by_number = class_names_by_number(self.labels or {})
        self.extensions = cfg.data_arguments.slide_ext
        data_dir = cfg.data_arguments.data_dir
        self.sources = list(data_dir) if isinstance(data_dir, dict) else None

    def row(self, line: int, cells: dict[str, str], extra: int = 0) -> ProcessRow | None:
        """Return the row, or None when its process cell says to leave it out."""
        problems: list[str] = []
        notes: list[Notice] = []
        process = cells.get("process", "")
        if process not in BLANKS:
            if not _WHOLE.match(process) and process.lower() not in ("true", "false"):
                problems.append(f"process must be 1 (do it) or 0, got {shown(process)}")
            elif process.lower() == "false" or (_WHOLE.match(process) and int(float(process)) != 1):
                return None
        if extra:
            problems.append(f"has {extra} cells more than the header has columns")
        name = cells["slide_id"]
        slide_id = stem_of(name, self.extensions) if name else ""
        if why := unsafe_name(name) or unsafe_name(slide_id):
            problems.append(f"slide_id {shown(name)} {why}")
        label, group = self._label(cells, problems, notes)
        params = self.params
        try:
            params = params.with_cells(cells)
        except ProcessListError as error:
            problems.append(str(error))
        roi = self._roi(cells, problems)
        source = self._source(cells, problems)
        mpp = _mpp(cells.get("mpp", ""), problems)
        return ProcessRow(
            slide_id, name, label, group, source, roi, params, cells, line,
            "; ".join(problems) or None, tuple(notes), mpp,
        )  # fmt: skip

    def _label(self, cells: dict[str, str], problems: list[str], notes: list[Notice]) -> tuple[str, str]:
        """Return the label as written and the name of its class."""
        if "label" not in self.columns:
            return UNSPECIFIED, UNSPECIFIED
        text = cells["label"]
        if self.labels and text in self.labels:
            return text, self.by_number[self.labels[text]]
        if text in BLANKS:
            notes.append(Notice("no_label", "has no label; its group is Unspecified"))
            return UNSPECIFIED, UNSPECIFIED
        if text == UNSPECIFIED:
            return UNSPECIFIED, UNSPECIFIED
        if self.labels:
            number = int(float(text)) if _WHOLE.match(text) else None
            if number in self.by_number:
                return str(number), self.by_number[number]
            guess = did_you_mean(text, self.labels)
            known = ", ".join(f"{name} ({number})" for name, number in self.labels.items())
            problems.append(f"unknown label {shown(text)}; {guess}label_dict has {known}")
            return text, UNSPECIFIED
        if self.cfg.model_arguments.task != "classification":  # a different number for each slide: no group
            return text, UNSPECIFIED
        if why := unsafe_name(text):
            problems.append(f"label {shown(text)} names a folder, but {why}")
            return text, UNSPECIFIED
        return text, text

    def _roi(self, cells: dict[str, str], problems: list[str]) -> tuple[int, int, int, int] | None:
        """Return the box, or None when there is none; a box that is needed and wrong is a problem."""
        texts = [cells.get(key, "") for key in ROI_KEYS]
        wanted = self.cfg.heatmap_arguments.use_roi and self.cfg.data_arguments.roi_dir is None
        if missing := [key for key, text in zip(ROI_KEYS, texts, strict=True) if text in BLANKS]:
            if wanted:
                problems.append(f"use_roi is on, but {', '.join(missing)} of the box is missing")
            return None
        try:
            x1, y1, x2, y2 = (int(float(text)) for text in texts)
        except (ValueError, OverflowError):
            if wanted:
                problems.append(f"the box x1, y1, x2, y2 must be numbers, got {', '.join(map(shown, texts))}")
            return None
        if wanted and (x2 <= x1 or y2 <= y1):
            problems.append(f"the box is empty: x {x1} to {x2}, y {y1} to {y2}")
        return x1, y1, x2, y2

    def _source(self, cells: dict[str, str], problems: list[str]) -> str:
        if self.sources is None:
            return ""
        key = self.cfg.data_arguments.data_dir_key
        source = cells.get(key, "")
        if source not in self.sources:
            given = f"{source!r} in column {key}" if key in self.columns else f"no column {key!r}"
            problems.append(f"data_dir names folders for {', '.join(self.sources)}, but the row has {given}")
            return ""
        return source

    def table_notes(self) -> Iterator[str]:
        """Yield a warning for each column that looks like a misspelt one."""
        known = [*KNOWN_COLUMNS, *(CASE_COLUMNS if self.cfg.knows_cases else ()), self.cfg.data_arguments.data_dir_key]
        for name in self.columns:
            plain = name.lower().replace(" ", "_")
            if name not in known and plain in known:
                yield f"column {name!r} of {self.path} is not read; did you mean {plain!r}?"


def _mpp(text: str, problems: list[str]) -> float | None:
    """Return the slide's resolution; a decimal comma is read as well."""
    if text in BLANKS:
        return None
    low, high = MPP_BELIEVED
    try:
        mpp = float(text.replace(",", "."))
    except ValueError:
        mpp = 0.0
    if low <= mpp <= high:
        return mpp
    problems.append(f"mpp must be a number of µm per pixel from {low:g} to {high:g}, got {shown(text)}")
    return None


def _without_repeats(rows: Sequence[ProcessRow]) -> Iterator[ProcessRow]:
    """Yield the rows; a slide's second row fails, as its outputs would replace the first's."""
    seen: dict[str, ProcessRow] = {}
    for row in rows:
        first = seen.setdefault(comparable(row.slide_id), row)
        if first is not row and row.slide_id:
            where = f"the list already (line {first.line})" if first.line else f"{first.source!r} of data_dir as well"
            reason = f"slide_id {row.slide_id!r} is in {where}"
            problem = f"{row.problem}; {reason}" if row.problem else reason
            row = ProcessRow(**{**vars(row), "problem": problem})
        yield row


def _from_folder(cfg: "Config", slides: Mapping[str, SlideIndex]) -> ProcessList:
    """Return a row for every slide below data_dir, by name."""
    data = cfg.data_arguments
    named = isinstance(data.data_dir, dict)
    columns = ["slide_id", data.data_dir_key] if named else ["slide_id"]
    reader = _RowReader(cfg, columns, None)
    rows = []
    for source, folders in cfg.inputs.slides.items():
        index = slides.get(source) or SlideIndex(folders, data.slide_ext, recursive=data.recursive)
        for slide_id, paths in index.slides():
            name = paths[0].name if len(paths) == 1 else slide_id
            row = reader.row(0, {"slide_id": name, **({data.data_dir_key: source} if named else {})})
            if row is not None:
                rows.append(row if len(paths) == 1 else replace(row, problem=index.too_many(slide_id, paths)))
    if not rows:
        places = ", ".join(str(folder) for folders in cfg.inputs.slides.values() for folder in folders)
        raise ProcessListError(
            f"no slide found in {places}; looked for names that end with {', '.join(data.slide_ext)}"
        )
    result = ProcessList(rows, columns)
    assign_cases(result, (), cfg)
    result[:] = _without_repeats(list(result))
    return result
