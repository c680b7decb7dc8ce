"""Two score maps of one slide on one scale, beside their difference; how far they agree, in numbers.

The maps may come from two models, checkpoints or heads. Patches are matched by their level-0 corners; what only one
map has is counted and left out of every number.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.scores.scale import CohortScale, summarize_scores
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization import figure_parts as parts
from mil_heatmaps.visualization.colour_rule import ColourRule, ColourScale
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure import Page, panel_frame, panel_picture
from mil_heatmaps.visualization.figure_parts import GREY, INK, SMALL, TEXT, TITLE
from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.palette import DIVERGING_CMAP
from mil_heatmaps.visualization.patch_arguments import as_scores
from mil_heatmaps.visualization.picture_files import save_picture
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View
from mil_heatmaps.words import with_minus

_TOP = (10, 50, 100)
_MARGIN, _GAP, _HEAD, _BAR, _PANEL, _LINE = 0.4, 0.3, 1.15, 1.25, 4.4, 0.17


@dataclass(frozen=True)
class Comparison:
    """How far two score maps agree.

    Attributes
    ----------
    common, only_a, only_b : int
        Patches that both maps score, and those that one does.
    spearman : float
        Rank correlation over the common patches; NaN when there are fewer than two or one map is constant.
    overlap : dict of k -> share
        Which share of the k highest patches of one map are among those of the other; by chance k / common.
        Left out where k exceeds half of the common patches.
    """

    common: int
    only_a: int
    only_b: int
    spearman: float
    overlap: dict[int, float]

    def as_row(self) -> dict[str, float | int]:
        """Return the numbers under the names of a table's columns."""
        tops = {f"top_{k}_overlap": round(share, 4) for k, share in self.overlap.items()}
        return {
            "patches": self.common, "only_a": self.only_a, "only_b": self.only_b,
            "spearman": round(self.spearman, 4), **tops,
        }  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class MatchedScores:
    """The scores of two maps on the patches both have."""

    grid: PatchGrid
    a: npt.NDArray[Any]
    b: npt.NDArray[Any]
    only_a: int
    only_b: int


def match_scores(
    grid_a: PatchGrid, scores_a: npt.ArrayLike, grid_b: PatchGrid, scores_b: npt.ArrayLike
) -> MatchedScores:
    """Return both maps' scores on their common patches, in the order of the first; NaN counts as no score.

    Raises
    ------
    ScoreError
        When the patches differ in size, or none is common.
    """
    if grid_a.size_l0 != grid_b.size_l0:
        raise ScoreError(f"patches of {grid_a.size_l0} and {grid_b.size_l0} level-0 pixels cannot be compared")
    a, b = as_scores(scores_a, len(grid_a)), as_scores(scores_b, len(grid_b))
    place_b = {tuple(corner): i for i, corner in enumerate(grid_b.coords_l0.tolist()) if np.isfinite(b[i])}
    pairs = [
        (i, place_b[tuple(corner)])
        for i, corner in enumerate(grid_a.coords_l0.tolist())
        if tuple(corner) in place_b and np.isfinite(a[i])
    ]
    if not pairs:
        raise ScoreError(f"none of {len(grid_a)} and {len(grid_b)} patches has a score in both maps")
    index_a, index_b = np.asarray(pairs).T
    only_a, only_b = len(grid_a) - len(pairs), len(grid_b) - len(pairs)
    return MatchedScores(grid_a.take(index_a), a[index_a], b[index_b], only_a, only_b)


def compare_scores(matched: MatchedScores) -> Comparison:
    """Return how far two maps agree."""
    a, b = rank_percentiles(matched.a), rank_percentiles(matched.b)
    varied = len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0
    overlap = {}
    for k in _TOP:
        if k <= len(a) / 2:
            best = [set(np.argsort(-ranks, kind="stable")[:k].tolist()) for ranks in (a, b)]
            overlap[k] = len(best[0] & best[1]) / k
    spearman = float(np.corrcoef(a, b)[0, 1]) if varied else float("nan")
    return Comparison(len(a), matched.only_a, matched.only_b, spearman, overlap)


