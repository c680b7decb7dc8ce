"""Draw: the coarse map, the finished map of every chosen column, the slide without colours, the figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.records.layout import HeatmapName
from mil_heatmaps.records.rows import UNSPECIFIED
from mil_heatmaps.records.slide_record import relative
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.score_columns import plan_coarse, planned_maps

if TYPE_CHECKING:
    from mil_heatmaps.stages.planned_map import DrawnColumn, PlannedMap
    from mil_heatmaps.visualization.drawing import Drawing


def _shown_label(work: SlideWork) -> str | None:
    """Return the slide's class or group; of a regression or survival model its own value, where it has no group."""
    row = work.job.row
    label = row.group
    if label == UNSPECIFIED and work.config.model_arguments.task != "classification":
        label = row.label
    return None if label == UNSPECIFIED else label


_NOT_DRAWN = ("calc_heatmap", "use_center_shift")


class HeatmapStage:
    """Writes ``S_blockmap.png``, ``S_<parameters>.<ext>``, ``S_orig_<level>.<ext>`` and ``S_figure.png``."""

    name = "heatmap"
    version = 4
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """Always."""
        return True

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The score file's content, the tissue, the slide, and everything that changes a pixel."""
        job, config = work.job, work.config
        inputs: dict[str, Any] = {
            "version": self.version,
            "slide": work.slide_inputs(),
            "scores_sha256": work.artifact(job.paths.blockmap_h5, "attention"),
            "drawing": work.settings.section("heatmap_arguments", exclude=_NOT_DRAWN),
            "row": {"label": job.row.label, "orig_level": job.row.visualization.vis_level},
            "roi": work.roi_inputs(),
            "to": relative(job.paths.production, job.paths.raw),
        }
        if config.model_arguments.task != "classification":
            inputs["task"] = config.model_arguments.task
        if work.wants_fine_map:
            inputs["fine_sha256"] = work.artifact(work.fine_scores_path, "fine")
        if config.heatmap_arguments.segment:
            inputs["mask_sha256"] = work.artifact(job.paths.mask_pkl, "segment")
        if work.settings.cohort_scale is not None:
            inputs["cohort_scale"] = work.settings.cohort_scale_digest
        return inputs

    def run(self, work: SlideWork) -> StageResult:
        """Draw everything; a picture is written whole or not at all."""
        result = StageResult([])
        maps, coarse = planned_maps(work), plan_coarse(work)
        blockmap = [work.job.paths.blockmap_png]
        for number, planned in enumerate(maps):
            drawing = planned.drawing
            result.notes += drawing.notes
            if number == 0 and (_is_shrunk(work) or not drawing.same_pixels(coarse)):
                self._save(work, blockmap, coarse, result, shrink=False)
                blockmap = []
            # At the usual levels both maps are one picture, which is painted once.
            self._save(work, [*(blockmap if number == 0 else ()), self._path(work, planned.column)], drawing, result)
            if work.config.heatmap_arguments.figure:
                self._write_figure(work, planned, result)
        if work.config.heatmap_arguments.save_orig:
            self._save_original(work, maps[0].drawing, result)
        result.notes = list(dict.fromkeys(result.notes))
        return result

    @staticmethod
    def _path(work: SlideWork, column: DrawnColumn) -> Path:
        h = work.config.heatmap_arguments
        asked, own = work.config.patching_arguments.overlap, round(column.grid.overlap, 4)
        name = HeatmapName(
            overlap=float(asked) if work.wants_fine_map else own,
            use_roi=h.use_roi,
            blur=h.blur,
            use_ref_scores=h.use_ref_scores,
            blank_canvas=h.blank_canvas,
            alpha=h.alpha,
            vis_level=h.vis_level,
            binarize=h.binarize,
            binary_thresh=h.binary_thresh,
        )
        return work.job.paths.heatmap(name, column.suffix, h.save_ext)

    @staticmethod
    def _save(
        work: SlideWork, paths: list[Path], drawing: Drawing, result: StageResult, *, shrink: bool = True
    ) -> None:
        """Write a drawing to each path, streamed; shrunk as a whole only where CLAM's own keys ask for that."""
        from mil_heatmaps.visualization.overlay import draw, draw_to_files
        from mil_heatmaps.visualization.picture_files import save_picture

        h = work.config.heatmap_arguments
        if shrink and _is_shrunk(work):
            from PIL import Image

            from mil_heatmaps.visualization.resize_picture import shrink as shrunk

            picture = shrunk(Image.fromarray(draw(drawing)), h.custom_downsample, h.max_size)
            for path in paths:
                save_picture(path, picture)
        else:
            draw_to_files(paths, drawing)
        result.paths += paths

    @staticmethod
    def _write_figure(work: SlideWork, planned: PlannedMap, result: StageResult) -> None:
        """Write ``S_figure.png``: slide and map side by side, with what the colours mean."""
        from mil_heatmaps.visualization.figure import FigureText, write_figure

        h, score_file, column = work.config.heatmap_arguments, work.score_file, planned.column
        text = FigureText(
            score_name=score_file.scores.score,
            class_name=column.name if len(score_file.scores.names) > 1 else None,
            slide_id=work.job.slide_id,
            label=_shown_label(work),
            model=score_file.model,
            prediction=score_file.prediction,
            method=_method(work, column),
        )
        path = work.job.paths.figure(column.suffix)
        write_figure(path, planned.drawing, planned.drawn_scores, text, legend=h.legend)
        result.paths.append(path)

    def _save_original(self, work: SlideWork, drawing: Drawing, result: StageResult) -> None:
        """Write the whole slide without colours; CLAM names it after the level and never after -1."""
        from mil_heatmaps.visualization.frame import choose_frame

        h = work.config.heatmap_arguments
        wanted = h.vis_level if h.vis_level >= 0 else work.job.row.visualization.vis_level
        frame = choose_frame(work.slide, wanted)
        slide_alone = replace(
            drawing, frame=frame, alpha=0.0, blank_canvas=False, tissue=None, blur_px=None, smooth="none"
        )
        level = wanted if 0 <= wanted < work.slide.level_count else frame.level
        self._save(work, [work.job.paths.original(level, h.save_ext)], slide_alone, result)


def _method(work: SlideWork, column: DrawnColumn) -> str | None:
    """Return how a fine map was made, None for a map of the bag."""
    if not work.wants_fine_map:
        return None
    asked, how = float(work.config.patching_arguments.overlap), work.fine_file.scored_as
    other = f" ({asked:.0%} was asked)" if abs(column.grid.overlap - asked) > 0.01 else ""
    return f"fine map: patches overlap by {column.grid.overlap:.0%}{other}" + (f", {how}" if how else "")


def _is_shrunk(work: SlideWork) -> bool:
    """Whether the finished map is made smaller after it was drawn, by CLAM's own keys."""
    h = work.config.heatmap_arguments
    return h.custom_downsample > 1 or h.max_size is not None
