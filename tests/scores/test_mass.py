"""How concentrated scores are: exact numbers on small grids."""

import math

import numpy as np
import pytest

from mil_heatmaps.scores import mass as c
from mil_heatmaps.slides.patch_grid import PatchGrid


def _line(count: int, step: int = 256) -> PatchGrid:
    coords = np.stack([np.arange(count) * step, np.zeros(count, int)], axis=1).astype(np.int64)
    return PatchGrid(coords, (step, step), (step, step))


def test_equal_patches_are_not_concentrated() -> None:
    told = c.concentration(np.ones(200), "attention_softmax", _line(200))
    assert told.gini == pytest.approx(0, abs=1e-12)
    assert (told.entropy_share, told.perplexity) == (pytest.approx(1), pytest.approx(200))
    assert (told.top_1, told.top_5, told.top_10) == (pytest.approx(0.01), pytest.approx(0.05), pytest.approx(0.1))
    assert told.highest_to_lowest == 1


def test_one_patch_with_everything_is_one_cluster() -> None:
    values = np.zeros(100)
    values[40] = 3.0
    told = c.concentration(values, "attention_softmax", _line(100))
    assert told.gini == pytest.approx(0.99)
    assert (told.entropy_share, told.perplexity, told.top_1, told.clusters) == (0, 1, 1, 1)
    assert told.highest_to_lowest == math.inf


def test_gini_equals_the_mean_absolute_difference_to_1e_12() -> None:
    shares = c.mass_shares(np.random.default_rng(3).gamma(0.4, size=300), "attention_softmax")
    pairs = np.abs(shares[:, None] - shares[None]).sum()
    assert abs(c.gini(shares) - pairs / (2 * len(shares) * shares.sum() * len(shares)) * len(shares)) < 1e-12


def test_gini_of_many_patches_does_not_depend_on_threads() -> None:
    """Vectors that NumPy would multiply in threads are cut, and the sum is the same."""
    shares = np.sort(np.random.default_rng(4).random(25_000))
    ranks = 2 * np.arange(1, len(shares) + 1) - len(shares) - 1
    exact = math.fsum(ranks * shares) / (len(shares) * math.fsum(shares))
    assert abs(c.gini(shares) - exact) < 1e-12
    parts = [slice(0, 10_000), slice(10_000, 20_000), slice(20_000, None)]
    assert c.gini(shares) == sum(float(ranks[at] @ shares[at]) for at in parts) / (len(shares) * shares.sum())


def test_logits_go_through_the_softmax_and_signed_scores_count_by_their_positive_part() -> None:
    np.testing.assert_allclose(c.mass_shares([0.0, math.log(3)], "attention_logit"), [0.25, 0.75])
    np.testing.assert_allclose(c.mass_shares([-5.0, 1.0, 3.0], "class_contribution"), [0, 0.25, 0.75])
    assert c.mass_shares([1e9, np.nan, -np.inf], "attention_logit").tolist() == [1, 0, 0]


def test_patches_without_a_score_are_left_out() -> None:
    told = c.concentration([1.0, np.nan, 1.0, 1.0], "attention_softmax", _line(4))
    assert (told.patches, told.perplexity) == (3, pytest.approx(3))


def test_clusters_are_joined_diagonally_and_counted_until_they_hold_the_share() -> None:
    coords = np.array([[0, 0], [256, 256], [1024, 0], [2048, 0]] + [[k * 256, 4096] for k in range(76)], np.int64)
    grid = PatchGrid(coords, (256, 256), (256, 256))
    shares = np.zeros(80)
    shares[:4] = [0.4, 0.1, 0.3, 0.2]
    assert c.clusters_of_top(grid, shares) == 2  # 0.5 and 0.3 hold 80 %
    assert c.clusters_of_top(grid, shares, held=0.81) == 3
    assert c.spatial_clusters(grid, np.array([0, 1, 2])).tolist() == [0, 0, 1]


@pytest.mark.parametrize("seed", range(6))
def test_clusters_of_one_lattice_are_those_of_any_places(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(seed)
    cells = np.unique(dice.integers(0, 12, (int(dice.integers(1, 90)), 2)), axis=0)
    grid = PatchGrid(dice.permutation(cells) * (300, 200) + (7, 5), (300, 200), (300, 200))
    some = dice.permutation(len(grid))[: 1 + len(grid) // 2]
    on_image = c.spatial_clusters(grid, some)
    monkeypatch.setattr(c, "_MOST_CELLS", 0)
    assert on_image.tolist() == c.spatial_clusters(grid, some).tolist()


def test_nothing_has_no_concentration() -> None:
    for values in ([], [np.nan], [0.0, 0.0]):
        told = c.concentration(values, "attention_softmax", _line(len(values)) if values else None)
        assert math.isnan(told.gini)
        assert math.isnan(told.top_5)
