"""TransMIL and Nystrom attention: MIL-Lab's numbers, streamed."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mil_heatmaps.models.nystrom import NystromAttention, iterative_pinv
from mil_heatmaps.models.transmil import PyramidPositions, TransMIL, square_of
from tests.helpers.mil_lab_checks import (
    assert_chunking_changes_nothing,
    assert_close,
    assert_exact_in_double,
    assert_golden,
    assert_half_precision_features_are_widened,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import build, case_names, load_case, needs_golden


def small(**settings: Any) -> TransMIL:
    torch.manual_seed(0)
    return TransMIL(**({"in_dim": 24, "embed_dim": 16, "num_classes": 3} | settings)).eval()


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


def dense_nystrom(layer: NystromAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer's output (B, n, E) of x and row 0 of A1 Z A3 (B, H, n), every matrix in full."""
    batch, n, _ = x.shape
    m = layer.landmarks
    padding = (m - n % m) % m
    padded = torch.cat([x.new_zeros(batch, padding, x.shape[2]), x], dim=1)
    length = padded.shape[1] // m
    q, k, v = (
        part.reshape(batch, n + padding, layer.heads, -1).transpose(1, 2)
        for part in layer.to_qkv(padded).chunk(3, dim=-1)
    )
    q = q * layer.scale
    ql, kl = (part.reshape(batch, layer.heads, m, length, -1).mean(dim=3) for part in (q, k))
    first, second, third = (torch.softmax(a @ b.transpose(-1, -2), dim=-1) for a, b in ((q, kl), (ql, kl), (ql, k)))
    weights = first @ iterative_pinv(second) @ third
    out = weights @ v + layer.res_conv(v)
    out = out.transpose(1, 2).reshape(batch, n + padding, -1)
    return layer.to_out(out)[:, padding:], weights[:, :, padding, padding:]


@pytest.mark.parametrize("n", [1, 3, 8, 9, 40, 100])
@pytest.mark.parametrize("gradients", [True, False])
def test_streamed_nystrom_is_the_dense_one_at_any_length(n: int, gradients: bool) -> None:
    torch.manual_seed(0)
    layer, norm = NystromAttention(12, heads=2, head_dim=5, landmarks=8).double(), nn.LayerNorm(12).double()
    x = torch.randn(2, n, 12, dtype=torch.float64)
    expected, row = dense_nystrom(layer, norm(x))
    with torch.set_grad_enabled(gradients):
        first, first_row = layer.first_row(x.clone(), norm, row_weights=True)
        out, weights = layer(x.clone(), norm, row_weights=True)
    np.testing.assert_allclose(out.detach(), (x + expected).detach(), atol=1e-12)
    np.testing.assert_allclose(first.detach(), (x + expected)[:, :1].detach(), atol=1e-12)
    np.testing.assert_allclose(weights.detach(), row.detach(), atol=1e-12)
    np.testing.assert_allclose(first_row.detach(), row.detach(), atol=1e-12)


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


@pytest.mark.parametrize("layers", [1, 3])
def test_the_chunking_does_not_change_the_result(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_chunking_changes_nothing(small(num_attention_layers=layers), 150, monkeypatch)


def test_half_precision_features_are_widened() -> None:
    assert_half_precision_features_are_widened(small())


def test_it_trains() -> None:
    assert_trains(small())


def test_a_model_in_half_precision_gives_nearly_the_same() -> None:  # MIL-Lab raises
    model, x = small(), random_features(60)
    whole = model.explain(x, ["attention"])
    halved = model.to(torch.bfloat16).explain(x, ["attention"])
    np.testing.assert_allclose(halved.logits, whole.logits, atol=0.1)
    np.testing.assert_allclose(halved.scores["attention"].values, whole.scores["attention"].values, atol=0.02)
