"""Which columns of a score file are drawn, and how each becomes a picture: one place for map, figure and exports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mil_heatmaps.records.layout import safe_name
from mil_heatmaps.stages.bags import bag_files
from mil_heatmaps.stages.case_scale import case_scale
from mil_heatmaps.stages.planned_map import DrawnColumn, PlannedMap

if TYPE_CHECKING:
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.slides.roi import Roi
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.visualization.colour_rule import ColourRule
    from mil_heatmaps.visualization.drawing import Drawing
    from mil_heatmaps.visualization.view import View


def columns_of(work: SlideWork, score_file: ScoreFile) -> list[DrawnColumn]:
    """Return the columns of the slide's scores that `heatmap_arguments.classes` and `head` choose."""
    from mil_heatmaps.scores.patch_scores import kind_of_column
    from mil_heatmaps.scores.select import select_columns

    heatmap, group = work.config.heatmap_arguments, work.job.row.group
    label = group if group in (work.config.class_names or ()) else None
    chosen = select_columns(
        score_file.scores, score_file.prediction, label=label, classes=heatmap.classes, head=heatmap.head
    )
    usual = heatmap.classes == "predicted" and heatmap.head == "mean" and len(chosen) == 1
    prefix = f"_s_{safe_name(heatmap.score)}" if heatmap.score else ""
    kind, bags = score_file.scores.kind, work.config.bags
    of = f"of {bags[0]}" if len(bags) > 1 else ""
    drawn = []
    for name, scores in chosen:
        suffix = prefix + ("" if usual else f"_c_{safe_name(name)}")
        drawn.append(DrawnColumn(name, suffix, scores, score_file.grid, kind_of_column(kind, name), of=of))
    return drawn


def coarse_columns(work: SlideWork) -> list[DrawnColumn]:
    """Return the chosen columns of the bag; samples and the coarse map use the first."""
    return columns_of(work, work.score_file)


def drawn_columns(work: SlideWork) -> list[DrawnColumn]:
    """Return the columns of the finished map: of the fine map where there is one, else of the bag."""
    coarse = coarse_columns(work)
    if not work.wants_fine_map:
        return coarse
    fine, reaching = columns_of(work, work.fine_file), work.config.patch_grid == "features"
    return [
        replace(column, reference=bag.scores, reaching=reaching) for column, bag in zip(fine, coarse, strict=True)
    ]


def drawn_file(work: SlideWork) -> ScoreFile:
    """Return the scores the finished map shows: of the fine map where there is one, else of the bag."""
    return work.fine_file if work.wants_fine_map else work.score_file


def planned_maps(work: SlideWork) -> list[PlannedMap]:
    """Return the finished map of every drawn column; planned once, and kept until its scores or tissue change."""
    if work.maps is None:
        work.maps = [PlannedMap(column, _plan_finished(work, column)) for column in drawn_columns(work)]
    return work.maps


def bag_columns(work: SlideWork) -> list[DrawnColumn]:
    """Return the drawn columns of all bags but the first, and of the sum, for a model that takes several."""
    from mil_heatmaps.scores.score_schema import read_scores

    columns = []
    for name, path in bag_files(work).items():
        file, suffix = read_scores(path), f"_{safe_name(name)}"
        of = file.scored_as or f"of {name}"
        columns += [replace(c, suffix=c.suffix + suffix, of=of, bag=name) for c in columns_of(work, file)]
    return columns


def planned_bag_maps(work: SlideWork) -> list[PlannedMap]:
    """Return the maps of `bag_columns`."""
    return [PlannedMap(column, _plan_finished(work, column)) for column in bag_columns(work)]


def plan_coarse(work: SlideWork) -> Drawing:
    """Return the drawing of CLAM's blockmap: the whole slide at about 1/32."""
    from mil_heatmaps.visualization.view import View

    heatmap, column = work.config.heatmap_arguments, coarse_columns(work)[0]
    view = View(segment=heatmap.segment, use_holes=heatmap.use_holes, color_profile=heatmap.as_clam)
    return _plan(work, column, view, _ranged(work, column))


