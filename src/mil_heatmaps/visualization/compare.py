"""Two score maps of one slide on one scale, with their difference and numbers for how far they agree.

The maps may come from two models, checkpoints or heads. Patches are matched by their level-0 corners. Patches that only
one map has are counted, and left out of every other number.
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
from mil_heatmaps.scores.score_words import plain_words
from mil_heatmaps.slides.colour_profile import srgb_profile
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization import figure_parts as parts
from mil_heatmaps.visualization.colour_rule import ColourRule, ColourScale
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import draw_panels, shown_extent
from mil_heatmaps.visualization.figure_layout import GAP, MARGIN
from mil_heatmaps.visualization.figure_page import Page, wrapped
from mil_heatmaps.visualization.figure_parts import GREY, INK
from mil_heatmaps.visualization.figure_pieces import LOCATOR, BarPlan, bar_words, draw_bar, draw_locator, draw_scale_bar
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.figure_words import FigureText, region_words
from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
from mil_heatmaps.visualization.palette import DIVERGING_CMAP
from mil_heatmaps.visualization.patch_arguments import as_scores
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View
from mil_heatmaps.words import grouped, with_minus

_TOP = (10, 50, 100)
_BAR, _PANEL = 1.25, 4.4


@dataclass(frozen=True)
class Comparison:
    """How far two score maps agree.

    Attributes
    ----------
    common, only_a, only_b : int
        Numbers of patches that both maps score, or only the first or the second.
    spearman : float
        Rank correlation over the common patches; NaN when there are fewer than two or one map is constant.
    overlap : dict of k -> share
        Share of the k highest patches of one map that are also among the k highest of the other; k / common by chance.
        Values of k above half of the common patches are left out.
    """

    common: int
    only_a: int
    only_b: int
    spearman: float
    overlap: dict[int, float]

    def as_row(self) -> dict[str, float | int]:
        """Return the numbers as a table row, by column name."""
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
    """Return both maps' scores on their common patches, in the order of the first map; NaN counts as no score.

    Raises
    ------
    ScoreError
        If the patches differ in size, or no patch is common.
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


def in_view(matched: MatchedScores, view: View) -> MatchedScores:
    """Return the part of the common patches that a view shows.

    Raises
    ------
    ScoreError
        If the view shows none of them.
    """
    chosen = view.patches(matched.grid)
    if isinstance(chosen, slice):
        return matched
    if not len(chosen):
        raise ScoreError("none of the patches that both maps score lies in the region")
    return replace(matched, grid=matched.grid.take(chosen), a=matched.a[chosen], b=matched.b[chosen])


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

    Percentiles are computed per map, so that models with different units can be compared. Every other normalisation
    takes its range from both maps together. The difference is drawn in the usual diverging colours.
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
    foot: Sequence[str] = (),
    *,
    score_name: str = "score",
    sentences: Sequence[str] = (),
    region_names: Sequence[str] = (),
) -> UInt8Array:
    """Return both maps and their difference side by side, with the numbers, (height, width, 3).

    `foot` holds lines about how the maps were made, `sentences` say how far each map can be trusted, and
    `region_names` name the outlines of a region.
    """
    return _composed(drawings, comparison, names, foot, score_name, sentences, region_names).rendered()


