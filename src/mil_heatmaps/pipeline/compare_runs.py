"""Compare two finished runs slide by slide: two models, checkpoints or heads, on one scale, with their difference."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.files.atomic import remove_abandoned, write_text
from mil_heatmaps.files.csv_tables import csv_text
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.layout import safe_name
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from mil_heatmaps.cohort.slide_job import SlideJob
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.figure_foot import Foot
    from mil_heatmaps.visualization.view import View

logger = logging.getLogger(__name__)

SENTENCE = "faithfulness_sentence"
"""Prefix of the two columns with sentences."""


@dataclass(frozen=True)
class ComparedSlide:
    """The result for one slide.

    Attributes
    ----------
    row : numbers of the table, by column; empty when it failed
    error : why it could not be compared
    """

    slide_id: str
    row: dict[str, Any]
    picture: Path | None = None
    error: str | None = None


def open_run(folder: Path) -> Runner:
    """Return the runner of an experiment, from the config and the list of slides that the run left in its folder.

    Nothing is run. The list is the run's own copy: the original may have changed since.

    Parameters
    ----------
    folder : ``<raw_save_dir>/<save_exp_code>``, or the output folder of generate_heatmaps.py

    Raises
    ------
    ConfigError
        When there is no ``config.yaml`` or ``run.yaml`` in it.
    """
    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner

    run = FinishedRun(folder)
    listed = run.process_list.path.resolve()
    own = {"data_arguments.process_list": str(listed)} if listed.is_file() else {}
    for config in run.configs:
        return Runner(load_config(config.resolve(), own))
    raise ConfigError(
        f"{folder} is not an experiment: it holds neither config.yaml (<raw_save_dir>/<save_exp_code>) nor run.yaml"
    )


def compare_runs(folder_a: Path, folder_b: Path, out: Path) -> Iterator[ComparedSlide]:
    """Yield each slide that either run lists; write ``S_compare.png`` for those in both, and ``comparison.csv``.

    Slides that only one run lists, or that lack scores, are yielded and written with the reason.
    """
    runs = open_run(folder_a), open_run(folder_b)
    names = (folder_a.resolve().name, folder_b.resolve().name)
    wrong = [_problems(run) for run in runs]
    listed = [{**dict.fromkeys(run.cohort.jobs), **dict.fromkeys(bad)} for run, bad in zip(runs, wrong, strict=True)]
    if not any(slide_id in listed[1] for slide_id in listed[0]):
        raise ConfigError(f"{folder_a} and {folder_b} have no slide in common")
    first = runs[0]
    if first.config.heatmap_arguments.center == "cohort_median":
        from mil_heatmaps.stages.cohort_scale import of_cohort

        common = [job for slide_id, job in first.cohort.jobs.items() if slide_id in listed[1]]
        first.settings = of_cohort(first.settings, common)
    done = []
    remove_abandoned(out, recursive=False)
    for slide_id in {**listed[0], **listed[1]}:
        try:
            if reasons := _reasons(slide_id, names, listed, wrong):
                raise ConfigError("; ".join(reasons))
            slide = _compare(*runs, runs[0].cohort.jobs[slide_id], names, out)
        except (HeatmapError, OSError) as error:
            slide = ComparedSlide(slide_id, {}, error=reason_of(error))
        done.append(slide)
        yield slide
    write_text(out / "comparison.csv", _table(done))


def _problems(run: Runner) -> dict[str, str]:
    """Return the slides in a run's list that cannot be processed, with the reason."""
    rows, jobs = run.cohort.rows, run.cohort.jobs
    told = ((rows[index], reason) for index, reason in run.cohort.problems.items())
    return {row.slide_id or row.slide_name: reason for row, reason in told if row.slide_id not in jobs}


def _reasons(
    slide_id: str, names: tuple[str, str], listed: list[dict[str, None]], wrong: list[dict[str, str]]
) -> list[str]:
    """Return why a slide cannot be compared, as far as the lists tell; empty when both have it."""
    reasons = []
    for name, own, bad in zip(names, listed, wrong, strict=True):
        if slide_id not in own:
            reasons.append(f"{name} does not list it")
        elif slide_id in bad:
            reasons.append(f"{name}: {bad[slide_id]}")
    return reasons


