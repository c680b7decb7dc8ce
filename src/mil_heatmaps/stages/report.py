"""One slide's part of the report: pictures, patches, colour bar, curves. The page is assembled from the parts later."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mil_heatmaps.files.atomic import write_json
from mil_heatmaps.notices import distinct
from mil_heatmaps.numpy_later import np
from mil_heatmaps.records.slide_record import relative
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.figure import shown_label
from mil_heatmaps.stages.figure_foot import foot_inputs, foot_of
from mil_heatmaps.stages.score_columns import coarse_columns, map_title, planned_maps
from mil_heatmaps.stages.video import map_inputs

if TYPE_CHECKING:
    from mil_heatmaps.visualization.drawing import Drawing
    from mil_heatmaps.visualization.figure_ground import Colour
    from mil_heatmaps.visualization.report_pictures import Pictures
    from mil_heatmaps.visualization.sampling import SampledPatch

FORMAT = 1
"""Version of the file's format."""
_NOT_OF_THE_SLIDE = ("write", "form", "max_mb")
"""Keys of the section that do not change a slide's part."""


class ReportStage:
    """Writes ``S_report.json``."""

    name = "report"
    version = 1
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """When the config asks for a report."""
        return work.config.report_arguments.wanted

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """What the map depends on, the sizes, and the faithfulness of the map."""
        foot = foot_inputs(work)
        return {
            **map_inputs(work),
            "version": self.version,
            "report": work.settings.section("report_arguments", exclude=_NOT_OF_THE_SLIDE),
            **({"measured": foot} if foot else {}),
            "to": relative(work.job.paths.report_json, work.job.paths.raw),
        }

    def run(self, work: SlideWork) -> StageResult:
        """Draw, cut, write."""
        from mil_heatmaps.visualization.curves_figure import curves_svg
        from mil_heatmaps.visualization.report_pictures import Budget, draw_pictures

        arguments, told = work.config.report_arguments, work.score_file
        planned = planned_maps(work)[0]
        drawing = replace(planned.drawing, color_profile=work.config.heatmap_arguments.for_people)
        patches = _patches(work, drawing)
        budget = Budget(
            arguments.picture_px, arguments.patch_px, arguments.picture_format, arguments.quality,
            arguments.slide_kb * 1000,
        )  # fmt: skip
        pictures = draw_pictures(drawing, [patch.image for _, patch in patches], budget)
        foot, prediction = foot_of(work), told.prediction
        foot = None if foot is None else foot.of(planned.column.name)
        document = {
            "format": FORMAT,
            "slide_id": work.job.slide_id,
            "label": shown_label(work),
            "prediction": None if prediction is None else prediction.summary,
            "task": work.config.model_arguments.task,
            "title": map_title(work, planned.column),
            "score": told.scores.score,
            "model": told.model,
            "checkpoint_sha256": told.checkpoint_sha256,
            "encoder": told.encoder,
            "program_version": told.program_version,
            "patches_drawn": len(drawing.shades),
            "alpha": drawing.alpha,
            "scale": _scale(drawing, pictures.ground),
            "pictures": _packed(pictures),
            "patches": _placed(patches, pictures, drawing, work),
            "patches_ranked": int(np.isfinite(coarse_columns(work)[0].scores).sum()),
            "curves": None if foot is None else curves_svg(foot.document, foot.name, salt=work.job.slide_id),
            "method": "" if foot is None else foot.method,
            "sentence": "" if foot is None else foot.sentence_at(planned.column.name),
        }
        write_json(work.job.paths.report_json, document)
        return StageResult([work.job.paths.report_json], list(distinct(drawing.notes)))


