"""Draw several slides of a finished run, or several scores of one slide, on one sheet with one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.pipeline.compare_runs import open_run
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.words import PROGRAM, did_you_mean, first_of, reason_of

if TYPE_CHECKING:
    from mil_heatmaps.config.drawing_sections import HeatmapArguments
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.scores.scale import CohortScale
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.planned_map import DrawnColumn
    from mil_heatmaps.visualization.colour_rule import ColourRule
    from mil_heatmaps.visualization.sheet import SheetMap

MOST_MAPS = 24
_RANKS = ("percentile", "percentile_ref")


@dataclass(frozen=True)
class Sheet:
    """The result of a sheet: how many maps it shows, and the slides that are not on it with the reason."""

    shown: int
    left_out: dict[str, str]


def make_sheet(
    folder: Path, out: Path, *, slides: Sequence[str] = (), scores: Sequence[str] = (), width_mm: float | None = None
) -> Sheet:
    """Write a sheet of a run; see `write_sheet`.

    Parameters
    ----------
    slides : names
        Slides in this order; by default, all that have scores.
    scores : names
        Several scores, each with its own map of each slide. Scores of different kinds are ranked, as no other scale
        holds both.
    width_mm : float, optional
        Width of the sheet.

    Raises
    ------
    ConfigError
        A slide or score that is not there, nothing to draw, or more maps than a sheet holds.
    """
    from mil_heatmaps.visualization.figure_style import PRINT_DPI, SCREEN_DPI, FigureStyle
    from mil_heatmaps.visualization.sheet import write_sheet

    runner = open_run(folder)
    left_out: dict[str, str] = {}
    works = _works(runner, slides, left_out)
    try:
        found: list[tuple[SlideWork, str, DrawnColumn]] = []
        for slide_id, work in works.items():
            try:
                found += [(work, title, column) for title, column in _columns(work, scores)]
            except (HeatmapError, OSError) as error:
                left_out[slide_id] = reason_of(error)
        if not found:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise ConfigError(f"{folder}: no slide can be drawn on a sheet" + (f" ({reasons})" if reasons else ""))
        if len(found) > MOST_MAPS:
            raise ConfigError(f"a sheet holds {MOST_MAPS} maps, {len(found)} were asked for: name fewer with --slides")
        rule = _rule(runner.config.heatmap_arguments, [column for _, _, column in found])
        maps = [_map(work, title, column, rule, alone=len(works) == 1) for work, title, column in found]
        style = FigureStyle(dpi=SCREEN_DPI if width_mm is None else PRINT_DPI, width_mm=width_mm)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_sheet(out, maps, _title(found, scores), foot=_foot(runner, found[0][0], len(works)), style=style)
    finally:
        for work in works.values():
            work.close()
    return Sheet(len(maps), left_out)


def _works(runner: Runner, slides: Sequence[str], left_out: dict[str, str]) -> dict[str, SlideWork]:
    """Return the slides that have scores, opened; why others have none goes into `left_out`."""
    from mil_heatmaps.stages.base import SlideWork

    jobs = runner.cohort.jobs
    if unknown := [name for name in slides if name not in jobs]:
        meant = did_you_mean(unknown[0], jobs)
        raise ConfigError(f"no slide {unknown[0]!r} in the run: {meant}it has {first_of(list(jobs), 5)}")
    works = {}
    for name in slides or jobs:
        job = jobs[name]
        if job.paths.blockmap_h5.is_file():
            works[name] = SlideWork(job, runner.settings, SlideRecord.load(job.paths.record, job.slide_id))
        else:
            left_out[name] = "the run did not get to this slide"
    return works


def _columns(work: SlideWork, scores: Sequence[str]) -> list[tuple[str, DrawnColumn]]:
    """Return the columns of a slide with their titles: those of the named scores, or the drawn column."""
    from mil_heatmaps.scores.score_words import score_words
    from mil_heatmaps.stages.score_columns import columns_of, drawn_columns

    if not scores:
        return [("", drawn_columns(work)[0])]
    told = work.score_file.all_scores
    out = []
    for name in scores:
        if name not in told:
            meant = did_you_mean(name, told)
            raise ConfigError(f"no score {name!r}: {meant}the slide's file has {', '.join(told)}")
        none = told[name].values[:0, 0]  # the column that CLAM's tools see is found again
        column = columns_of(work, replace(work.score_file, scores=told[name], extra=(), attention=none))[0]
        several, classes = len(told[name].names) > 1, column.name in (work.config.class_names or ())
        out.append((score_words(name, column.kind, column.name if several else None, of_class=classes), column))
    return out


def _rule(heatmap: HeatmapArguments, columns: Sequence[DrawnColumn]) -> ColourRule:
    """Return one rule for all: the run's own, on the scale of all maps; ranks where the kinds differ."""
    from mil_heatmaps.scores.patch_scores import SHARE_KINDS
    from mil_heatmaps.scores.scale import CohortScale, summarize_scores
    from mil_heatmaps.visualization.colour_rule import ColourRule

    kinds = {column.kind for column in columns}
    if len(kinds) > 1:
        return ColourRule("percentile", cmap=heatmap.colours("external", fine=False).cmap, alpha=heatmap.alpha)
    rule = heatmap.colours(columns[0].kind, fine=False)
    if rule.normalize in _RANKS:
        return replace(rule, normalize="percentile")
    shares = columns[0].kind in SHARE_KINDS
    pooled: CohortScale = CohortScale(
        [summarize_scores(column.scores, are_shares=shares) for column in columns], "all maps shown"
    )
    return replace(rule, scale=pooled)


