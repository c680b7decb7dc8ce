"""Transformer: MIL-Lab's numbers on the right forward, class-token rows and rollout without a square matrix."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import ModelError
from mil_heatmaps.models import memory
from mil_heatmaps.models.transformer import Transformer
from tests.helpers.mil_lab_checks import (
    assert_close,
    assert_exact_in_double,
    assert_golden,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import case_names, needs_golden
from tests.helpers.small_models import small_model

small = partial(small_model, "transformer")


@needs_golden
@pytest.mark.parametrize("name", case_names("transformer"))
def test_golden_numbers_at_every_bag_size(name: str) -> None:
    case, model = assert_golden(name, "logits_return_attention_false")
    _, log = model(torch.from_numpy(case.features), return_slide_feats=True, return_attention=True)
    assert_close(log["slide_feats"], case.arrays["slide_feats_return_attention_false"])
    scores = model.explain(case.features, list(model.score_specs())).scores
    rows = case.arrays["cls_attention_heads"][:, :, 1:]
    for block, heads in enumerate(rows):
        assert_close(scores[f"attention_block{block}_heads"].values.T, heads)
        assert_close(scores[f"attention_block{block}"].values[:, 0], heads.mean(axis=0))
    assert_close(scores["attention"].values[:, 0], rows[-1].mean(axis=0))
    assert_close(scores["attention_heads"].values.T, rows[-1])
    assert_close(scores["rollout"].values[:, 0], case.arrays["rollout_cls"])
    assert_close(scores["attention_block0"].values[:, 0], case.arrays["attention"][0, 0, 1:])
    assert_exact_in_double(name, "logits_return_attention_false_f64")


def test_asking_for_attention_does_not_change_the_logits() -> None:  # MIL-Lab's class changes
    model, x = small(), torch.from_numpy(random_features(30))
    plain, _ = model(x)
    asked, log = model(x, return_attention=True)
    assert torch.equal(plain["logits"], asked["logits"])
    np.testing.assert_allclose(log["attention"].sum(dim=-1).detach(), 1, atol=1e-6)


def naive_rows(model: Transformer, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return logits and every block's attention (H, N+1, N+1) by nn.MultiheadAttention, all in full."""
    parts = model.model
    tokens = torch.cat([parts.cls_token[0], parts.patch_embed(x)])[None]
    matrices = []
    for block in parts.blocks:
        normed = block.norm(tokens)
        out, attention = block.attention(normed, normed, normed, average_attn_weights=False)
        matrices.append(attention[0])
        tokens = tokens + out
        if hasattr(block, "mlp"):
            tokens = tokens + block.mlp(block.norm2(tokens))
    return parts.classifier(parts.norm(tokens[:, 0])), matrices


@pytest.mark.parametrize("settings", [{}, {"num_attention_layers": 1}, {"encoder_mlp_dim": -1}])
def test_rows_and_rollout_are_those_of_the_full_matrices(settings: dict[str, Any]) -> None:
    model, x = small(**settings).double(), random_features(90)
    with torch.no_grad():
        logits, matrices = naive_rows(model, torch.from_numpy(x).double())
    product = torch.eye(91, dtype=torch.float64)
    for matrix in matrices:
        product = (0.5 * matrix.mean(dim=0) + 0.5 * torch.eye(91)) @ product
    explanation = model.explain(x, list(model.score_specs()))
    np.testing.assert_allclose(explanation.logits, logits[0], atol=1e-6)
    np.testing.assert_allclose(explanation.scores["rollout"].values[:, 0], product[0, 1:], atol=1e-7)
    for block, matrix in enumerate(matrices):
        heads = explanation.scores[f"attention_block{block}_heads"].values
        np.testing.assert_allclose(heads.T, matrix[:, 0, 1:], atol=1e-7)


def test_it_trains() -> None:
    # a bias of the keys cancels in the softmax, a third of in_proj_bias; the tensor as a whole trains
    assert_trains(small())


def test_a_batch_is_its_bags() -> None:  # MIL-Lab raises
    model, x = small(), torch.from_numpy(random_features(24)).reshape(2, 12, 24)
    together, _ = model(x)
    for i in range(2):
        alone, _ = model(x[i])
        np.testing.assert_allclose(together["logits"][i].detach(), alone["logits"][0].detach(), atol=1e-6)


def test_what_cannot_fit_says_so_before_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small(), torch.from_numpy(random_features(2000))
    monkeypatch.setattr(memory, "available_bytes", lambda device: model.memory_estimate(2000) + 2**20)
    message = r"matrix of 2,000 patches \(explain\(\) gives patch scores without it\) needs about 0"
    with pytest.raises(ModelError, match=message):
        model(x, return_attention=True)
    assert model.explain(x).scores["attention"].values.shape == (2000, 1)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**20)
    with pytest.raises(ModelError, match="transformer on 2,000 patches needs about"):
        model.explain(x)


def test_the_estimate_grows_with_the_patches_not_their_square() -> None:
    model = small()
    fixed = model.memory_estimate(0)
    assert model.memory_estimate(400_000) - fixed < 2.1 * (model.memory_estimate(200_000) - fixed)


def test_contributions_are_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match="not linear"):
        small().patch_scores(random_features(5), "class_contribution")
