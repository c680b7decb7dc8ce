"""The colour scale of a map over all slides of its case, so that a slide without attention looks like one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.digests import sha256_file
from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.patch_scores import SHARE_KINDS
from mil_heatmaps.scores.scale import CohortScale, ScoreSummary, summarize_scores
from mil_heatmaps.stages.case_scores import case_file, has_case_bag
from mil_heatmaps.stages.run_settings import state_of
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    import numpy.typing as npt

    from mil_heatmaps.cohort.slide_job import Case
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.planned_map import DrawnColumn

    ColumnsOf = Callable[[SlideWork, ScoreFile], list[DrawnColumn]]


def wants_case_scale(work: SlideWork) -> bool:
    """Whether the slide's map has the scale of its case."""
    return work.config.heatmap_arguments.scale == "case" and work.job.case is not None


def case_scale_inputs(work: SlideWork) -> Any:
    """Return what scale and figure depend on in the other slides of the case, None if on nothing."""
    case = work.job.case
    if case is not None and has_case_bag(work):
        return work.artifact(case.paths.scores_text, "attention")
    if case is None or not wants_case_scale(work):
        return None
    paths = {job.slide_id: job.paths.blockmap_h5 for job in case.slides}
    states = {slide_id: state_of(path) for slide_id, path in paths.items()}
    known = work.settings.known_of
    return {slide: known(paths[slide], now, partial(sha256_file, paths[slide])) for slide, now in states.items() if now}


def case_scale(work: SlideWork, column: DrawnColumn, columns_of: ColumnsOf) -> CohortScale | None:
    """Return the pool of a column's scores over the case, None where the map has another scale.

    `columns_of` chooses the drawn columns of a score file.
    """
    case = work.job.case
    if case is None or not wants_case_scale(work):
        return None
    parts = _columns(work, case, column, columns_of)
    pool = np.concatenate(parts).astype(np.float64)
    pool = np.sort(pool[np.isfinite(pool)])
    name = f"case {case.case_id} ({counted(len(parts), 'slide')})"
    if not len(pool):
        return CohortScale((ScoreSummary(0, pool, 0.0),), name)
    together = has_case_bag(work)
    shares = column.kind in SHARE_KINDS
    top = max(summarize_scores(part, are_shares=shares).max_share for part in ([pool] if together else parts))
    total = float(pool[-1] + np.log(np.exp(pool - pool[-1]).sum())) if together and not shares else None
    return CohortScale((ScoreSummary(len(pool), pool, top),), name, total)


def _columns(
    work: SlideWork, case: Case, column: DrawnColumn, columns_of: ColumnsOf
) -> list[npt.NDArray[np.float32]]:
    """Return the scores of a column of one bag, one array per slide of the case."""
    from mil_heatmaps.scores.score_schema import read_scores

    name = column.name

    if has_case_bag(work):
        whole = case_file(case.paths.scores_h5)
        assert whole.case is not None
        values = _named(work, columns_of(work, whole), name)
        return [values[whole.case.rows(number)] for number in range(1, len(whole.case.slides) + 1)]
    paths = [job.paths.blockmap_of(column.bag) if column.bag else job.paths.blockmap_h5 for job in case.slides]
    return [_named(work, columns_of(work, read_scores(path)), name) for path in paths if path.is_file()]


def _named(work: SlideWork, columns: list[DrawnColumn], name: str) -> npt.NDArray[np.float32]:
    """Return the column with this name, else the first, as slides that predict other classes draw other columns."""
    if not columns:
        raise HeatmapError(f"{work.job.slide_id}: no scores of its case can be drawn")
    return next((column.scores for column in columns if column.name == name), columns[0].scores)