def _map(work: SlideWork, title: str, column: DrawnColumn, rule: ColourRule, *, alone: bool) -> SheetMap:
    from mil_heatmaps.visualization.figure_parts import short
    from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
    from mil_heatmaps.visualization.sheet import SheetMap
    from mil_heatmaps.visualization.tissue_slide import TissueSlide
    from mil_heatmaps.visualization.view import View

    heatmap, slide = work.config.heatmap_arguments, TissueSlide(work.slide)
    if heatmap.segment and work.job.paths.mask_pkl.is_file():
        slide.tissue = work.mask
    view = View(
        segment=heatmap.segment, use_holes=heatmap.use_holes, blank_canvas=heatmap.blank_canvas,
        color_profile=heatmap.for_people,
    )  # fmt: skip
    names = [] if alone and title else [short(work.job.slide_id, 120)]
    drawing = plan_heatmap(column.scores, column.grid, slide, view, rule)
    return SheetMap(drawing, ": ".join([*names, *([title] if title else [])]))


def _title(found: Sequence[tuple[SlideWork, str, DrawnColumn]], scores: Sequence[str]) -> str:
    """Return the label of the colour bar: the score, where all maps show the same one."""
    from mil_heatmaps.scores.score_words import score_words

    if len(scores) > 1:
        return "score"
    work, _, column = found[0]
    told = work.score_file.all_scores[scores[0]] if scores else work.score_file.scores
    columns = {column.name for _, _, column in found}
    named = column.name if len(told.names) > 1 and len(columns) == 1 else None
    return score_words(told.score, column.kind, named, of_class=named in (work.config.class_names or ()))


def _foot(runner: Runner, work: SlideWork, slides: int) -> list[str]:

    told = work.score_file
    made = [
        f"slide {work.job.slide_id}" if slides == 1 else "",
        f"model {told.model}" if told.model else "",
        f"checkpoint {told.checkpoint_sha256[:8]}" if told.checkpoint_sha256 else "",
        f"encoder {told.encoder}" if told.encoder else "",
        f"run {name}" if (name := runner.config.run_name) else "",
        PROGRAM,
    ]
    return ["  ·  ".join(part for part in made if part)]
