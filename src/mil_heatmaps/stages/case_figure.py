"""What the figure of a slide says and shows of its case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mil_heatmaps.stages.case_scale import wants_case_scale
from mil_heatmaps.stages.case_scores import case_file, has_case_bag
from mil_heatmaps.stages.score_columns import colours_of, columns_of
from mil_heatmaps.words import share_in_words

if TYPE_CHECKING:
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.planned_map import DrawnColumn
    from mil_heatmaps.visualization.figure_words import SmallMap


def case_words(work: SlideWork) -> str | None:
    """Return the slide's place in its case and its share of the attention; None where the bag is the slide."""
    case = work.score_file.case
    return None if case is None else case.words


def case_foot(work: SlideWork) -> tuple[str, ...]:
    """Return lines on what was predicted and how the prediction changes without each slide."""
    case = work.score_file.case
    if case is None:
        return ()
    told = [f"the model was asked about the case: {len(case.slides)} slides, one prediction"] if case.slides[1:] else []
    return (*told, *(["; ".join(case.without_words)] if case.without_words else []))


def small_maps(work: SlideWork, column: DrawnColumn) -> tuple[SmallMap, ...]:
    """Return small maps of the case's other slides, in the colours of this slide's map."""
    from mil_heatmaps.visualization.case_piece import small_map

    case = work.job.case
    if case is None or not has_case_bag(work) or len(case.slides) < 2:
        return ()
    import numpy as np

    whole = case_file(case.paths.scores_h5)
    assert whole.case is not None
    assert work.score_file.case is not None
    found = {each.name: each.scores for each in columns_of(work, whole)}
    if column.name not in found:
        return ()
    rule, maps = colours_of(work, column), []
    for number, slide in enumerate(whole.case.slides, 1):
        if number == work.score_file.case.number:
            continue
        rows = whole.case.rows(number)
        share = "" if slide.share is None else f", {share_in_words(slide.share)}"
        grid = whole.grid.take(np.arange(rows.start, rows.stop))
        maps.append(small_map(found[column.name][rows], grid, rule, f"{number}: {slide.slide_id}{share}"))
    return tuple(maps)


def small_title(work: SlideWork) -> str:
    """Return the title of the small maps."""
    return "other slides of the case" + (", same colours" if wants_case_scale(work) else ", each on its own scale")
