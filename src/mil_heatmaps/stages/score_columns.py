"""Which columns of a score file are drawn, and how each becomes a picture: one place for map, figure and exports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.records.layout import safe_name
from mil_heatmaps.scores.patch_scores import SIGNED_KINDS

if TYPE_CHECKING:
    from mil_heatmaps.choices import Method
    from mil_heatmaps.config.drawing_sections import HeatmapArguments
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.roi import Roi
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.visualization.drawing import Drawing


@dataclass(frozen=True)
class DrawnColumn:
    """One column of scores on its way to a picture.

    Attributes
    ----------
    name : str
        The column's own name: a class, a head, or the score's.
    suffix : str
        What tells its files from those of other columns; empty for the one CLAM's rules choose.
    values : (N,) float32
        As the model gave them.
    grid : PatchGrid
        Where they are.
    kind : ScoreKind
    reference : (M,) float32 or None
        The same column of the bag, for a fine map that is ranked among it.
    reaching : bool
        Whether patches that reach into a region from the left or above are drawn. On CLAM's grid, which begins at the
        region's corner, there are none.
    """

    name: str
    suffix: str
    values: npt.NDArray[np.float32]
    grid: PatchGrid
    kind: str
    reference: npt.NDArray[np.float32] | None = None
    reaching: bool = False

    def drawn(self, roi: Roi | None) -> npt.NDArray[np.bool_]:
        """Return (N,) which patches the drawing of a region holds."""
        from mil_heatmaps.visualization.patch_arguments import inside_region

        if roi is None:
            return np.ones(len(self.grid), bool)
        return inside_region(self.grid, roi.top_left_l0, roi.bot_right_l0, reaching=self.reaching)

    @property
    def overlap(self) -> float:
        """Share by which neighbouring patches overlap, 0 up to 1."""
        return max(0.0, round(1 - self.grid.step_l0[0] / self.grid.size_l0[0], 4))


def columns_of(work: SlideWork, score_file: ScoreFile) -> list[DrawnColumn]:
    """Return the columns that `heatmap_arguments.classes` and `head` choose of some scores of the slide."""
    from mil_heatmaps.scores.select import select_columns

    heatmap, group = work.config.heatmap_arguments, work.job.row.group
    label = group if group in (work.config.class_names or ()) else None
    chosen = select_columns(
        score_file.scores, score_file.prediction, label=label, classes=heatmap.classes, head=heatmap.head
    )
    usual = heatmap.classes == "predicted" and heatmap.head == "mean" and len(chosen) == 1
    prefix = f"_s_{safe_name(heatmap.score)}" if heatmap.score else ""
    return [
        DrawnColumn(
            name,
            prefix + ("" if usual else f"_c_{safe_name(name)}"),
            values,
            score_file.grid,
            score_file.scores.kind,
        )
        for name, values in chosen
    ]


def coarse_columns(work: SlideWork) -> list[DrawnColumn]:
    """Return the chosen columns of the bag, the first of which samples and the coarse map are made of."""
    return columns_of(work, work.score_file)


def drawn_columns(work: SlideWork) -> list[DrawnColumn]:
    """Return the columns of the finished map: of the fine map where there is one, else of the bag."""
    from mil_heatmaps.stages.fine import wants_fine_map

    coarse = coarse_columns(work)
    if not wants_fine_map(work):
        return coarse
    fine, reaching = columns_of(work, work.fine_file), work.config.patch_grid == "features"
    return [
        replace(column, reference=bag.values, reaching=reaching) for column, bag in zip(fine, coarse, strict=True)
    ]


def drawn_file(work: SlideWork) -> ScoreFile:
    """Return the scores the finished map shows: of the fine map where there is one, else of the bag."""
    from mil_heatmaps.stages.fine import wants_fine_map

    return work.fine_file if wants_fine_map(work) else work.score_file


def plan_column(work: SlideWork, column: DrawnColumn, *, coarse: bool = False) -> Drawing:
    """Return the drawing of one column; `coarse` is CLAM's blockmap: the whole slide at about 1/32."""
    from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
    from mil_heatmaps.visualization.wsi_object import WholeSlideImage

    heatmap = work.config.heatmap_arguments
    values, scaling = _scaled(work, column)
    options: dict[str, Any] = {
        "patch_size": column.grid.size_l0,
        "overlap": column.overlap,
        "segment": heatmap.segment,
        "use_holes": heatmap.use_holes,
        "cmap": heatmap.colormap(column.kind),
        "alpha": heatmap.alpha,
        "compat": None if heatmap.compat == "none" else heatmap.compat,
        **scaling,
    }
    if not coarse:
        options.update(_finished(work), reaching=column.reaching)
        values = _inside_region(work, column, values)
    wsi = WholeSlideImage(work.slide)
    if heatmap.segment:
        wsi.tissue = work.mask
    return plan_heatmap(values, column.grid.coords_l0, wsi, **options)


