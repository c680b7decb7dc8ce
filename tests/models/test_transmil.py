"""TransMIL: MIL-Lab's numbers, positions from a square of patches."""

from functools import partial

import numpy as np
import pytest
import torch

from mil_heatmaps.layers.square import PyramidPositions, square_of
from tests.helpers.mil_lab_checks import (
    assert_close,
    assert_exact_in_double,
    assert_golden,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import build, case_names, load_case, needs_golden
from tests.helpers.small_models import small_model

small = partial(small_model, "transmil")


@needs_golden
@pytest.mark.parametrize("name", case_names("transmil"))
def test_golden_numbers_at_every_bag_size(name: str) -> None:
    case, model = assert_golden(name)
    n = len(case.features)
    explanation = model.explain(case.features, list(model.score_specs()))
    rows = case.arrays["cls_nystrom_attention"]
    for block, heads in enumerate(rows):
        ours = explanation.scores[f"attention_block{block}_heads"]
        assert ours.kind == "nystrom_attention"
        assert_close(ours.values.T, heads)
        assert_close(explanation.scores[f"attention_block{block}"].values[:, 0], heads.mean(axis=0))
    assert_close(explanation.scores["attention"].values[:, 0], rows[-1].mean(axis=0))
    error = case.entry["fp32_vs_fp64"]["attention_abs"]
    similarity = explanation.scores["similarity"]
    assert_close(similarity.values[:, 0], case.arrays["attention"][0, :n], error)
    assert similarity.kind == "similarity"
    assert_exact_in_double(name)


@needs_golden
def test_a_batch_couples_its_bags_as_upstream() -> None:
    case = load_case("small_transmil")
    model = build(case)
    x = torch.from_numpy(case.features)
    results, log = model(torch.stack([x, 0.5 * x.flip(0)]), return_attention=True)
    assert_close(results["logits"], case.arrays["logits_batch2"])
    error = case.entry["fp32_vs_fp64"]["attention_abs"]
    assert_close(log["attention"], case.arrays["attention_batch2"], error)
    alone, _ = model(0.5 * x.flip(0))
    assert_close(alone["logits"], case.arrays["logits_second_alone"])


def test_positions_as_one_kernel_are_three_convolutions_and_the_identity() -> None:
    torch.manual_seed(0)
    layer = PyramidPositions(6).double()
    tokens = torch.randn(2, 25, 6, dtype=torch.float64)
    square = tokens.transpose(1, 2).reshape(2, 6, 5, 5)
    expected = layer.proj(square) + layer.proj1(square) + layer.proj2(square) + square
    expected = expected.reshape(2, 6, 25).transpose(1, 2)
    np.testing.assert_allclose(layer(tokens).detach(), expected.detach(), atol=1e-12)
    with torch.no_grad():
        np.testing.assert_allclose(layer(tokens), expected, atol=1e-12)


def test_the_square_of_a_bag_is_the_least_that_holds_it() -> None:
    assert [square_of(n) for n in (1, 2, 4, 5, 137, 144, 99_999)] == [1, 4, 4, 9, 144, 144, 317**2]


def test_it_trains() -> None:
    assert_trains(small())


def test_a_model_in_half_precision_gives_nearly_the_same() -> None:  # MIL-Lab raises
    model, x = small(), random_features(60)
    whole = model.explain(x, ["attention"])
    halved = model.to(torch.bfloat16).explain(x, ["attention"])
    np.testing.assert_allclose(halved.logits, whole.logits, atol=0.1)
    np.testing.assert_allclose(halved.scores["attention"].values, whole.scores["attention"].values, atol=0.02)
