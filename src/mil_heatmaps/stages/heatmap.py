"""Draw the coarse map, the finished map of every chosen column, the slide image and the figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.notices import UNCLASSIFIED, Notice, distinct
from mil_heatmaps.records.layout import HeatmapName
from mil_heatmaps.records.slide_record import relative
from mil_heatmaps.stages.bags import bag_files
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.case_scale import case_scale_inputs
from mil_heatmaps.stages.figure import group_words, write_slide_figure
from mil_heatmaps.stages.figure_foot import foot_inputs, kept_outputs
from mil_heatmaps.stages.picture_format import holding, write_maps
from mil_heatmaps.stages.score_columns import plan_coarse, planned_bag_maps, planned_maps
from mil_heatmaps.stages.second_slide import second_slide_inputs, second_slide_notices

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.slides.reader import Slide
    from mil_heatmaps.stages.planned_map import DrawnColumn
    from mil_heatmaps.visualization.drawing import Drawing, Painter
    from mil_heatmaps.visualization.frame import Frame


_NOT_DRAWN = ("calc_heatmap", "use_center_shift", "evidence")


def _not_drawn(config: Config) -> tuple[str, ...]:
    """Return the keys that change no pixel, and `center` at its default, which earlier records lack."""
    return (*_NOT_DRAWN, *(("center",) if config.heatmap_arguments.center == "auto" else ()))



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
            "scores_sha256": work.scores_sha256,
            "drawing": work.settings.section("heatmap_arguments", exclude=_not_drawn(config)),
            "row": {"label": job.row.label, "orig_level": job.row.visualization.vis_level},
            "roi": work.roi_inputs(),
            "to": relative(job.paths.production, job.paths.raw),
        }
        if config.heatmap_arguments.use_roi and work.roi is not None and work.roi.polygons is not None:
            inputs["patches_of_outlines"] = "whole"  # earlier versions cut patches at the outlines' box
        if config.model_arguments.task != "classification":
            inputs["task"] = config.model_arguments.task
        if files := bag_files(work):
            inputs["bags_sha256"] = {name: work.artifact(path, "attention") for name, path in files.items()}
        if work.wants_fine_map:
            inputs["fine_sha256"] = work.artifact(work.fine_scores_path, "fine")
        if config.heatmap_arguments.segment:
            inputs["mask_sha256"] = work.mask_sha256
        if work.settings.cohort_scale is not None:
            inputs["cohort_scale"] = work.settings.cohort_scale_digest
        if (scale := case_scale_inputs(work)) is not None:
            inputs["case_scale"] = scale
        if work.settings.cohort_medians is not None:
            inputs["cohort_medians"] = dict(work.settings.cohort_medians)
        # Figure and exports show notices. Notices of earlier versions have no code and do not count here.
        if notices := [n.plain() for n in work.record.notices(before="faithfulness") if n.code != UNCLASSIFIED]:
            inputs["notices"] = notices
        if work.job.qc_path is not None and config.heatmap_arguments.figure:
            inputs["artefacts"] = {k: v for k, v in work.record.summary.get("measures", {}).items() if k[:3] == "qc_"}
        inputs |= second_slide_inputs(work)
        if config.heatmap_arguments.figure and (foot := foot_inputs(work)):
            inputs["figure_foot"] = foot
        return inputs

    def run(self, work: SlideWork) -> StageResult:
        """Draw everything; a picture is written whole or not at all."""
        from mil_heatmaps.visualization.drawing import Painter

        if (kept := kept_outputs(work, self.name, self.inputs(work), "figure_foot", _is_figure)) is not None:
            return self._write_figures_again(work, kept)
        result, uncoloured = StageResult([], [] if work.roi is None else list(work.roi.notes)), 0
        result.notes += second_slide_notices(work)
        maps, coarse = planned_maps(work), plan_coarse(work)
        blockmap = [work.job.paths.blockmap_png]
        for number, planned in enumerate(maps):
            drawing = planned.drawing
            result.notes += drawing.notes
            painter = Painter(drawing, watch=True)
            if number == 0 and (_is_shrunk(work) or not drawing.same_pixels(coarse)):
                self._save(work, blockmap, coarse, result, shrink=False)
                blockmap = []
            # At the usual levels both maps are the same picture, which is painted once.
            own, said = holding(self._path(work, planned.column), _final_size(work, drawing))
            result.notes += said
            paths = [*(blockmap if number == 0 else ()), own]
            self._save(work, paths, drawing, result, painter=painter)
            unseen = painter.uncoloured()
            uncoloured = max(uncoloured, unseen.total)
            result.notes += [notice] if (notice := unseen.notice()) is not None else []
            if work.config.heatmap_arguments.figure:
                result.paths.append(write_slide_figure(work, planned, result.notes))
        for planned in planned_bag_maps(work):
            of_bag, painter = StageResult([], [*planned.drawing.notes]), Painter(planned.drawing, watch=True)
            path, said = holding(self._path(work, planned.column), _final_size(work, planned.drawing))
            of_bag.notes += said
            self._save(work, [path], planned.drawing, of_bag, painter=painter)
            of_bag.notes += [notice] if (notice := painter.uncoloured().notice()) is not None else []
            if work.config.heatmap_arguments.figure:
                of_bag.paths.append(write_slide_figure(work, planned, of_bag.notes))
            result.paths += of_bag.paths
            result.notes += [one.of(planned.column.of) for one in of_bag.notes]
        if work.config.heatmap_arguments.save_orig:
            self._save_original(work, maps[0].drawing, result)
        result.notes = list(distinct(result.notes))
        work.record.summary |= {"uncoloured": uncoloured}
        work.record.summary.pop("group", None)
        if (group := group_words(work, maps[0].column)) is not None:
            work.record.summary |= {"group": group[0]}
        return result

    def _write_figures_again(self, work: SlideWork, kept: list[Path]) -> StageResult:
        """Write only the figures, with the current measurements of their maps; the maps stay as they are."""
        result = StageResult(kept, list(work.record.notices_of(self.name)))
        for planned in [*planned_maps(work), *planned_bag_maps(work)]:
            result.paths.append(write_slide_figure(work, planned, result.notes))
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
        work: SlideWork,
        paths: list[Path],
        drawing: Drawing,
        result: StageResult,
        *,
        shrink: bool = True,
        painter: Painter | None = None,
    ) -> None:
        """Stream a drawing to each path; shrink the finished picture only where CLAM's own keys ask for it."""
        from mil_heatmaps.visualization.overlay import draw
        from mil_heatmaps.visualization.picture_files import FileFacts, save_picture

        h = work.config.heatmap_arguments
        if shrink and _is_shrunk(work):
            from PIL import Image

            from mil_heatmaps.visualization.resize_picture import shrink as shrunk

            picture = shrunk(Image.fromarray(draw(drawing, painter=painter)), h.custom_downsample, h.max_size)
            for path in paths:
                save_picture(path, picture, facts=FileFacts(icc_profile=drawing.icc_profile))
        else:
            write_maps(paths, drawing, lossless=h.save_ext in ("png", "tif", "tiff"), painter=painter)
        result.paths += paths

    def _save_original(self, work: SlideWork, drawing: Drawing, result: StageResult) -> None:
        """Write the slide image: at the map's size, or of the whole slide where the map shows a region.

        As in CLAM, the file name has the level, never -1.
        """
        from mil_heatmaps.visualization.frame import choose_frame
        from mil_heatmaps.visualization.picture_files import fits

        h, slide = work.config.heatmap_arguments, work.slide
        frame = drawing.frame
        if not frame.whole:
            frame = choose_frame(slide, h.vis_level if h.vis_level >= 0 else work.job.row.visualization.vis_level)
        path = work.job.paths.original(frame.level, h.save_ext)
        if not _is_shrunk(work) and not fits(path, frame.size_px):
            frame, said = _fitting(slide, frame, path)
            path = work.job.paths.original(frame.level, h.save_ext)
            result.notes.append(said)
        slide_alone = replace(
            drawing, frame=frame, alpha=0.0, blank_canvas=False, tissue=None, blur_px=None, smooth="none"
        )
        self._save(work, [path], slide_alone, result)