def _compare(first: Runner, second: Runner, job: SlideJob, names: tuple[str, str], out: Path) -> ComparedSlide:
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.figure_foot import foot_of
    from mil_heatmaps.stages.score_columns import drawn_columns, view_of
    from mil_heatmaps.visualization.compare import (
        compare_scores,
        in_view,
        match_scores,
        plan_comparison,
        write_comparison,
    )
    from mil_heatmaps.visualization.tissue_slide import TissueSlide

    works, runs_named = [], names
    for runner in (first, second):
        own = runner.cohort.jobs[job.slide_id]
        if not own.paths.blockmap_h5.is_file():
            raise ConfigError(f"{own.paths.blockmap_h5} is not there: the run did not get to this slide")
        works.append(SlideWork(own, runner.settings, SlideRecord.load(own.paths.record, own.slide_id)))
    try:
        a, b = (drawn_columns(work)[0] for work in works)
        if a.kind != b.kind:
            raise ConfigError(f"the runs draw different things: {a.kind} and {b.kind}; compare runs of one score")
        of_a, of_b = (work.score_file.scores.explained for work in works)
        if of_a is not None and of_b is not None and of_a.output != of_b.output:
            raise ConfigError(
                f"the runs explain different things: {of_a.output} and {of_b.output}; give both the same "
                "explanation_arguments.output"
            )
        if a.name != b.name:
            names = (f"{names[0]}: {a.name}", f"{names[1]}: {b.name}")
        seen = [view_of(work, column) for work, column in zip(works, (a, b), strict=True)]
        matched = match_scores(a.grid, a.scores, b.grid, b.scores)
        told_regions = _of_regions(runs_named, seen, matched.grid)
        for view in seen:
            matched = in_view(matched, view)
        comparison = compare_scores(matched)
        heatmap = first.config.heatmap_arguments
        colours = replace(heatmap.colours(a.kind, fine=False), threshold=heatmap.threshold)
        bag, medians = works[0].score_file, first.settings.cohort_medians or {}
        colours = colours.of_column(
            bag.scores, a.name, bag.prediction, center=heatmap.center, cohort_median=medians.get(a.name)
        )
        colours = replace(colours, center_name=colours.center_name.replace("the slide's own", "the first run's"))
        if colours.normalize == "percentile_ref":  # only the two maps are compared: each is ranked by itself
            colours = replace(colours, normalize="percentile")
        slide = TissueSlide(works[0].slide)
        if heatmap.segment and job.paths.mask_pkl.is_file():
            slide.tissue = works[0].mask
        regions = [work.roi for work in works]
        of = next((nth for nth, roi in enumerate(regions) if roi is not None), 0)
        view = replace(
            seen[of], vis_level=-1, downsample=None, mpp=None, blank_canvas=False, segment=heatmap.segment,
            use_holes=heatmap.use_holes, color_profile=heatmap.for_people,
        )  # fmt: skip
        drawings = plan_comparison(matched, slide, view, colours)
        picture = out / f"{safe_name(job.slide_id)}_compare.png"
        scores = works[0].score_file.scores
        column = f" · {a.name}" if len(scores.names) > 1 and a.name == b.name else ""
        feet = [foot_of(work) for work in works]
        pairs = zip(names, feet, strict=True)
        sentences = tuple(f"{name}: {foot.sentence}" for name, foot in pairs if foot is not None)
        made = [_made(name, work) for name, work in zip(runs_named, works, strict=True)]
        region = regions[of]
        write_comparison(
            picture, drawings, comparison, names, [*told_regions, *made],
            score_name=f"{scores.score}{column}", sentences=sentences,
            region_names=() if region is None else region.names,
        )  # fmt: skip
        row = dict(comparison.as_row()) | _told(feet)
    finally:
        for work in works:
            work.close()
    return ComparedSlide(job.slide_id, row, picture)


def _of_regions(names: tuple[str, str], seen: list[View], grid: PatchGrid) -> list[str]:
    """Return a remark if the runs do not draw the same region."""
    corners = [(view.top_left, view.bot_right) for view in seen]
    numbers = range(len(grid))
    chosen = [view.patches(grid) for view in seen]
    one, two = (set(numbers[part] if isinstance(part, slice) else part.tolist()) for part in chosen)
    if corners[0] == corners[1] and one == two:
        return []
    if any(view.top_left is None for view in seen):
        shown, whole = names if seen[1].top_left is None else names[::-1]
        return [f"the region is that of {shown}; {whole} draws the whole slide"]
    return [f"the region shown is that of {names[0]}; {names[1]} has another: patches that lie in both are compared"]


def _told(feet: list[Foot | None]) -> dict[str, str]:
    """Return the faithfulness of both maps, by column of the table."""
    both = zip(("a", "b"), feet, strict=True)
    return {
        f"{key}_{side}": text
        for side, foot in both
        if foot is not None
        for key, text in (("faithfulness", foot.verdict), (SENTENCE, foot.sentence))
    }


def _made(name: str, work: SlideWork) -> str:
    """Return what made the scores of a run, in one line."""
    told = work.score_file
    parts = [
        f"model {told.model}" if told.model else "",
        f"checkpoint {told.checkpoint_sha256[:8]}" if told.checkpoint_sha256 else "",
        f"encoder {told.encoder}" if told.encoder else "",
    ]
    return f"{name}: " + (", ".join(part for part in parts if part) or "scores brought from elsewhere")


def _table(slides: list[ComparedSlide]) -> str:
    columns = list(dict.fromkeys(key for slide in slides for key in slide.row))
    rows = ([slide.slide_id, *(slide.row.get(key, "") for key in columns), slide.error or ""] for slide in slides)
    return csv_text(["slide_id", *columns, "error"], rows)
