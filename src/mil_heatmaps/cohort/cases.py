"""Which slides belong to one case (a patient), and what is wrong with a case as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from mil_heatmaps.choices import CASE_COLUMNS
from mil_heatmaps.cohort.slide_job import Case, SlideJob
from mil_heatmaps.config.tissue_parameters import BLANKS
from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.files.names import comparable, nfc, stem_of
from mil_heatmaps.notices import Notice
from mil_heatmaps.records.layout import ExperimentLayout
from mil_heatmaps.records.rows import UNSPECIFIED, ProcessList, ProcessRow
from mil_heatmaps.words import first_of, near, said_by

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

T = TypeVar("T")

TCGA = r"^TCGA-\w{2}-\w{4}"
"""A patient in the name of a TCGA slide: its first 12 letters."""

COLUMNS_WORDS = "case_id (or patient_id, patient)"


def case_column(columns: Sequence[str]) -> str | None:
    """Return the column that says which case a slide is of, None where there is none."""
    return next((name for name in CASE_COLUMNS if name in columns), None)


def read_cases(path: Path, extensions: Sequence[str]) -> dict[str, str]:
    """Return the case of each slide_id, as `comparable` has it, in a table with slide_id and a case's column.

    Raises
    ------
    ProcessListError
        A column is missing, a row names no slide or no case, or a slide is in two cases.
    """
    columns, records = read_table(path)
    column = case_column(columns)
    if "slide_id" not in columns or column is None:
        wanted = "slide_id" if "slide_id" not in columns else COLUMNS_WORDS
        hint = near(wanted.split()[0], columns)
        guess = f" (rename {hint!r}?)" if hint else ""
        raise ProcessListError(f"{path} has no column {wanted}{guess}; it has: {', '.join(columns)}")
    cases: dict[str, str] = {}
    for line, cells, _ in records:
        case = nfc(cells[column])
        if not cells["slide_id"] or case in BLANKS:
            lacks = "slide_id" if not cells["slide_id"] else column
            raise ProcessListError(f"{path} has a row without {lacks} (line {line})")
        slide = comparable(stem_of(cells["slide_id"], extensions))
        if cases.setdefault(slide, case) != case:
            raise ProcessListError(f"{path} has {slide!r} in two cases, {cases[slide]!r} and {case!r} (line {line})")
    return cases


def cases_told(
    slide_ids: Sequence[str], table: Path | None, pattern: str | None, extensions: Sequence[str]
) -> dict[str, str] | None:
    """Return the case of each slide, empty where it has none: by a table, else by its name; None with neither.

    `pattern` is a regular expression whose first group, or all of it, is the case; ``tcga`` the first 12 letters.

    Raises
    ------
    ProcessListError
        No regular expression, one that no slide's name has, or a table that cannot be used.
    """
    if table is None and pattern is None:
        return None
    listed = {} if table is None else read_cases(table, extensions)
    try:
        search = None if pattern is None else re.compile(TCGA if pattern.lower() == "tcga" else pattern).search
    except re.error as error:
        raise ProcessListError(f"--case_id_from {pattern!r} is not a regular expression: {said_by(error)}") from error
    cases = {}
    for slide_id in slide_ids:
        found = search(slide_id) if search is not None else None
        named = "" if found is None else (found[1] if found.re.groups else found[0]) or ""
        cases[slide_id] = listed.get(comparable(slide_id)) or named
    if not any(cases.values()):
        given = f"--case_id_from {pattern!r}" if table is None else f"--cases {table}"
        raise ProcessListError(f"{given} gives none of the {len(cases)} slides a case; slides look like {slide_ids[0]}")
    return cases


def assign_cases(rows: ProcessList, left_out: Sequence[Mapping[str, str]], cfg: Config) -> None:
    """Give every row its case, in place; nothing where cases do not matter. `left_out` are cells of rows not to do.

    Raises
    ------
    ProcessListError
        Nothing says which slides belong together, or a slide is in two cases.
    """
    if not cfg.knows_cases:
        return
    path, extensions = cfg.inputs.cases, cfg.data_arguments.slide_ext
    column, table = case_column(rows.columns), {} if path is None else read_cases(path, extensions)
    if column is None and path is None:
        key = "data_arguments.bag" if cfg.data_arguments.bag == "case" else "heatmap_arguments.scale"
        raise ProcessListError(
            f"{key} is case, but {cfg.inputs.process_list} has no column {COLUMNS_WORDS}; add one, or give "
            "data_arguments.cases"
        )

    def in_list(cells: Mapping[str, str]) -> str:
        own = nfc(cells.get(column or "", ""))
        return "" if own in BLANKS else own

    slides = [comparable(row.slide_id) for row in rows]
    cases = []
    for row, slide in zip(rows, slides, strict=True):
        own, other = in_list(row.cells), table.get(slide, "") if table else ""
        if own and other and own != other:
            raise ProcessListError(
                f"{row.slide_id} is in two cases: {own!r} in column {column} (line {row.line}), {other!r} in {path}"
            )
        cases.append(own or other)
    _check_repeats(rows, slides, cases)
    named = frozenset(cases) - {""} if "" in cases else frozenset()
    for row, case in zip(rows, cases, strict=True):
        if case:
            row.put_in_case(case)
            continue
        alone = f"{row.slide_id} alone" if row.slide_id in named else row.slide_id
        notice = Notice("no_case", "the list names no case for the slide: it is a case of its own")
        row.put_in_case(alone, notice)
    listed = set(slides)
    for cells in left_out:
        slide_id = stem_of(cells.get("slide_id", ""), extensions)
        listed.add(slide := comparable(slide_id))
        if case := in_list(cells) or table.get(slide, ""):
            rows.left_out.setdefault(case, []).append(slide_id)
    for slide_id, case in table.items():
        if slide_id not in listed:
            rows.absent.setdefault(case, []).append(slide_id)


def _check_repeats(rows: ProcessList, slides: Sequence[str], cases: Sequence[str]) -> None:
    """Raise a ProcessListError if rows of one slide (its `comparable` name is in `slides`) have different cases."""
    if len(set(slides)) == len(slides):  # nearly always
        return
    seen: dict[str, tuple[str, int]] = {}
    for row, slide, case in zip(rows, slides, cases, strict=True):
        first = seen.setdefault(slide, (case, row.line))
        if first[0] != case and row.slide_id:
            raise ProcessListError(
                f"{row.slide_id} is in two cases, {first[0]!r} (line {first[1]}) and {case!r} (line {row.line})"
            )


class Found(Protocol):
    """What was found for the rows of a list; `jobs.Cohort` is."""

    rows: ProcessList
    jobs: dict[str, SlideJob]
    problems: dict[int, str]
    layout: ExperimentLayout


def put_together(cohort: Found, cfg: Config) -> None:
    """Give every job its case; a case that cannot be scored takes all its slides out, each with the reason."""
    if not cfg.knows_cases:
        return
    together: dict[str, list[int]] = {}
    for index, row in enumerate(cohort.rows):
        together.setdefault(row.case_id, []).append(index)
    rows, found, problems, one_bag = cohort.rows, cohort.jobs, cohort.problems, cfg.data_arguments.bag == "case"
    for case_id, members in together.items():
        bad = {rows[index].slide_id: problems[index] for index in members if index in problems} if problems else {}
        good = [index for index in members if index not in problems] if bad else members
        if rows.absent and (absent := rows.absent.get(case_id)):
            bad |= dict.fromkeys(absent, f"it is in {cfg.inputs.cases}, but not among the slides to do")
        # A slide alone agrees with itself; long lists have many.
        problem = _problem(case_id, cohort, good, bad, cfg) if one_bag and (bad or len(good) > 1) else None
        if problem is not None:
            for index in good:
                problems[index] = problem
                found.pop(rows[index].slide_id, None)
            continue
        lacking = (
            *(f"{slide} ({reason})" for slide, reason in bad.items()),
            *(f"{slide} (process is 0)" for slide in rows.left_out.get(case_id, ())),
        ) if bad or rows.left_out else ()  # fmt: skip
        jobs = tuple([found[rows[index].slide_id] for index in good])
        case = Case(case_id, jobs, cohort.layout.case(case_id), lacking)
        for job in jobs:
            job.put_in_case(case)


def _problem(case_id: str, cohort: Found, good: list[int], bad: Mapping[str, str], cfg: Config) -> str | None:
    """Return why a case cannot be scored as one bag."""
    rows = [cohort.rows[index] for index in good]
    labels: dict[str, ProcessRow] = {}
    for row in rows if len(rows) > 1 else ():
        label = row.label if row.group == UNSPECIFIED else row.group
        if label != UNSPECIFIED:
            labels.setdefault(label, row)
    if len(labels) > 1:
        told = " and ".join(f"{label} ({_where(row)})" for label, row in list(labels.items())[:2])
        return f"case {case_id} has two labels: {told}; all slides of a case have one"
    if cfg.heatmap_arguments.use_roi and cfg.data_arguments.roi_dir is not None:
        jobs: list[SlideJob] = [cohort.jobs[row.slide_id] for row in rows]
        without = [job.slide_id for job in jobs if job.roi_path is None and job.row.roi is None]
        if without and len(without) < len(jobs):
            return (
                f"case {case_id} has regions of interest, but none on {first_of(without, 3)}: give one for every slide "
                "of the case, or set use_roi: false"
            )
    jobs = [cohort.jobs[row.slide_id] for row in rows]
    if cfg.data_arguments.extra and jobs and (problem := _of_extra(case_id, jobs)):
        return problem
    if bad and cfg.run_arguments.partial_cases == "fail":
        slide, reason = next(iter(bad.items()))
        return f"case {case_id} lacks {slide}: {reason} (run_arguments.partial_cases: use does without it)"
    return None


def _of_extra(case_id: str, jobs: Sequence[SlideJob]) -> str | None:
    """Return what is wrong where numbers beside the patches, of which a case has one set, differ between its slides."""
    for name, first in jobs[0].extra.items():
        for job in jobs[1:]:
            if job.extra.get(name) != first:
                return (
                    f"case {case_id} has two sets of {name}: {_short(first)} of {jobs[0].slide_id}, "
                    f"{_short(job.extra.get(name, ()))} of {job.slide_id}; all slides of a case have one"
                )
    return None


def _short(numbers: Sequence[float]) -> str:
    return f"{', '.join(f'{number:g}' for number in numbers[:4])}{', ...' if len(numbers) > 4 else ''}"


def _where(row: ProcessRow) -> str:
    return f"{row.slide_id}, line {row.line}" if row.line else row.slide_id


def split_case(jobs: Sequence[SlideJob], named: Sequence[str]) -> str | None:
    """Return what is wrong if some slides of a case are among `named` and others are not."""
    chosen = set(named)
    for job in jobs:
        if job.case is not None and job.slide_id in chosen:
            others = [other.slide_id for other in job.case.slides if other.slide_id not in chosen]
            if others:
                return (
                    f"--slides names {job.slide_id} of case {job.case.case_id}, but not {first_of(others, 5)}: a case "
                    "is one bag, so name all its slides"
                )
    return None


def whole_cases(jobs: Sequence[SlideJob], limit: int) -> list[SlideJob]:
    """Return at most `limit` jobs from the front without cutting a case in two; the first case always."""
    kept: set[str] = set()
    taken: set[str] = set()
    for job in jobs:
        if job.case is None or job.case.case_id in taken:
            continue
        if taken and len(kept) + len(job.case.slides) > limit:
            break
        taken.add(job.case.case_id)
        kept |= {other.slide_id for other in job.case.slides}
    return [job for job in jobs if job.slide_id in kept]


def by_case(slides: Sequence[T], cases: Sequence[str]) -> list[T]:
    """Return slides with those of a case one after the other, cases by their first slide.

    `cases` names the case of each slide; empty: the slide is alone.
    """
    first: dict[str, int] = {}
    places = [first.setdefault(case, number) if case else number for number, case in enumerate(cases)]
    return [slides[number] for number in sorted(range(len(slides)), key=places.__getitem__)]
