"""Which columns of a score file are drawn, and how each becomes a picture: one place for map, figure and exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from src.pipeline.layout import safe_name
from src.scores.patch_scores import SIGNED_KINDS

if TYPE_CHECKING:
    from src.pipeline.stages.base import SlideWork
    from src.visualization.drawing import Drawing


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
    """

    name: str
    suffix: str
    values: npt.NDArray[np.float32]


def drawn_columns(work: SlideWork) -> list[DrawnColumn]:
    """Return the columns that `heatmap_arguments.classes` and `head` choose of the slide's scores."""
    from src.scores.select import select_columns

    heatmap, score_file, group = work.config.heatmap_arguments, work.score_file, work.job.row.group
    label = group if group in (work.config.class_names or ()) else None
    chosen = select_columns(
        score_file.scores, score_file.prediction, label=label, classes=heatmap.classes, head=heatmap.head
    )
    usual = heatmap.classes == "predicted" and heatmap.head == "mean" and len(chosen) == 1
    prefix = f"_s_{safe_name(heatmap.score)}" if heatmap.score else ""
    return [
        DrawnColumn(name, prefix + ("" if usual else f"_c_{safe_name(name)}"), values) for name, values in chosen
    ]


def primary_column(work: SlideWork) -> DrawnColumn:
    """Return the column that samples and the coarse map are made of: the first that is drawn."""
    return drawn_columns(work)[0]


def plan_column(work: SlideWork, column: DrawnColumn, *, coarse: bool = False) -> Drawing:
    """Return the drawing of one column; `coarse` is CLAM's blockmap: the whole slide at about 1/32."""
    from src.visualization.heatmap_utils import plan_heatmap
    from src.visualization.wsi_object import WholeSlideImage

    heatmap, score_file = work.config.heatmap_arguments, work.score_file
    options: dict[str, Any] = {
        "patch_size": score_file.grid.size_l0,
        "overlap": grid_overlap(work),
        "segment": heatmap.segment,
        "use_holes": heatmap.use_holes,
        "cmap": heatmap.cmap,
        "alpha": heatmap.alpha,
        "compat": None if heatmap.compat == "none" else heatmap.compat,
        **_scaling(work),
    }
    if not coarse:
        options.update(_finished(work))
    wsi = WholeSlideImage(work.slide)
    if heatmap.segment:
        wsi.tissue = work.mask
    return plan_heatmap(column.values, score_file.grid.coords_l0, wsi, **options)


def _finished(work: SlideWork) -> dict[str, Any]:
    """Options of the finished map that the coarse one does not take."""
    heatmap, roi = work.config.heatmap_arguments, work.job.row.roi
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
    if heatmap.use_roi and roi is not None:
        options.update(top_left=roi[:2], bot_right=roi[2:])
    return options


def binary_threshold(value: float) -> float:
    """CLAM's -1 means 1/N of softmax weights, which makes everything positive on percentiles; here it means 0.5."""
    return 0.5 if value < 0 else float(value)


def _scaling(work: SlideWork) -> dict[str, Any]:
    """How scores become colours. Plain percentiles within the slide go CLAM's own way, bit for bit."""
    heatmap, kind = work.config.heatmap_arguments, work.score_file.scores.kind
    rule = heatmap.rule(fine=False)
    scale = work.settings.cohort_scale
    fixed = heatmap.vmin is not None or heatmap.vmax is not None
    if rule in ("percentile", "percentile_ref") and scale is None and not fixed:
        return {"convert_to_percentiles": True}
    centred = kind in SIGNED_KINDS and rule in ("minmax", "robust", "none")
    return {
        "normalize": "percentile" if rule == "percentile_ref" else rule,
        "vmin": heatmap.vmin,
        "vmax": heatmap.vmax,
        "center": 0.0 if centred else None,
        "scale": scale,
        "kind": kind,
    }


def grid_overlap(work: SlideWork) -> float:
    """Share by which neighbouring patches of the drawn grid overlap, 0 up to 1."""
    grid = work.score_file.grid
    return max(0.0, round(1 - grid.step_l0[0] / grid.size_l0[0], 4))
