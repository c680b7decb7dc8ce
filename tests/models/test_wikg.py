"""WiKG: MIL-Lab's numbers; readout weights; neighbours without the N x N matrix."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mil_heatmaps.errors import ModelError
from mil_heatmaps.models import memory
from mil_heatmaps.models.wikg import WiKG
from tests.helpers.mil_lab_checks import (
    assert_close,
    assert_exact_in_double,
    assert_golden,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import case_names, needs_golden
from tests.helpers.small_models import small_model

small = partial(small_model, "wikg")


@needs_golden
@pytest.mark.parametrize("name", case_names("wikg"))
def test_golden_numbers_at_every_bag_size(name: str) -> None:
    case, model = assert_golden(name)
    x = torch.from_numpy(case.features)
    _, log = model(x, return_slide_feats=True)
    assert_close(log["slide_feats"], case.arrays["slide_feats"])
    with torch.no_grad():
        nodes = list(model.nodes(model.model.patch_embed(x)))
    index = np.concatenate([part.index for part in nodes])
    assert (index == case.arrays["topk_index"]).all()
    total = torch.cat([part.nodes for part in nodes]).sum(dim=-1)
    assert_close(total, case.arrays["node_embed_sum"], 1e-5)
    scores = model.explain(case.features, list(model.score_specs())).scores
    if case.entry["config"]["pool"] == "attn":
        assert model.default_score == "attention"
        assert_close(scores["attention"].values[:, 0], case.arrays["readout_attention"])
        assert_close(scores["attention_logit"].values[:, 0], case.arrays["readout_gate_raw"])
    received = scores["attention_received"].values[:, 0] * len(x)
    assert_close(received, case.arrays["attention_column_sum"])
    assert_exact_in_double(name)


def dense_logits(model: WiKG, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (C,) and pooled nodes before the norm, by the paper's formulas with the whole matrix."""
    parts = model.model
    h = parts.patch_embed(x)
    h = (h + h.mean(dim=0)) / 2
    e, t = parts.W_head(h), parts.W_tail(h)
    best = (e @ t.T * e.shape[1] ** -0.5).topk(min(model.topk, len(x)), dim=-1)
    p, others = torch.softmax(best.values, dim=-1), t[best.indices]
    g = torch.tanh(e[:, None] + p[..., None] * others)
    w = torch.softmax((g * others).sum(dim=-1), dim=-1)
    m = (w[..., None] * others).sum(dim=1)
    if model.agg_type == "bi-interaction":
        z = F.leaky_relu(parts.linear1(e + m)) + F.leaky_relu(parts.linear2(e * m))
    else:
        z = F.leaky_relu(parts.linear(e + m if model.agg_type == "gcn" else torch.cat([e, m], dim=-1)))
    if model.pool == "attn":
        pooled = (torch.softmax(parts.readout.gate_nn(z), dim=0) * z).sum(dim=0)
    else:
        pooled = z.mean(dim=0) if model.pool == "mean" else z.amax(dim=0)
    return parts.classifier(parts.norm(pooled)), z


@pytest.mark.parametrize("agg_type", ["bi-interaction", "gcn", "sage"])
@pytest.mark.parametrize("pool", ["attn", "mean", "max"])
def test_every_aggregation_and_readout_is_the_dense_one(agg_type: str, pool: str) -> None:
    model = small(agg_type=agg_type, pool=pool, topk=6).double()
    for n in (1, 2, 5, 90, 500):
        x = random_features(n)
        with torch.no_grad():
            logits, nodes = dense_logits(model, torch.from_numpy(x).double())
        explanation = model.explain(x, list(model.score_specs()))
        np.testing.assert_allclose(explanation.logits, logits, atol=1e-6)
        for name in ("attention", "max_share", "attention_received"):
            if name in explanation.scores:
                assert explanation.scores[name].values.sum() == pytest.approx(1, abs=1e-5)
    if pool == "max":
        winners = torch.bincount(nodes.argmax(dim=0), minlength=n) / nodes.shape[1]
        np.testing.assert_allclose(explanation.scores["max_share"].values[:, 0], winners, atol=1e-7)


def test_identical_patches_are_no_trouble() -> None:
    model = small().double()
    x = np.repeat(random_features(3), 200, axis=0)
    with torch.no_grad():
        logits, _ = dense_logits(model, torch.from_numpy(x).double())
    np.testing.assert_allclose(model.explain(x).logits, logits, atol=1e-6)


def test_fewer_patches_than_neighbours_listen_to_all_there_are() -> None:  # MIL-Lab raises
    model = small(topk=4)
    _, log = model(torch.from_numpy(random_features(2)), return_attention=True)
    assert log["attention"].shape == (1, 2, 2)
    assert (log["attention"] > 0).all()
    np.testing.assert_allclose(log["attention"].sum(dim=-1).detach(), 1, atol=1e-6)


def test_a_batch_is_its_bags() -> None:
    model, x = small(), torch.from_numpy(random_features(24)).reshape(2, 12, 24)
    together, log = model(x, return_attention=True)
    assert together["logits"].shape == (2, 3)  # MIL-Lab's comes out (2, 1, 3)
    for i in range(2):
        alone, alone_log = model(x[i], return_attention=True)
        np.testing.assert_allclose(together["logits"][i].detach(), alone["logits"][0].detach(), atol=1e-6)
        np.testing.assert_allclose(log["attention"][i].detach(), alone_log["attention"][0].detach(), atol=1e-6)


def test_it_trains_all_but_the_gates_nothing_uses() -> None:
    assert_trains(small(), untouched=("model.gate_U", "model.gate_V", "model.gate_W"))


def test_a_readout_without_attention_says_so() -> None:
    model = small(pool="mean")
    assert model.default_score == "attention_received"
    with pytest.raises(ModelError, match="its readout is a plain mean, which has no attention; choose from"):
        model.patch_scores(random_features(5), "attention")


def test_the_square_matrix_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small(), torch.from_numpy(random_features(3000))
    monkeypatch.setattr(memory, "available_bytes", lambda device: model.memory_estimate(3000) + 2**20)
    with pytest.raises(ModelError, match=r"neighbour matrix of 3,000 patches \(explain\(\) gives"):
        model(x, return_attention=True)
    assert model(x)[0]["logits"].shape == (1, 3)
    assert len(model.explain(x).scores["attention"]) == 3000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agg_type": "gat"}, "unknown agg_type 'gat'; choose from"),
        ({"pool": "sum"}, r"unknown pool 'sum'; choose from \['attn', 'mean', 'max'\]"),
        ({"act": "swish"}, "unknown act 'swish'"),
        ({"topk": 0}, "topk must be at least 1"),
    ],
)
def test_settings_that_do_not_exist_list_those_that_do(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small(**settings)
