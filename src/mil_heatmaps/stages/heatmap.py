"""Draw: the coarse map, the finished map of every chosen column, the slide without colours, the figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.notices import UNCLASSIFIED, Notice, distinct
from mil_heatmaps.records.layout import HeatmapName
from mil_heatmaps.records.rows import UNSPECIFIED
from mil_heatmaps.records.slide_record import relative
from mil_heatmaps.stages.bags import bag_files
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.figure_foot import evidence_of, foot_inputs, foot_of, kept_outputs
from mil_heatmaps.stages.score_columns import plan_coarse, planned_bag_maps, planned_maps

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.slides.reader import Slide
    from mil_heatmaps.stages.planned_map import DrawnColumn, PlannedMap
    from mil_heatmaps.visualization.drawing import Drawing, Painter
    from mil_heatmaps.visualization.frame import Frame


def _shown_label(work: SlideWork) -> str | None:
    """Return the slide's class or group; of a regression or survival model its own value, where it has no group."""
    row = work.job.row
    label = row.group
    if label == UNSPECIFIED and work.config.model_arguments.task != "classification":
        label = row.label
    return None if label == UNSPECIFIED else label


_NOT_DRAWN = ("calc_heatmap", "use_center_shift", "evidence")


def _not_drawn(config: Config) -> tuple[str, ...]:
    """Return the keys that change no pixel: `center` came later, and earlier records do not have its default."""
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
            "scores_sha256": work.artifact(job.paths.blockmap_h5, "attention"),
            "drawing": work.settings.section("heatmap_arguments", exclude=_not_drawn(config)),
            "row": {"label": job.row.label, "orig_level": job.row.visualization.vis_level},
            "roi": work.roi_inputs(),
            "to": relative(job.paths.production, job.paths.raw),
        }
        if config.model_arguments.task != "classification":
            inputs["task"] = config.model_arguments.task
        if files := bag_files(work):
            inputs["bags_sha256"] = {name: work.artifact(path, "attention") for name, path in files.items()}
        if work.wants_fine_map:
            inputs["fine_sha256"] = work.artifact(work.fine_scores_path, "fine")
        if config.heatmap_arguments.segment:
            inputs["mask_sha256"] = work.artifact(job.paths.mask_pkl, "segment")
        if work.settings.cohort_scale is not None:
            inputs["cohort_scale"] = work.settings.cohort_scale_digest
        if work.settings.cohort_medians is not None:
            inputs["cohort_medians"] = dict(work.settings.cohort_medians)
        # Notices stand in the figure and the exports. Those of earlier versions have no code and leave no trace here.
        if notices := [n.plain() for n in work.record.notices(before="faithfulness") if n.code != UNCLASSIFIED]:
            inputs["notices"] = notices
        if config.heatmap_arguments.figure and (foot := foot_inputs(work)):
            inputs["figure_foot"] = foot
        return inputs

    def run(self, work: SlideWork) -> StageResult:
        """Draw everything; a picture is written whole or not at all."""
        from mil_heatmaps.visualization.drawing import Painter

        if (kept := kept_outputs(work, self.name, self.inputs(work), "figure_foot", _is_figure)) is not None:
            return self._write_figures_again(work, kept)
        result, uncoloured = StageResult([], [] if work.roi is None else list(work.roi.notes)), 0
        maps, coarse = planned_maps(work), plan_coarse(work)
        blockmap = [work.job.paths.blockmap_png]
        for number, planned in enumerate(maps):
            drawing = planned.drawing
            result.notes += drawing.notes
            painter = Painter(drawing, watch=True)
            if number == 0 and (_is_shrunk(work) or not drawing.same_pixels(coarse)):
                self._save(work, blockmap, coarse, result, shrink=False)
                blockmap = []
            # At the usual levels both maps are one picture, which is painted once.
            paths = [*(blockmap if number == 0 else ()), self._path(work, planned.column)]
            self._save(work, paths, drawing, result, painter=painter)
            unseen = painter.uncoloured()
            uncoloured = max(uncoloured, unseen.total)
            result.notes += [notice] if (notice := unseen.notice()) is not None else []
            if work.config.heatmap_arguments.figure:
                self._write_figure(work, planned, result)
        for planned in planned_bag_maps(work):
            own, painter = StageResult([], [*planned.drawing.notes]), Painter(planned.drawing, watch=True)
            self._save(work, [self._path(work, planned.column)], planned.drawing, own, painter=painter)
            own.notes += [notice] if (notice := painter.uncoloured().notice()) is not None else []
            if work.config.heatmap_arguments.figure:
                self._write_figure(work, planned, own)
            result.paths += own.paths
            result.notes += [one.of(planned.column.of) for one in own.notes]
        if work.config.heatmap_arguments.save_orig:
            self._save_original(work, maps[0].drawing, result)
        result.notes = list(distinct(result.notes))
        work.record.summary |= {"uncoloured": uncoloured}
        work.record.summary.pop("group", None)
        if (group := _group(work, maps[0].column)) is not None:
            work.record.summary |= {"group": group[0]}
        return result

    def _write_figures_again(self, work: SlideWork, kept: list[Path]) -> StageResult:
        """Write the figures alone, with what is known of their maps by now; the maps are as they were."""
        result = StageResult(kept, list(work.record.notices_of(self.name)))
        for planned in [*planned_maps(work), *planned_bag_maps(work)]:
            self._write_figure(work, planned, result)
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
        """Write a drawing to each path, streamed; shrunk as a whole only where CLAM's own keys ask for that."""
        from mil_heatmaps.visualization.overlay import draw, draw_to_files
        from mil_heatmaps.visualization.picture_files import save_picture

        h = work.config.heatmap_arguments
        if shrink and _is_shrunk(work):
            from PIL import Image

            from mil_heatmaps.visualization.resize_picture import shrink as shrunk

            picture = shrunk(Image.fromarray(draw(drawing, painter=painter)), h.custom_downsample, h.max_size)
            for path in paths:
                save_picture(path, picture)
        else:
            draw_to_files(paths, drawing, painter=painter)
        result.paths += paths

    @staticmethod
    def _write_figure(work: SlideWork, planned: PlannedMap, result: StageResult) -> None:
        """Write ``S_figure.png``: slide and map side by side, with what the colours mean."""
        from mil_heatmaps.visualization.faithfulness_words import EvidenceOutline, Faithfulness
        from mil_heatmaps.visualization.figure import FigureText, write_figure

        h, score_file, column = work.config.heatmap_arguments, work.score_file, planned.column
        foot, evidence = foot_of(work, column.bag), None if column.bag else evidence_of(work)
        scores = score_file.scores
        text = FigureText(
            score_name=f"{scores.score}, {column.of}" if column.of else scores.score,
            class_name=column.name if len(scores.names) > 1 or scores.explained is not None else None,
            slide_id=work.job.slide_id,
            label=_shown_label(work),
            model=score_file.model,
            prediction=score_file.prediction,
            group=": ".join(_group(work, column) or ()),
            method=_method(work, column),
            notices=_of_figure((*work.record.notices(before="heatmap"), *result.notes)),
            faithfulness=None if foot is None else Faithfulness(
                foot.sentence_at(column.name) if len(work.maps or ()) > 1 else foot.sentence, foot.method, foot.verdict
            ),
            evidence=None if evidence is None else EvidenceOutline(evidence.words, evidence.outlines),
        )
        path = work.job.paths.figure(column.suffix)
        write_figure(path, planned.drawing, planned.drawn_scores, text, legend=h.legend)
        result.paths.append(path)

    def _save_original(self, work: SlideWork, drawing: Drawing, result: StageResult) -> None:
        """Write the slide without colours: of the map's size, or the whole slide where the map shows a region of it.

        CLAM names it after the level and never after -1.
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
    """Return the frame of the finest level that the format of `path` can hold, and what to say of it."""
    from mil_heatmaps.visualization.frame import choose_frame
    from mil_heatmaps.visualization.picture_files import fits

    levels = (choose_frame(slide, level) for level in range(asked.level, slide.level_count))
    averaged = (choose_frame(slide, downsample=2.0**power) for power in range(1, 32))  # of a slide of few levels
    frame = next(frame for frame in (*levels, *averaged) if fits(path, frame.size_px))
    width, height = asked.size_px
    where = f"at 1/{round(frame.downsample[0])}" if frame.resized else f"at level {frame.level}"
    text = (
        f"the slide without colours does not fit {path.suffix[1:].upper()} at level {asked.level} ({width} x {height} "
        f"pixels): drawn {where}"
    )
    return frame, Notice("original_level", text)


def _group(work: SlideWork, column: DrawnColumn) -> tuple[str, str] | None:
    """Return whether the slide's risk or value is high or low, and beside what."""
    from mil_heatmaps.visualization.colour_words import group_of

    bag, medians = work.score_file, work.settings.cohort_medians or {}
    asked = work.config.heatmap_arguments.center
    return group_of(bag.scores, column.name, asked, bag.prediction, medians.get(column.name))


def _method(work: SlideWork, column: DrawnColumn) -> str | None:
    """Return how a fine map was made, None for a map of the bag."""
    if not work.wants_fine_map:
        return None
    asked, how = float(work.config.patching_arguments.overlap), work.fine_file.scored_as
    other = f" ({asked:.0%} was asked)" if abs(column.grid.overlap - asked) > 0.01 else ""
    return f"fine map: patches overlap by {column.grid.overlap:.0%}{other}" + (f", {how}" if how else "")


def _of_figure(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """Return the notices for the foot of the figure, which says in a line of its own how a fine map was made."""
    return distinct(notice for notice in notices if notice.code != "fine_map")


def _is_figure(key: str) -> bool:
    return Path(key).stem.endswith("_figure")


def _is_shrunk(work: SlideWork) -> bool:
    """Whether the finished map is made smaller after it was drawn, by CLAM's own keys."""
    h = work.config.heatmap_arguments
    return h.custom_downsample > 1 or h.max_size is not None