def _finished(work: SlideWork) -> dict[str, Any]:
    """Options of the finished map that the coarse one does not take."""
    heatmap, roi = work.config.heatmap_arguments, work.roi
    options: dict[str, Any] = {
        "vis_level": heatmap.vis_level,
        "downsample": heatmap.downsample,
        "mpp": heatmap.mpp,
        "blank_canvas": heatmap.blank_canvas,
        "blur": heatmap.blur,
        "smooth": heatmap.smooth,
        "binarize": heatmap.binarize,
        "thresh": binary_threshold(heatmap.binary_thresh),
        "threshold": heatmap.threshold,
    }
    if roi is not None:
        options.update(top_left=roi.top_left_l0, bot_right=roi.bot_right_l0)
    return options


def _inside_region(work: SlideWork, column: DrawnColumn, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the values with NaN, which is not drawn, where the outlines of a region of interest leave a patch out.

    A region without any patch is an error, not a picture without colours.
    """
    roi = work.roi
    if roi is None:
        return values
    from mil_heatmaps.slides.roi import patches_in_roi

    if roi.polygons is None:  # the drawing takes the patches of a box itself
        patches_in_roi(column.grid, roi, rule="reach" if column.reaching else None)
        return values
    inside = patches_in_roi(column.grid, roi)
    return np.where(inside, values, np.nan).astype(np.result_type(values, np.float32))


def binary_threshold(value: float) -> float:
    """CLAM's -1 means 1/N of softmax weights, which makes everything positive on percentiles; here it means 0.5."""
    return 0.5 if value < 0 else float(value)


def _scaled(work: SlideWork, column: DrawnColumn) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Return the values to draw and how they become colours. Plain percentiles go CLAM's own way, bit for bit."""
    heatmap = work.config.heatmap_arguments
    rule, scale = heatmap.rule(column.kind, fine=column.reference is not None), work.settings.cohort_scale
    fixed = heatmap.vmin is not None or heatmap.vmax is not None
    if rule == "percentile_ref" and (column.reference is None or scale is not None):
        rule = "percentile"  # the bag ranked among itself, or all slides among all
    if rule in ("percentile", "percentile_ref") and scale is None and not fixed:
        if rule == "percentile":
            return column.values, {"convert_to_percentiles": True}
        from mil_heatmaps.scores.normalize import reference_percentiles, reference_words

        assert column.reference is not None
        words = reference_words(column.reference)
        ranked = reference_percentiles(column.values, column.reference)
        return ranked, {"convert_to_percentiles": False, "label": words}
    return column.values, {
        **range_of(heatmap, rule, column.kind),
        "reference": column.reference if rule == "percentile_ref" else None,
        "scale": scale,
    }


def range_of(heatmap: HeatmapArguments, rule: Method, kind: str) -> dict[str, Any]:
    """Return the options of `plan_heatmap` that set a normalisation's range; zero is the middle of signed scores."""
    centred = kind in SIGNED_KINDS and rule in ("minmax", "robust", "none")
    return {
        "normalize": rule,
        "vmin": heatmap.vmin,
        "vmax": heatmap.vmax,
        "center": 0.0 if centred else None,
        "kind": kind,
    }