def _plan_finished(work: SlideWork, column: DrawnColumn) -> Drawing:
    from mil_heatmaps.visualization.frame import shrunk_frame

    if work.roi is not None:
        _check_region(work.roi, column, compat=work.config.heatmap_arguments.compat)
    drawing = _plan(work, column, view_of(work, column), colours_of(work, column))
    heatmap = work.config.heatmap_arguments
    if heatmap.max_size is None or heatmap.custom_downsample > 1 or heatmap.compat == "clam":
        return drawing
    return replace(drawing, frame=shrunk_frame(drawing.frame, heatmap.max_size))


def _plan(work: SlideWork, column: DrawnColumn, view: View, colours: ColourRule) -> Drawing:
    from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
    from mil_heatmaps.visualization.tissue_slide import TissueSlide

    slide = TissueSlide(work.slide)
    if view.segment:
        slide.tissue = work.mask
    return plan_heatmap(column.scores, column.grid, slide, view, colours)


def view_of(work: SlideWork, column: DrawnColumn) -> View:
    """Return which part of the slide the finished map shows, at what scale."""
    from mil_heatmaps.visualization.view import View

    heatmap, roi = work.config.heatmap_arguments, work.roi
    return View(
        vis_level=heatmap.vis_level,
        downsample=heatmap.downsample,
        mpp=heatmap.mpp,
        top_left=None if roi is None else roi.top_left_l0,
        bot_right=None if roi is None else roi.bot_right_l0,
        reaching=column.reaching or heatmap.compat != "clam",
        outlines=None if roi is None else roi.polygons,
        blank_canvas=heatmap.blank_canvas,
        segment=heatmap.segment,
        use_holes=heatmap.use_holes,
        color_profile=heatmap.as_clam,
    )


def _check_region(roi: Roi, column: DrawnColumn, compat: str) -> None:
    """Raise a SlideError for a region without any patch, which would be a picture without colours."""
    from mil_heatmaps.slides.roi import patches_in_roi

    reaching = column.reaching or compat != "clam"
    patches_in_roi(column.grid, roi, rule="reach" if reaching and roi.polygons is None else None)


def colours_of(work: SlideWork, column: DrawnColumn) -> ColourRule:
    """Return how the scores of the finished map become colours."""
    heatmap = work.config.heatmap_arguments
    return replace(
        _ranged(work, column),
        binarize=heatmap.binarize,
        # CLAM's -1 means 1/N of softmax weights, which makes everything positive on percentiles; here it means 0.5.
        thresh=0.5 if heatmap.binary_thresh < 0 else float(heatmap.binary_thresh),
        threshold=heatmap.threshold,
        smooth=heatmap.smooth,
        blur=heatmap.blur,
        compat=None if heatmap.compat == "none" else heatmap.compat,
    )


def _ranged(work: SlideWork, column: DrawnColumn) -> ColourRule:
    """Return how the scores of any map become colours, with the reference or the cohort's scale that sets the range."""
    heatmap, bag = work.config.heatmap_arguments, work.score_file
    of_cohort = work.settings.cohort_bag_scales.get(column.bag) if column.bag else work.settings.cohort_scale
    scale = case_scale(work, column, columns_of) or of_cohort
    medians = work.settings.cohort_medians or {}
    colours = heatmap.colours(column.kind, fine=column.reference is not None)
    colours = colours.of_column(
        bag.scores, column.name, bag.prediction, center=heatmap.center, cohort_median=medians.get(column.name)
    )
    if colours.normalize != "percentile_ref":
        return replace(colours, scale=scale)
    if column.reference is None or scale is not None:  # rank the bag by itself, or all slides together
        return replace(colours, normalize="percentile", scale=scale)
    return replace(colours, reference=column.reference)


def map_title(work: SlideWork, column: DrawnColumn) -> str:
    """Return the title of a map: its score, and the class or head where there are several."""
    from mil_heatmaps.scores.score_words import score_words

    told = work.score_file
    of_class = told.prediction is not None and column.name in told.prediction.classes
    several = len(told.scores.names) > 1 or told.scores.explained is not None
    return score_words(told.scores.score, column.kind, column.name if several else None, of_class=of_class)
