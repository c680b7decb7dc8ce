"""DFTD: MIL-Lab's numbers in the patches' own order; what luck decides is fixed or averaged."""

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.grouping import draw_grouping
from mil_heatmaps.models.dftd import GROUPINGS
from tests.helpers.mil_lab_checks import (
    assert_close,
    assert_exact_in_double,
    assert_golden,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import build, case_names, load_case, needs_golden
from tests.helpers.small_models import small_model

KINDS = [
    {},
    {"distill": "AFS"},
    {"distill": "MaxMinS", "total_instance": 8, "num_group": 4},
    {"distill": "MaxS", "total_instance": 4, "num_group": 4},
]
LUCKY = KINDS[1:]


small = partial(small_model, "dftd")


@needs_golden
@pytest.mark.parametrize("name", case_names("dftd"))
def test_golden_numbers_at_every_bag_size(name: str) -> None:
    distill = load_case(name).entry["config"]["distill"]
    case, model = assert_golden(name, compare_attention=distill == "AFS")  # the rest is in another order
    error = case.entry["fp32_vs_fp64"]["attention_abs"]
    x = torch.from_numpy(case.features)[None]
    results, log = model(x, label=torch.tensor([1]), loss_fn=torch.nn.CrossEntropyLoss(), return_attention=True)
    for key in ("loss", "instance_loss", "cls_loss"):
        assert_close(np.float32(log[key]), case.arrays[key], 1e-4)
    assert_close(results["loss"], case.arrays["loss"], 1e-4)
    order = draw_grouping(len(case.features), model.plan.num_group, random.Random(0))
    assert np.concatenate(order).tolist() == case.arrays["shuffled_order"].tolist()
    scores = model.explain(case.features, list(model.score_specs())).scores
    assert_close(scores["tier1_gate"].values[:, 0], case.arrays["tier1_attention_by_patch"], error)
    if distill == "AFS":
        assert log["group_of_patch"].tolist() == case.arrays["group_of_patch"].tolist()
    else:
        row_to_patch = case.arrays["attention_row_to_patch"]
        by_patch = np.empty(len(row_to_patch), dtype=np.float32)
        by_patch[row_to_patch] = case.arrays["attention"][:, 0]
        assert_close(log["attention"][:, 0], by_patch, error)
        assert log["patch_index"].tolist() == list(range(len(by_patch)))
        assert_close(scores["attention_gate"].values[:, 0], case.arrays["attention_by_patch"], error)
    assert_exact_in_double(name)


@needs_golden
def test_both_names_of_the_first_classifier_load() -> None:
    case = load_case("small_dftd")
    tensors = {key.replace("model.classifier.fc.", "model.classifier."): value for key, value in case.tensors().items()}
    assert "model.classifier.weight" in tensors
    model = build(case)
    expected = model.explain(case.features).logits
    model.load_state_dict(tensors)
    np.testing.assert_array_equal(model.explain(case.features).logits, expected)


@pytest.mark.parametrize("settings", KINDS)
def test_contributions_add_up_to_the_logits_less_their_bias(settings: dict[str, Any]) -> None:
    model, x = small(**settings), random_features(200)
    explanation = model.explain(x, ["class_contribution", "attention_gate"], ["a", "b", "c"])
    contribution = explanation.scores["class_contribution"]
    assert contribution.names == ("a", "b", "c")
    bias = model.model.attCls.classifier.fc.bias.detach().numpy()
    np.testing.assert_allclose(contribution.values.sum(axis=0), explanation.logits - bias, rtol=1e-4, atol=1e-4)
    results, log = model(torch.from_numpy(x), return_attention=True)  # no label, no loss_fn
    np.testing.assert_allclose(explanation.logits, results["logits"][0].detach(), rtol=1e-4, atol=1e-4)
    assert log["loss"] == -1


def test_base_logits_do_not_depend_on_the_order_of_the_patches() -> None:
    model, x = small().double(), random_features(77)
    order = np.random.default_rng(1).permutation(77)
    one, other = model.explain(x), model.explain(x[order])
    np.testing.assert_allclose(other.logits, one.logits, rtol=1e-6)
    np.testing.assert_allclose(
        other.scores["attention_gate"].values, one.scores["attention_gate"].values[order], rtol=1e-6
    )


@pytest.mark.parametrize("settings", LUCKY)
def test_the_mean_is_over_the_stated_groupings(settings: dict[str, Any]) -> None:
    model, x = small(**settings).double(), random_features(61)
    h = torch.from_numpy(x).double()
    embedded = model.model.patch_embed.resBlocks(model.model.patch_embed.fc1(h))
    logits = []
    for seed in range(GROUPINGS):
        groups = draw_grouping(61, model.plan.num_group, random.Random(seed))
        rows = []
        for group in groups:
            mine = embedded[group]
            weighted = model.model.attention(mine) * mine
            if model.plan.distill == "AFS":
                rows.append(weighted.sum(dim=0, keepdim=True))
                continue
            votes = weighted @ model.model.classifier.fc.weight.T
            ranking = torch.softmax(votes, dim=-1)[:, -1].argsort(descending=True)
            k = model.plan.per_group
            rows += [mine[ranking[:k]]] + ([mine[ranking[-k:]]] if model.plan.distill == "MaxMinS" else [])
        entering = torch.cat(rows)
        pooled = (model.model.attCls.global_attn(entering) * entering).sum(dim=0)
        logits.append(model.model.attCls.classifier.fc(pooled).detach().numpy())
    explanation = model.explain(x, ["class_contribution_mean", "class_contribution"])
    bias = model.model.attCls.classifier.fc.bias.detach().numpy()
    mean = explanation.scores["class_contribution_mean"].values.sum(axis=0)
    np.testing.assert_allclose(mean, np.mean(logits, axis=0) - bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(explanation.logits, logits[0], rtol=1e-6)
    assert np.std([row[0] for row in logits]) > 0  # luck does matter here


@pytest.mark.parametrize("settings", LUCKY)
def test_outside_training_the_result_is_the_same_every_time(settings: dict[str, Any]) -> None:
    model, x = small(**settings), random_features(40)
    state = random.getstate()
    first = model.explain(x)
    assert list(first.scores) == ["attention_gate_mean"]
    random.seed(5)
    again, (results, _) = model.explain(x), model(torch.from_numpy(x))
    np.testing.assert_array_equal(
        first.scores["attention_gate_mean"].values, again.scores["attention_gate_mean"].values
    )
    np.testing.assert_allclose(first.logits, results["logits"][0].detach(), rtol=1e-4, atol=1e-5)
    random.setstate(state)


def test_selected_patches_have_weight_and_the_others_none() -> None:
    model, x = small(distill="MaxS", total_instance=8, num_group=4), random_features(50)
    _, log = model(torch.from_numpy(x), return_attention=True)
    weights = model.patch_scores(x, "attention_gate").values[:, 0]
    chosen = log["patch_index"].tolist()
    assert len(chosen) == 8
    np.testing.assert_allclose(weights[chosen], log["attention"][:, 0].detach(), atol=1e-6)
    assert np.count_nonzero(weights) == 8


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_fewer_patches_than_groups_work(settings: dict[str, Any], n: int) -> None:
    model, x = small(**settings), random_features(n)
    explanation = model.explain(x, list(model.score_specs()))
    results, _ = model(torch.from_numpy(x), label=torch.tensor([0]), loss_fn=torch.nn.CrossEntropyLoss())
    np.testing.assert_allclose(explanation.logits, results["logits"][0].detach(), rtol=1e-4, atol=1e-5)


def test_it_trains_with_groups_drawn_from_the_global_state() -> None:
    assert_trains(small(distill="AFS", num_group=3))


def test_attention_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match=r"not normalised, so they are no shares; see attention_gate"):
        small().patch_scores(random_features(5), "attention")


def test_a_batch_is_refused() -> None:
    with pytest.raises(ModelError, match="one bag at a time, got a batch of 2"):
        small()(torch.zeros(2, 5, 24))


def test_without_a_classifier_there_are_gates_and_no_logits() -> None:
    model = small(num_classes=0)
    explanation = model.explain(random_features(9))
    assert explanation.logits is None
    assert explanation.scores["attention_gate"].values.shape == (9, 1)
    with pytest.raises(ModelError, match="the checkpoint has no classifier"):
        model.explain(random_features(9), "class_contribution")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distill": "Best"}, r"unknown distill 'Best'; choose from \['MaxMinS', 'MaxS', 'AFS'\]"),
        ({"distill": "MaxS"}, "lets no patch through; total_instance must be at least 8"),
        ({"num_group": 0}, "num_group must be at least 1"),
        ({"num_classes": 0, "total_instance": 16}, "selects by the classifier"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small(**settings)
