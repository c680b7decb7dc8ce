"""Layouts of public families beside ABMIL's, against their formulas in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.models.inference import infer
from tests.helpers.public_layouts import Built, dsmil, load, loads_as, same
from tests.helpers.public_models import (
    D,
    E,
    Maker,
    N,
    head,
    pooled,
    relu,
    softmax,
)  # fmt: skip


@pytest.mark.parametrize(
    ("version", "values", "classes"),
    [("linear", True, 3), ("linear", False, 2), ("shared", True, 2), ("deep", False, 1), ("deep", True, 3)],
)
def test_dsmil_in_all_versions(version: str, values: bool, classes: int, tmp_path: Path) -> None:
    made = dsmil(version, values=values, classes=classes)
    maker, answer = made
    maker.weights["i_classifier.feature_extractor.0.weight"] = torch.zeros(4, 3, 7, 7)  # stored along
    bag, best = answer["chances"]
    for average, chances in ((False, bag), (True, (bag + best) / 2)):
        model = loads_as(made, tmp_path, average=average)
        if average:  # half of it is the best patch's
            with pytest.raises(ModelError, match=r"do not follow from its logits.*output: logit"):
                model.explain(maker.x, ["leave_one_out"], settings={"output": "probability"})
        prediction, _ = infer(model, maker.x)
        assert prediction is not None
        np.testing.assert_allclose(prediction.probabilities[-classes:], chances, atol=1e-5)
        assert prediction.independent == (classes > 1)
        if classes == 1:
            np.testing.assert_allclose(prediction.probabilities.sum(), 1, atol=1e-6)
        else:
            assert prediction.predicted == int(np.argmax(chances))
            assert "chance of its own" in " ".join(prediction.details)


def test_dsmils_values_with_relu_are_a_setting(tmp_path: Path, caplog: Any) -> None:
    loads_as(dsmil("linear", values=True), tmp_path)
    assert "value_relu is not in the checkpoint, assumed False" in caplog.text
    loads_as(dsmil("linear", values=True, value_relu=True), tmp_path, value_relu=True)


def test_acmil_with_residual_blocks_and_without_bias(tmp_path: Path) -> None:
    maker = Maker()
    h = relu(maker.linear("module.dimreduction.fc1", D, E, bias=False)(maker.x))
    h = maker.blocks("module.dimreduction.resBlocks", 1, E)(h)
    keys = [f"module.attention.{key}" for key in ("attention_V.0", "attention_U.0", "attention_weights")]
    raw = maker.gated(*keys, E, 4)(h)
    for k in range(4):
        maker.linear(f"module.classifier.{k}.fc", E, 2)
    weight, rest = head(maker, "module.Slide_classifier.fc", 2, E)
    shares = softmax(raw)
    answer = pooled(h, raw, shares, np.repeat(weight, 4, axis=0) / 4, rest)
    assert loads_as((maker, answer), tmp_path).name == "acmil_ga"


@pytest.mark.parametrize("heads", [8, 4])
def test_acmil_with_other_numbers_of_heads(heads: int, tmp_path: Path) -> None:
    maker, width, tokens = Maker(), 16, 3
    h = relu(maker.linear("dimreduction.fc1", D, width, bias=False)(maker.x))
    q = maker.tensor("q", 1, tokens, width)
    shares = np.zeros((N, heads))
    for k in range(tokens):
        query = maker.linear(f"sub_attention.{k}.q_proj", width, width)(q[0, k]).reshape(heads, -1)
        key = maker.linear(f"sub_attention.{k}.k_proj", width, width)(h).reshape(N, heads, -1)
        shares += softmax(np.einsum("jd,njd->nj", query, key) / (width / heads) ** 0.5) / tokens
        maker.linear(f"sub_attention.{k}.v_proj", width, width)
        maker.linear(f"sub_attention.{k}.out_proj", width, width)
        maker.norm(f"sub_attention.{k}.layer_norm", width, stored=False)
        maker.linear(f"classifier.{k}.fc", width, 2)
    values = maker.linear("bag_attention.v_proj", width, width)(h).reshape(N, heads, -1)
    z = maker.linear("bag_attention.out_proj", width, width)(np.einsum("nj,njd->jd", shares, values).reshape(-1))
    gamma = maker.tensor("bag_attention.layer_norm.weight", width)
    beta = maker.tensor("bag_attention.layer_norm.bias", width)
    z = (z - z.mean()) / np.sqrt(z.var() + 1e-6) * gamma + beta
    logits = maker.linear("Slide_classifier.fc", width, 2)(z)
    answer = {"logits": logits, "attention_heads": shares, "attention_mean": shares.mean(1)}
    loads_as((maker, answer), tmp_path, **({} if heads == 8 else {"num_heads": heads}))
    with pytest.raises(CheckpointError, match="must be a multiple of num_heads 7"):
        load((maker, answer), tmp_path, num_heads=7)


def dtfd(distill: str, groups: int, total: int, blocks: int = 0) -> tuple[dict[str, Any], Built]:
    import random

    maker = Maker()
    h = relu(maker.linear("dim_reduction.fc1", D, E, bias=False)(maker.x))
    h = maker.blocks("dim_reduction.resBlocks", blocks, E)(h)
    first = maker.gated(*[f"attention.{k}" for k in ("attention_V.0", "attention_U.0", "attention_weights")], E)
    second = maker.gated(
        *[f"att_classifier.attention.{k}" for k in ("attention_V.0", "attention_U.0", "attention_weights")], E
    )
    ranking = head(maker, "classifier.fc", 2, E)[0][0]
    weight, rest = head(maker, "att_classifier.classifier.fc", 2, E)
    raw = first(h)

    def grouping(seed: int) -> Any:
        order = list(range(N))
        random.Random(seed).shuffle(order)
        entering, patches, inner = [], [], []
        for group in np.array_split(np.array(order), groups):
            t = softmax(raw[group, 0]) if len(group) else np.zeros(0)
            if distill == "AFS":
                entering.append(t @ h[group])
                patches.append(group)
                inner.append(t)
                continue
            rank = softmax(t[:, None] * (h[group] @ ranking.T), axis=1)[:, -1]
            best, n = group[np.argsort(-rank, kind="stable")], total // groups
            for patch in [*best[:n], *(best[-n:] if distill == "MaxMinS" else ())]:
                entering.append(h[patch])
                patches.append(np.array([patch]))
                inner.append(np.ones(1))
        u = softmax(second(np.stack(entering))[:, 0])
        w = np.zeros(N)
        for share, where, t in zip(u, patches, inner, strict=True):
            np.add.at(w, where, share * t)
        return w, (u @ np.stack(entering)) @ weight[0].T + rest

    w, logits = grouping(0)
    mean = np.mean([grouping(seed)[0] for seed in range(16)], axis=0)
    votes = h @ weight[0].T
    answer = {
        "logits": logits, "attention": raw, "attention_softmax": w, "attention_softmax_mean": mean,
        "class_contribution": w[:, None] * votes, "class_contribution_mean": mean[:, None] * votes,
    }  # fmt: skip
    parts: dict[str, dict[str, Any]] = {}
    for key, value in maker.weights.items():
        part, _, rest_of = key.partition(".")
        parts.setdefault(part, {})[f"module.{rest_of}"] = value
    return parts, (maker, answer)


@pytest.mark.parametrize(
    ("distill", "groups", "total", "blocks"),
    [("AFS", 4, 4, 1), ("AFS", 40, 40, 0), ("MaxS", 3, 6, 0), ("MaxMinS", 3, 6, 0), ("MaxMinS", 12, 24, 0)],
)
def test_dtfd_in_all_ways_of_distilling(distill: str, groups: int, total: int, blocks: int, tmp_path: Path) -> None:
    parts, made = dtfd(distill, groups, total, blocks)
    torch.save(parts, tmp_path / "m.pth")
    model = model_from_checkpoint(tmp_path / "m.pth", distill=distill, num_group=groups, total_instance=total)
    assert model.name == "dtfd_original"
    same(model, made)


@pytest.mark.parametrize("stored", [True, False])
def test_additive_mil_with_and_without_stored_statistics(stored: bool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("mil_heatmaps.layers.bag.CHUNK_ROWS", 5)
    maker = Maker()
    x = maker.x.astype(float)
    one, norm = maker.linear("pointer.model.0", D, E), maker.norm("pointer.model.1", E, stored)
    two, second = maker.linear("pointer.model.3", E, E), maker.norm("pointer.model.4", E, stored)
    last = maker.linear("pointer.model.6", E, 1)

    def leaky(z: Any) -> Any:
        return np.where(z > 0, z, 0.2 * z)

    raw = last(leaky(second(two(leaky(norm(one(x)))))))
    shares = softmax(raw)
    first, final = maker.linear("classifier.model.0", D, E), maker.linear("classifier.model.2", E, 3)
    contributions = final(relu(first(shares * x)))
    answer = {"class_contribution": contributions, "attention": raw, "attention_softmax": shares}
    loads_as((maker, answer | {"logits": contributions.sum(0)}), tmp_path)


def test_attrimil_of_three_classes_does_not_overflow(tmp_path: Path) -> None:
    maker = Maker()
    maker.x *= 30
    one, two = maker.linear("adaptor.0", D, 4), maker.linear("adaptor.2", 4, D)
    h = maker.x + two(relu(one(maker.x)))
    keys = ("attention_a.0", "attention_b.0", "attention_c")
    raw = np.concatenate([maker.gated(*[f"attention_nets.{c}.{k}" for k in keys], D)(h) for c in range(3)], axis=1)
    for c in range(3):
        maker.weights[f"attention_nets.{c}.attention_c.weight"] *= 300
        raw[:, c] = (raw[:, c] - float(maker.weights[f"attention_nets.{c}.attention_c.bias"])) * 300 + float(
            maker.weights[f"attention_nets.{c}.attention_c.bias"]
        )
    votes = np.concatenate([maker.linear(f"classifiers.{c}", D, 1)(h) for c in range(3)], axis=1)
    bias = maker.tensor("bias", 3)
    model = load((maker, {}), tmp_path)
    found = model.explain(maker.x, list(model.score_specs()))
    contributions = softmax(raw) * votes
    assert raw.max() > 100
    np.testing.assert_allclose(found.logits, contributions.sum(0) + bias, rtol=2e-2)
    np.testing.assert_allclose(found.scores["instance_logit"].values, votes, rtol=1e-4, atol=1e-3)
