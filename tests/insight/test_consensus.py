"""What several models say of the same patches, in arrays; other grids of one slide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.insight.consensus import consensus
from mil_heatmaps.insight.consensus_files import consensus_of_slide
from mil_heatmaps.insight.matching import on_grid
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.quick_read import QuickScores, read_quickly
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.slides.patch_grid import PatchGrid
from tests.helpers.features import grid_coords
from tests.helpers.scores import example


def _quick(grid: PatchGrid, values: np.ndarray, **told: object) -> QuickScores:
    column = np.asarray(values, np.float32)
    column = column[:, None] if column.ndim == 1 else column
    names = ("attention",) if column.shape[1] == 1 else ("a", "b")
    return QuickScores(PatchScores(grid, column, names, "attention_logit"), grid, **told)  # type: ignore[arg-type]


def _prediction(*chances: float, classes: tuple[str, ...] = ("a", "b")) -> Prediction:
    values = np.array(chances, np.float32)
    return Prediction(classes, values, np.log(values))


def test_ranks_mean_spread_and_votes_are_exact() -> None:
    found = consensus([[1.0, 2, 3, 4], [4.0, 3, 2, 1], [10.0, 20, 30, 40]], top=0.25)
    np.testing.assert_allclose(found.mean, [(0.25 + 1 + 0.25) / 3, (0.5 + 0.75 + 0.5) / 3, 2 / 3, 0.75])
    rising = [0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(found.spread, np.std([rising, rising[::-1], rising], 0))
    assert found.votes.tolist() == [1, 0, 0, 2]
    agreed = found.agreement()
    assert agreed[0, 1].spearman == pytest.approx(-1)
    assert (agreed[0, 2].spearman, agreed[0, 2].jaccard, agreed[0, 1].jaccard) == (pytest.approx(1), 1, 0)


def test_spearman_and_jaccard_equal_their_definitions_with_ties() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 9, 200).astype(float), rng.normal(size=200)
    agreed = consensus([a, b], top=0.1).agreement()[0, 1]
    assert agreed.spearman == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    top_a, top_b = set(np.flatnonzero(a >= np.sort(a)[-20])), set(np.argsort(-b)[:20])
    assert agreed.jaccard == pytest.approx(len(top_a & top_b) / len(top_a | top_b))


def test_patches_that_one_model_does_not_score_have_no_consensus() -> None:
    found = consensus([[1.0, np.nan, 3], [3.0, 2, 1]])
    assert found.patches == 2
    assert np.isnan(found.mean).tolist() == [False, True, False]
    scores = found.scores(PatchGrid(grid_coords(3, 1), (256, 256), (256, 256)), 1)
    assert np.isnan(scores.values[1]).all()


def test_a_constant_map_has_no_rank_correlation() -> None:
    assert np.isnan(consensus([[1.0, 1, 1], [1.0, 2, 3]]).agreement()[0, 1].spearman)


@pytest.mark.parametrize(
    ("arrays", "top"), [([[1.0]], 0.1), ([[1.0], [1.0, 2]], 0.1), ([[1.0], [2.0]], 0), ([[1.0]] * 2, 1)]
)
def test_what_cannot_be_compared_is_refused(arrays: list[list[float]], top: float) -> None:
    with pytest.raises(ScoreError):
        consensus(arrays, top)


def test_a_finer_grid_gives_each_patch_the_mean_of_what_covers_it() -> None:
    coarse = PatchGrid(grid_coords(2, 1), (256, 256), (256, 256))
    fine = PatchGrid(grid_coords(4, 2, 128), (128, 128), (128, 128))
    values, weighed = on_grid([1.0, 3, 5, 7, 1, 3, 5, 7], fine, coarse)
    assert (values.tolist(), weighed) == ([2, 6], True)
    back, _ = on_grid([2.0, 6], coarse, fine)
    assert back.tolist() == [2, 2, 6, 6, 2, 2, 6, 6]


def test_areas_weigh_and_a_patch_that_is_mostly_uncovered_has_no_number() -> None:
    target = PatchGrid(np.array([[0, 0], [1000, 0]], np.int64), (100, 100), (100, 100))
    shifted = PatchGrid(np.array([[-25, 0], [75, 0], [1060, 0]], np.int64), (100, 100), (100, 100))
    values, weighed = on_grid([1.0, 5.0, 9.0], shifted, target)
    assert weighed
    assert values[0] == pytest.approx(0.75 * 1 + 0.25 * 5)
    assert np.isnan(values[1])


def test_different_grids_are_matched_by_area_and_the_table_says_so() -> None:
    fine = PatchGrid(grid_coords(8, 8, 128), (128, 128), (128, 128))
    coarse = PatchGrid(grid_coords(4, 4), (256, 256), (256, 256))
    x = fine.coords_l0[:, 0] + 3.0 * fine.coords_l0[:, 1]
    y = coarse.coords_l0[:, 0] + 3.0 * coarse.coords_l0[:, 1]
    found, rows, notices = consensus_of_slide({"E": _quick(coarse, y), "F": _quick(fine, x), "G": _quick(coarse, y)})
    assert [row["matched"] for row in rows] == ["area", "corner", "area"]
    assert all(row["spearman"] == pytest.approx(1) for row in rows)
    assert found.patches == 16
    assert [notice.code for notice in notices] == ["consensus_grids"]
    assert "F were matched to those of E by area (E 256 px, F 128 px, G 256 px)" in notices[0]


def test_models_of_other_classes_or_tasks_and_slides_of_another_size_are_named() -> None:
    grid = PatchGrid(grid_coords(2, 2), (256, 256), (256, 256))
    one = _quick(grid, np.arange(4), prediction=_prediction(0.4, 0.6), slide_size_l0=(512, 512))
    other = _quick(grid, np.arange(4), prediction=_prediction(0.4, 0.6, classes=("x", "y")))
    with pytest.raises(ScoreError, match=r"different classes .*E a/b, F x/y"):
        consensus_of_slide({"E": one, "F": other})
    with pytest.raises(ScoreError, match=r"different sizes of the slide .*E 512 x 512, F 600 x 512"):
        consensus_of_slide({"E": one, "F": _quick(grid, np.arange(4), slide_size_l0=(600, 512))})


def test_where_models_predict_different_classes_the_class_of_most_is_compared_and_said() -> None:
    grid = PatchGrid(grid_coords(2, 2), (256, 256), (256, 256))
    values = np.array([[1, 4], [2, 3], [3, 2], [4, 1.0]])
    read = {
        name: _quick(grid, values, prediction=_prediction(*chances))
        for name, chances in {"E": (0.4, 0.6), "F": (0.3, 0.7), "G": (0.9, 0.1)}.items()
    }
    found, _, notices = consensus_of_slide(read)
    assert found.mean.tolist() == [1, 0.75, 0.5, 0.25]
    assert notices[0] == "the models predict different classes; compared are their scores for b, which 2 of 3 predict"


def test_a_model_with_one_column_serves_the_class_of_the_others() -> None:
    grid = PatchGrid(grid_coords(2, 2), (256, 256), (256, 256))
    read = {
        "E": _quick(grid, np.arange(4), prediction=_prediction(0.4, 0.6)),
        "F": _quick(grid, np.array([[4, 1], [3, 2], [2, 3], [1, 4.0]]), prediction=_prediction(0.4, 0.6)),
    }
    found, rows, notices = consensus_of_slide(read)
    assert (rows[0]["spearman"], notices) == (pytest.approx(1), [])
    assert found.mean.tolist() == [0.25, 0.5, 0.75, 1]


def test_quick_reading_gives_what_the_whole_file_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("q") / "s_blockmap.h5"
    whole = example(400)
    write_scores(path, whole)
    quick = read_quickly(path)
    np.testing.assert_array_equal(quick.scores.values, whole.scores.values)
    np.testing.assert_array_equal(quick.grid.coords_l0, whole.grid.coords_l0)
    assert (quick.slide_id, quick.slide_size_l0, quick.level0_mpp) == ("TCGA-1.ä", (5000, 4000), 0.2527)
    assert quick.prediction is not None
    assert quick.prediction.classes == ("LUAD", "LSCC")