def _fitting(slide: Slide, asked: Frame, path: Path) -> tuple[Frame, Notice]:
    """Return the frame of the finest level that the format of `path` can hold, and a notice about it."""
    from mil_heatmaps.visualization.frame import choose_frame
    from mil_heatmaps.visualization.picture_files import fits

    levels = (choose_frame(slide, level) for level in range(asked.level, slide.level_count))
    averaged = (choose_frame(slide, downsample=2.0**power) for power in range(1, 32))  # for a slide with few levels
    frame = next(frame for frame in (*levels, *averaged) if fits(path, frame.size_px))
    width, height = asked.size_px
    where = f"at 1/{round(frame.downsample[0])}" if frame.resized else f"at level {frame.level}"
    text = (
        f"the slide without colours does not fit {path.suffix[1:].upper()} at level {asked.level} ({width} x {height} "
        f"pixels): drawn {where}"
    )
    return frame, Notice("original_level", text)


def _final_size(work: SlideWork, drawing: Drawing) -> tuple[int, int]:
    """Return the size of the finished picture, in pixels."""
    from mil_heatmaps.visualization.resize_picture import shrunk_size

    h = work.config.heatmap_arguments
    return shrunk_size(drawing.size_px, h.custom_downsample, h.max_size) if _is_shrunk(work) else drawing.size_px


def _is_figure(key: str) -> bool:
    return Path(key).stem.endswith("_figure")


def _is_shrunk(work: SlideWork) -> bool:
    """Whether the finished map is shrunk after drawing, as CLAM does; otherwise it is drawn at its final size."""
    h = work.config.heatmap_arguments
    return h.custom_downsample > 1 or (h.max_size is not None and h.compat == "clam")