def _composed(
    drawings: tuple[Drawing, Drawing, Drawing],
    comparison: Comparison,
    names: tuple[str, str],
    foot: Sequence[str],
    score_name: str,
    sentences: Sequence[str],
    region_names: Sequence[str] = (),
) -> Page:
    style = FigureStyle()
    _, size_l0 = shown_extent(drawings[0])
    high = size_l0[1] / size_l0[0]
    width, height = (
        round(side * style.dpi) / style.dpi
        for side in _panel_size(high)
    )
    panels = [draw_panels(drawing, round(max(width, height) * style.dpi)) for drawing in drawings]
    whole = 2 * MARGIN + 3 * width + 2 * GAP + 2 * _BAR
    content = whole - 2 * MARGIN
    titles = [wrapped(name, style.text, width) for name in (*names, f"{names[0]} minus {names[1]}")]
    of_region = not drawings[0].frame.whole
    room = content - (LOCATOR[0] + GAP if of_region else 0.0)
    slide = wrapped(drawings[0].slide.slide_id, style.title, room, bold=True)
    head = 0.95 + 0.27 * (len(slide) - 1) + 0.2 * max(map(len, titles)) + 0.2 * of_region
    notes = parts.join(list(dict.fromkeys(drawings[0].notes + drawings[1].notes)))
    told = [*((said, INK) for said in sentences), *((said, GREY) for said in (notes, *foot) if said)]
    lines = [(line, colour) for said, colour in told for line in wrapped(said, style.small, content)]
    bar = BarPlan(drawings[1], FigureText(plain_words(score_name)), style, style.unit, panels[1])
    meaning = bar_words(bar, min(height, 5.6), upright=True).meaning
    below = head + height + max(0.5, 0.2 + style.step * len(meaning))
    page = Page(whole, below + style.step * len(lines) + 0.1, style)
    page.write_lines(MARGIN, 0.36, slide, 0.27, fontsize=style.title, weight="bold", color=INK)
    tops = [f"top {k} in common {share:.0%}" for k, share in comparison.overlap.items()]
    correlation = with_minus(f"{comparison.spearman:.3f}")
    words = parts.join([f"{grouped(comparison.common)} common patches", f"rank correlation {correlation}", *tops])
    said = [words, *([f"region {region_words(drawings[0])} at level 0"] if of_region else [])]
    page.write_lines(MARGIN, 0.41 + 0.27 * len(slide), said, 0.2, fontsize=style.text, color=GREY)
    if of_region:
        draw_locator(page, drawings[0])
    left = MARGIN
    for nth, (drawing, panel) in enumerate(zip(drawings, panels, strict=True)):
        left = round(left * style.dpi) / style.dpi
        axes = page.axes(left, head, width, height)
        parts.show_picture(axes, panel.heatmap)
        if drawing.region is not None:
            parts.draw_outlines(axes, drawing.region, panel.drawing.frame, region_names, style)
        top = head - 0.13 - 0.2 * (len(titles[nth]) - 1)
        page.write_lines(left, top, titles[nth], 0.2, fontsize=style.text, color=GREY)
        left += width + GAP
        if nth:
            name = plain_words(score_name) if nth == 1 else "difference"
            plan = BarPlan(drawing, FigureText(name), style, style.unit, panel)
            draw_bar(page, plan, (left - GAP + 0.15, head), min(height, 5.6), upright=True)
            left += _BAR
    if drawings[0].slide.mpp is not None:
        width_um = size_l0[0] * drawings[0].slide.mpp
        draw_scale_bar(page, (MARGIN, head + height + 0.08), width, width_um)
    for nth, (line, colour) in enumerate(lines):
        page.write(MARGIN, below + (nth + 0.5) * style.step, line, fontsize=style.small, color=colour, va="center")
    return page


def _panel_size(high: float) -> tuple[float, float]:
    width = _PANEL if high <= 1.3 else max(_PANEL * 1.3 / high, 0.8)
    return width, width * high


def write_comparison(
    path: str | os.PathLike[str],
    drawings: tuple[Drawing, Drawing, Drawing],
    comparison: Comparison,
    names: tuple[str, str],
    foot: Sequence[str] = (),
    *,
    score_name: str = "score",
    sentences: Sequence[str] = (),
    region_names: Sequence[str] = (),
) -> None:
    """Write `draw_comparison` as PNG, PDF, SVG or any other format of `save_picture`."""
    converted = drawings[0].color_profile == "convert" and drawings[0].slide.icc_profile is not None
    profile = srgb_profile() if converted else drawings[0].icc_profile
    page = _composed(drawings, comparison, names, foot, score_name, sentences, region_names)
    page.save(path, icc_profile=profile)
