"""Two maps of one slide compared."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.compare import (
    MatchedScores,
    compare_scores,
    draw_comparison,
    match_scores,
    plan_comparison,
)
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View

COORDS = np.stack(np.meshgrid(np.arange(256, 1600, 128), np.arange(256, 1000, 128)), axis=-1).reshape(-1, 2)
GRID = PatchGrid(COORDS.astype(np.int64), (128, 128), (128, 128))

WHOLE = View(segment=False)


def _matched(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> MatchedScores:
    return MatchedScores(GRID, a, b, 0, 0)


def test_patches_are_matched_by_place_and_the_rest_is_counted() -> None:
    order = np.random.default_rng(0).permutation(len(GRID))[:-5]
    other = PatchGrid(GRID.coords_l0[order], GRID.size_l0, GRID.step_l0)
    scores = np.arange(len(GRID), dtype=float)
    scores[order[0]] = np.nan
    matched = match_scores(GRID, scores, other, np.arange(len(GRID), dtype=float)[order])
    np.testing.assert_array_equal(matched.a, matched.b)
    assert (len(matched.grid), matched.only_a, matched.only_b) == (len(GRID) - 6, 6, 1)


def test_maps_without_common_patches_are_refused() -> None:
    elsewhere = PatchGrid(GRID.coords_l0 + 1, GRID.size_l0, GRID.step_l0)
    with pytest.raises(ScoreError, match="none of"):
        match_scores(GRID, np.ones(len(GRID)), elsewhere, np.ones(len(GRID)))
    larger = PatchGrid(GRID.coords_l0, (256, 256), GRID.step_l0)
    with pytest.raises(ScoreError, match="cannot be compared"):
        match_scores(GRID, np.ones(len(GRID)), larger, np.ones(len(GRID)))


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.integers(0, 9, len(GRID)).astype(float), generator.normal(size=len(GRID))
    b += a / 3
    assert compare_scores(_matched(a, b)).spearman == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(compare_scores(_matched(np.ones(len(GRID)), b)).spearman)


def test_overlap_is_the_share_of_common_top_patches() -> None:
    a = np.arange(120, dtype=float)
    b = a.copy()
    b[-5:] = -1  # five of the ten highest fall out
    grid = PatchGrid(np.zeros((120, 2), np.int64), (128, 128), (128, 128))
    comparison = compare_scores(MatchedScores(grid, a, b, 0, 0))
    assert comparison.overlap == {10: 0.5, 50: 0.9}  # of 100 of 120, most are common by chance
    assert comparison.as_row()["top_10_overlap"] == 0.5
    a = np.arange(len(GRID), dtype=float)
    assert compare_scores(_matched(a, a * 3 - 1)).spearman == pytest.approx(1)


def test_both_maps_share_one_scale(tiny_slide: Path) -> None:
    a, b = np.linspace(0, 1, len(GRID)), np.linspace(2, 4, len(GRID))
    with TissueSlide(tiny_slide) as slide:
        first, second, difference = plan_comparison(_matched(a, b), slide, WHOLE, ColourRule("minmax"))
    assert (first.scale.vmin, first.scale.vmax) == (second.scale.vmin, second.scale.vmax) == (0, 4)
    np.testing.assert_allclose(first.shades, a / 4)
    np.testing.assert_allclose(second.shades, b / 4)
    shown = difference.scale.vmin + difference.shades * (difference.scale.vmax - difference.scale.vmin)
    np.testing.assert_allclose(shown, a - b, atol=1e-12)
    assert first.scale.label == "minimum to maximum of both maps: 0 to 4"


def test_equal_maps_differ_nowhere(tiny_slide: Path) -> None:
    a = np.random.default_rng(0).normal(size=len(GRID))
    with TissueSlide(tiny_slide) as slide:
        _, _, difference = plan_comparison(
            _matched(a, a), slide, View(1, segment=False, blank_canvas=True), ColourRule(alpha=1.0)
        )
        assert np.unique(difference.shades).tolist() == [0.5]
        colours = np.unique(draw(difference).reshape(-1, 3), axis=0)
    assert len(colours) == 2


def test_comparison_is_drawn(tiny_slide: Path) -> None:
    generator = np.random.default_rng(3)
    a = generator.normal(size=len(GRID))
    matched = _matched(a, a + generator.normal(size=len(GRID)))
    with TissueSlide(tiny_slide) as slide:
        drawings = plan_comparison(matched, slide, WHOLE)
        picture = draw_comparison(drawings, compare_scores(matched), ("abmil", "clam_sb"))
    assert picture.shape[1] > 2000
    assert picture.std() > 10
