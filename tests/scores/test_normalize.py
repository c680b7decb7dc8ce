"""Normalisation: exact against CLAM's numbers and SciPy's ranks, honest at the edges."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.normalize import normalize
from mil_heatmaps.scores.percentiles import rank_percentiles, reference_percentiles, to_percentiles
from mil_heatmaps.scores.scale import CohortScale, summarize_scores

DATA = Path(os.environ.get("HEATMAP_TEST_DATA", Path(__file__).parents[3] / "shared"))


def _golden(name: str) -> dict[str, np.ndarray]:
    path = DATA / "golden/clam/percentile" / name
    if not path.exists():
        pytest.skip(f"golden data not found at {path}; set HEATMAP_TEST_DATA")
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("scores", "expected"), [("scores", "percentile"), ("ties", "ties_percentile")])
def test_rank_percentiles_are_clams_to_the_bit(scores: str, expected: str) -> None:
    golden = _golden("to_percentiles.npz")
    got = rank_percentiles(golden[scores])
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, golden[expected])


@pytest.mark.parametrize("name", ["ref_percentile.npz", "ref_percentile_ties.npz"])
def test_reference_percentiles_are_clams_to_the_bit(name: str) -> None:
    golden = _golden(name)
    got = reference_percentiles(golden["scores"], golden["ref"])
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, golden["percentile_float32"])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7, 1000, 4099])
def test_ranks_are_scipys_average_ranks(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    scores = rng.normal(size=n).astype(np.float32)
    if ties:
        scores = scores.round(1)
    np.testing.assert_array_equal(rank_percentiles(scores), rankdata(scores) / n * 100)
    np.testing.assert_array_equal(to_percentiles(scores[:, None]), rankdata(scores)[:, None] / n * 100)


def test_reference_percentiles_follow_the_formula_one_by_one() -> None:
    rng = np.random.default_rng(3)
    reference, scores = rng.normal(size=57).round(1), rng.normal(size=200).round(1)
    expected = [
        np.float32(((reference < s).sum() + (reference <= s).sum() + (s in reference)) * (50 / 57))
        for s in scores
    ]
    np.testing.assert_array_equal(reference_percentiles(scores, reference), expected)


def test_ranks_leave_nan_and_infinity_out() -> None:
    got = rank_percentiles([3.0, np.nan, 1.0, np.inf, 2.0, -np.inf])
    np.testing.assert_allclose(got, [100, np.nan, 100 / 3, np.nan, 200 / 3, np.nan])
    got = reference_percentiles([1.5, np.nan], [1.0, np.nan, 2.0])
    np.testing.assert_array_equal(got, np.array([50, np.nan], np.float32))


def test_reference_percentiles_refuse_an_empty_reference() -> None:
    with pytest.raises(ScoreError, match="at least one finite reference"):
        reference_percentiles([1.0], [np.nan])


def test_ranks_of_nothing_are_nothing() -> None:
    assert rank_percentiles(np.empty(0)).shape == (0,)


def test_percentile_keeps_clams_division() -> None:
    golden = _golden("to_percentiles.npz")
    got = normalize(golden["scores"], "percentile")
    np.testing.assert_array_equal(got.shades, golden["percentile"] / 100)
    assert (got.vmin, got.vmax, got.unit, got.scope) == (0, 100, "percentile", "slide")


def test_percentile_ref_divides_in_float32_as_clam_does() -> None:
    golden = _golden("ref_percentile.npz")
    got = normalize(golden["scores"], "percentile_ref", reference=golden["ref"])
    np.testing.assert_array_equal(got.shades, (golden["percentile_float32"][:, 0] / np.float32(100)))
    assert got.shades.dtype == np.float32


def test_minmax_puts_lowest_at_zero_and_highest_at_one() -> None:
    got = normalize([2.0, 4.0, 3.0], "minmax")
    np.testing.assert_array_equal(got.shades, [0, 1, 0.5])
    assert (got.vmin, got.vmax, got.unit) == (2, 4, "score")
    assert got.label == "minimum to maximum of the slide: 2 to 4"


def test_fixed_ends_clip_and_are_named() -> None:
    got = normalize([-1.0, 0.5, 3.0], "minmax", vmin=0, vmax=2)
    np.testing.assert_array_equal(got.shades, [0, 0.25, 1])
    assert got.scope == "fixed"
    assert got.label == "fixed range, clipped: 0 to 2"


def test_one_fixed_end_leaves_the_other_to_the_slide() -> None:
    got = normalize([1.0, 2.0, 5.0], "minmax", vmin=0)
    np.testing.assert_array_equal(got.shades, [0.2, 0.4, 1])


def test_fixed_percentile_ends_are_in_percent() -> None:
    got = normalize(np.arange(100.0), "percentile", vmin=50)
    np.testing.assert_allclose(got.shades[[0, 49, 74, 99]], [0, 0, 0.5, 1])
    assert "50 to 100" in got.label


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (1.0, 1.0)])
def test_ends_in_the_wrong_order_are_refused(low: float, high: float) -> None:
    with pytest.raises(ScoreError, match="must be below vmax"):
        normalize([1.0, 2.0], "minmax", vmin=low, vmax=high)


def test_an_end_that_is_nan_is_refused() -> None:
    with pytest.raises(ScoreError, match="vmax must be a finite number"):
        normalize([1.0, 2.0], "minmax", vmax=np.nan)


def test_robust_ignores_one_outlier() -> None:
    scores = np.append(np.linspace(0, 1, 999), 1e6)
    got = normalize(scores, "robust")
    low, high = np.quantile(scores, (0.01, 0.99))
    assert (got.vmin, got.vmax) == (low, high)
    assert got.shades[-1] == 1
    assert 0.4 < got.shades[500] < 0.6
    assert "1st to 99th percentile" in got.label


def test_robust_says_when_it_falls_back_to_minmax() -> None:
    got = normalize(np.append(np.zeros(500), 1.0), "robust")
    assert got.shades[-1] == 1
    assert "coincide" in got.label


def test_softmax_shares_sum_to_one_before_they_are_stretched() -> None:
    scores = np.array([0.0, 1.0, 2.0])
    got = normalize(scores, "softmax")
    share = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(got.shades, share / share[2], rtol=1e-15)
    assert got.vmax == pytest.approx(share[2])
    assert got.unit == "share"


def test_softmax_of_huge_logits_does_not_overflow() -> None:
    np.testing.assert_array_equal(normalize([1e30, 0.0], "softmax").shades, [1, 0])


def test_weights_that_are_shares_are_not_softmaxed_again() -> None:
    got = normalize([0.1, 0.3, 0.6], "softmax", kind="attention_softmax")
    np.testing.assert_allclose(got.shades, [0.1 / 0.6, 0.5, 1])
    assert got.vmax == 0.6


def test_none_draws_the_numbers_as_they_are() -> None:
    got = normalize([-0.5, 0.25, 1.5], "none")
    np.testing.assert_array_equal(got.shades, [0, 0.25, 1])
    assert (got.vmin, got.vmax) == (0, 1)


@pytest.mark.parametrize("method", ["minmax", "robust", "none"])
def test_a_centred_range_puts_zero_in_the_middle(method: str) -> None:
    got = normalize([-1.0, 0.0, 3.0], method, center=0)
    assert got.shades[1] == 0.5
    assert got.vmin == -got.vmax
    assert got.center == 0
    assert "centred at 0" in got.label


def test_one_fixed_end_is_mirrored_about_the_centre() -> None:
    got = normalize([-1.0, 0.0, 3.0], "minmax", vmax=2, center=0)
    assert (got.vmin, got.vmax) == (-2, 2)


def test_two_fixed_ends_win_over_the_centre() -> None:
    got = normalize([-1.0, 0.0, 3.0], "minmax", vmin=-1, vmax=3, center=0)
    assert (got.vmin, got.vmax, got.center) == (-1, 3, None)


def test_percentiles_have_no_centre() -> None:
    assert normalize([-1.0, 0.0, 3.0], "percentile", center=0).center is None


@pytest.mark.parametrize("method", ["percentile", "percentile_ref", "minmax", "robust", "softmax", "none"])
def test_nan_and_infinity_stay_out_and_are_counted(method: str) -> None:
    scores = np.array([0.0, np.nan, 1.0, np.inf, -np.inf, 0.5], np.float32)
    got = normalize(scores, method, reference=scores)
    assert got.excluded == 3
    np.testing.assert_array_equal(np.isnan(got.shades), ~np.isfinite(scores))
    kept = got.shades[np.isfinite(scores)]
    assert ((kept >= 0) & (kept <= 1)).all()
    np.testing.assert_array_equal(
        kept, normalize(scores[np.isfinite(scores)], method, reference=scores).shades
    )


@pytest.mark.parametrize("method", ["percentile", "minmax", "robust", "softmax"])
def test_equal_scores_lie_mid_scale(method: str) -> None:
    got = normalize(np.full(1000, 7.0), method)
    np.testing.assert_allclose(got.shades, 0.5, atol=0.001)
    assert got.constant


@pytest.mark.parametrize(("method", "expected"), [("percentile", 1), ("minmax", 0.5), ("softmax", 1)])
def test_one_score_is_drawn(method: str, expected: float) -> None:
    got = normalize([3.0], method)
    np.testing.assert_array_equal(got.shades, [expected])
    assert not got.constant


@pytest.mark.parametrize("method", ["percentile", "minmax", "robust", "softmax", "none"])
@pytest.mark.parametrize("scores", [[], [np.nan, np.nan]])
def test_no_score_at_all_gives_an_empty_map(method: str, scores: list[float]) -> None:
    got = normalize(scores, method)
    assert len(got.shades) == len(scores) == got.excluded
    assert got.vmin < got.vmax


def test_an_unknown_method_lists_the_choices() -> None:
    with pytest.raises(ScoreError, match=r"choose from \['percentile', 'percentile_ref'"):
        normalize([1.0], "zscore")


def test_percentile_ref_without_reference_says_what_would_do() -> None:
    with pytest.raises(ScoreError, match="use 'percentile'"):
        normalize([1.0], "percentile_ref")


@pytest.mark.parametrize("shape", [(1, 5), (5, 2), (5, 1, 1)])
def test_scores_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ScoreError, match=r"shape \(N,\) or \(N, 1\)"):
        normalize(np.zeros(shape), "minmax")


def test_the_callers_scores_are_left_alone() -> None:
    scores = np.array([1.0, 2.0, 3.0])
    for method in ("percentile", "minmax", "softmax", "none"):
        normalize(scores, method)
    np.testing.assert_array_equal(scores, [1, 2, 3])


def test_integers_may_be_given() -> None:
    np.testing.assert_array_equal(normalize(np.array([1, 2, 3]), "minmax").shades, [0, 0.5, 1])


def test_a_cohort_of_small_slides_equals_the_pooled_scores() -> None:
    rng = np.random.default_rng(0)
    slides = [rng.normal(loc=i, size=50 + 10 * i).round(1) for i in range(4)]
    pooled = np.concatenate(slides)
    scale = CohortScale([summarize_scores(s) for s in slides])
    assert scale.count == len(pooled)
    assert (scale.minimum, scale.maximum) == (pooled.min(), pooled.max())
    np.testing.assert_allclose(scale.percentiles(pooled), rank_percentiles(pooled), rtol=1e-12)
    got = normalize(slides[2], "minmax", scale=scale)
    assert (got.vmin, got.vmax, got.scope) == (pooled.min(), pooled.max(), "cohort")
    assert "the cohort (4 slides)" in got.label


def test_a_cohort_scale_does_not_depend_on_the_order_of_slides() -> None:
    rng = np.random.default_rng(1)
    parts = [summarize_scores(rng.normal(size=n)) for n in (3, 5000, 1700)]
    probe = rng.normal(size=40)
    results = [
        (scale.robust_bounds, scale.minimum, scale.maximum, tuple(scale.percentiles(probe)))
        for scale in map(CohortScale, itertools.permutations(parts))
    ]
    assert len(set(results)) == 1


def test_large_slides_are_summarised_closely() -> None:
    rng = np.random.default_rng(2)
    slides = [rng.normal(size=20_000), rng.gamma(2, size=60_000)]
    pooled = np.concatenate(slides)
    scale = CohortScale([summarize_scores(s) for s in slides])
    assert max(len(s.points) for s in scale.summaries) <= 1001
    assert np.abs(scale.percentiles(pooled) - rank_percentiles(pooled)).max() < 0.2
    ranks = [100 * np.mean(pooled <= bound) for bound in scale.robust_bounds]
    np.testing.assert_allclose(ranks, [1, 99], atol=0.1)


def test_a_summary_keeps_the_finite_scores_of_a_small_slide_and_its_largest_share() -> None:
    summary = summarize_scores(np.array([3.0, 1.0, np.nan, 2.0]))
    assert summary.count == 3
    np.testing.assert_array_equal(summary.points, [1, 2, 3])
    assert summary.max_share == pytest.approx(np.exp(3) / np.exp([1, 2, 3]).sum())


def test_softmax_on_a_cohort_scale_uses_the_largest_share_of_all() -> None:
    scale = CohortScale([summarize_scores([0.0, 5.0]), summarize_scores(np.zeros(10))])
    got = normalize(np.zeros(10), "softmax", scale=scale)
    np.testing.assert_allclose(got.shades, 0.1 / scale.max_share)


def test_a_cohort_without_scores_does_not_crash() -> None:
    scale = CohortScale([summarize_scores([np.nan])])
    assert len(normalize([np.nan], "robust", scale=scale).shades) == 1
    assert np.isnan(scale.percentiles([1.0])).all()