def plan_comparison(
    matched: MatchedScores, wsi: TissueSlide, view: View | None = None, colours: ColourRule | None = None
) -> tuple[Drawing, Drawing, Drawing]:
    """Return the drawings of both maps on one scale, and of their difference, first minus second.

    Percentiles are each map's own, so that models with other units compare; every other normalisation takes its
    range from both maps together. The difference is drawn in ``coolwarm``.
    """
    colours = colours or ColourRule()
    if colours.normalize not in ("percentile", "percentile_ref"):
        both = CohortScale([summarize_scores(matched.a), summarize_scores(matched.b)], "both maps")
        colours = replace(colours, scale=both)
    first, second = (plan_heatmap(scores, matched.grid, wsi, view, colours) for scores in (matched.a, matched.b))
    change = first.shades.astype(np.float64) - second.shades
    reach = float(np.max(np.abs(change), initial=0)) or 1.0
    width = first.scale.vmax - first.scale.vmin
    words = "percentile points, first minus second" if first.scale.unit == "percentile" else "first minus second"
    scale = ColourScale(-reach * width, reach * width, first.scale.unit, words, 0.0)
    difference = replace(
        first, shades=change / (2 * reach) + 0.5, cmap=DIVERGING_CMAP, scale=scale, threshold=None, binarize=False,
        notes=(),
    )  # fmt: skip
    return first, second, difference


def draw_comparison(
    drawings: tuple[Drawing, Drawing, Drawing],
    comparison: Comparison,
    names: tuple[str, str],
    *,
    score_name: str = "score",
    sentences: Sequence[str] = (),
) -> UInt8Array:
    """Return both maps and their difference side by side, with the numbers, (height, width, 3).

    `sentences` say how far each map can be believed.
    """
    small = [replace(drawing, frame=panel_frame(drawing), blur_px=None) for drawing in drawings]
    pictures = [panel_picture(draw(drawing)) for drawing in small]
    high = pictures[0].shape[0] / pictures[0].shape[1]
    width = _PANEL if high <= 1.3 else max(_PANEL * 1.3 / high, 1.6)
    across = 2 * _MARGIN + 3 * width + 2 * _GAP + 2 * _BAR
    said = [line for text in sentences for line in parts.wrapped(text, int((across - 2 * _MARGIN) * 15))]
    page = Page(across, _HEAD + width * high + 0.35 + _LINE * len(said))
    title = parts.short(drawings[0].slide.slide_id, 80)
    page.write(_MARGIN, 0.36, title, fontsize=TITLE, weight="bold", color=INK, va="center")
    tops = [f"top {k} in common {share:.0%}" for k, share in comparison.overlap.items()]
    correlation = with_minus(f"{comparison.spearman:.3f}")
    words = parts.join([f"{comparison.common} common patches", f"rank correlation {correlation}", *tops])
    page.write(_MARGIN, 0.68, words, fontsize=TEXT, color=GREY, va="center")
    left = _MARGIN
    titles = (names[0], names[1], f"{names[0]} minus {names[1]}")
    for nth, (drawing, picture) in enumerate(zip(drawings, pictures, strict=True)):
        axes = page.axes(left, _HEAD, width, width * high)
        parts.show_picture(axes, picture, parts.short(titles[nth], int(width * 11)))
        if drawing.slide.mpp is not None:
            parts.draw_scale_bar(axes, drawing.frame.size_px[0] * drawing.frame.downsample[0] * drawing.slide.mpp)
        left += width + _GAP
        if nth:
            name = score_name if nth == 1 else "difference"
            parts.draw_colour_bar(page.axes(left - _GAP + 0.15, _HEAD, 0.16, width * high), drawing, name)
            left += _BAR
    notes = parts.join(list(dict.fromkeys(drawings[0].notes + drawings[1].notes)))
    for nth, line in enumerate(reversed(said), start=1):
        page.write(_MARGIN, page.height - 0.16 - nth * _LINE, line, fontsize=SMALL, color=INK, va="center")
    page.write(_MARGIN, page.height - 0.16, parts.short(notes, 160), fontsize=SMALL, color=GREY, va="center")
    return page.rendered()


def write_comparison(
    path: str | os.PathLike[str],
    drawings: tuple[Drawing, Drawing, Drawing],
    comparison: Comparison,
    names: tuple[str, str],
    *,
    score_name: str = "score",
    sentences: Sequence[str] = (),
) -> None:
    """Write `draw_comparison` as PNG or any other format of `save_picture`."""
    save_picture(path, draw_comparison(drawings, comparison, names, score_name=score_name, sentences=sentences))