def _scale(drawing: Drawing, ground: Colour) -> dict[str, Any]:
    """Return the colour bar as numbers, with the same words as in the figure."""
    from mil_heatmaps.visualization.figure_parts import bar_ticks
    from mil_heatmaps.visualization.palette import colour_index
    from mil_heatmaps.words import tick_words

    scale, ticks = drawing.scale, bar_ticks(drawing)
    words, span = tick_words(ticks), scale.vmax - scale.vmin
    colours = drawing.colours[colour_index(np.linspace(0, 1, 33), len(drawing.colours))]
    return {
        "label": scale.label,
        "meaning": scale.meaning,
        "note": words.note,
        "cut": drawing.cut,
        "cmap": drawing.cmap,
        "ground": "#{:02x}{:02x}{:02x}".format(*ground),
        "ticks": [[(tick - scale.vmin) / span if span else 0.5, word]
                  for tick, word in zip(ticks, words.labels, strict=True)],
        "colours": ["#{:02x}{:02x}{:02x}".format(*map(int, colour)) for colour in colours],
    }  # fmt: skip


def _patches(work: SlideWork, drawing: Drawing) -> list[tuple[str, SampledPatch]]:
    """Return the highest and the lowest patches of the drawn column that lie in the picture, with their pixels."""
    from mil_heatmaps.scores.percentiles import rank_percentiles
    from mil_heatmaps.slides.colour_profile import srgb_converter
    from mil_heatmaps.visualization.figure_ground import shown_extent
    from mil_heatmaps.visualization.sampling import Choice, choose_patches, patches_at

    arguments, column = work.config.report_arguments, coarse_columns(work)[0]
    grid, (corner, extent) = column.grid, shown_extent(drawing)
    end = np.add(corner, extent)
    middle = grid.coords_l0 + np.asarray(grid.size_l0) / 2
    inside = np.flatnonzero(((middle >= corner) & (middle < end)).all(axis=1))
    if not len(inside) or not arguments.patches:
        return []
    percentiles = rank_percentiles(column.scores)
    level = max(0, work.slide.level_for_downsample(max(grid.size_l0) / arguments.patch_px))
    size = [
        max(1, round(side / factor)) for side, factor in zip(grid.size_l0, work.slide.level_downsamples[level],
                                                            strict=True)
    ]  # fmt: skip
    found: list[tuple[str, SampledPatch]] = []
    profile = work.slide.icc_profile
    to_srgb = srgb_converter(profile) if drawing.color_profile != "ignore" else None
    for name, mode in (("highest", "topk"), ("lowest", "reverse_topk")):
        chosen = choose_patches(percentiles, Choice(k=arguments.patches, mode=mode), inside)  # type: ignore[arg-type]
        for patch in patches_at(chosen, column.scores, grid, work.slide, size_px=(size[0], size[1]), level=level):
            found.append((name, patch if to_srgb is None else replace(patch, image=to_srgb(patch.image))))
    return found


def _packed(pictures: Pictures) -> dict[str, Any]:
    """Return the pictures as JSON values."""
    return {
        "size_px": list(pictures.size_px),
        "type": pictures.media_type,
        "bytes": pictures.bytes,
        **{name: base64.b64encode(data).decode("ascii")
           for name, data in (("slide", pictures.slide), ("map", pictures.map), ("thumbnail", pictures.thumbnail))},
    }  # fmt: skip


def _placed(
    patches: list[tuple[str, SampledPatch]], pictures: Pictures, drawing: Drawing, work: SlideWork
) -> list[dict[str, Any]]:
    """Return each patch with its numbers and its place, as shares of the picture's sides."""
    from mil_heatmaps.visualization.figure_ground import shown_extent

    size_l0, (corner_l0, extent) = coarse_columns(work)[0].grid.size_l0, shown_extent(drawing)
    return [
        {
            "of": of,
            "rank": patch.rank,
            "score": patch.score,
            "percentile": patch.percentile,
            "coords_l0": list(patch.coords_l0),
            "place": [
                *((at - corner) / side
                  for at, corner, side in zip(patch.coords_l0, corner_l0, extent, strict=True)),
                *(size / side for size, side in zip(size_l0, extent, strict=True)),
            ],
            "picture": base64.b64encode(data).decode("ascii"),
        }
        for (of, patch), data in zip(patches, pictures.patches, strict=True)
    ]  # fmt: skip
