"""TRIDENT's attention block, slide encoder and tutorial classifier."""

from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.identity import build as build_identified
from mil_heatmaps.checkpoints.identity import find_model
from mil_heatmaps.errors import ModelError
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.inference import infer
from mil_heatmaps.models.trident_abmil import TridentABMIL, TridentClassifier, TridentSlideEncoder
from tests.helpers.mil_lab_golden import Case, case_names, load_case, needs_golden

TOLERANCE = 1e-5


def identified(case: Case) -> MILModel:
    found = find_model(case.tensors())
    assert found is not None
    return build_identified(found)


def features(count: int = 20, width: int = 10) -> Any:
    return np.random.default_rng(2).normal(size=(count, width)).astype(np.float32)


@needs_golden
@pytest.mark.parametrize("name", [name for name in case_names("trident_abmil") if "block" in name])
def test_the_block_gives_the_golden_numbers(name: str) -> None:
    case = load_case(name)
    model = identified(case)
    for size in [*case.sizes("attention"), len(case.features)]:
        tail = "" if size == len(case.features) else f"_n{size}"
        x = torch.from_numpy(case.features[:size])[None]
        aggregated, log = model.forward_features(x, return_attention=True)
        np.testing.assert_allclose(aggregated.detach(), case.arrays[f"aggregated{tail}"], atol=TOLERANCE)
        np.testing.assert_allclose(log["attention"].detach(), case.arrays[f"attention{tail}"], atol=TOLERANCE)
    expected = case.arrays["attention"]
    raw = model.patch_scores(case.features, "attention").values
    np.testing.assert_allclose(raw.T, expected.reshape(-1, expected.shape[-1]), atol=TOLERANCE)
    share = model.patch_scores(case.features, "attention_softmax").values
    np.testing.assert_allclose(share.T, case.arrays["attention_softmax"].reshape(share.T.shape), atol=TOLERANCE)
    mask = torch.from_numpy(case.arrays["mask"])[None]
    aggregated, log = model.forward_features(torch.from_numpy(case.features)[None], mask, True)
    np.testing.assert_allclose(aggregated.detach(), case.arrays["aggregated_masked"], atol=TOLERANCE)
    np.testing.assert_allclose(log["attention"].detach(), case.arrays["attention_masked"], atol=TOLERANCE)


@needs_golden
@pytest.mark.parametrize("name", [name for name in case_names("trident_abmil") if "tutorial" in name])
def test_the_tutorials_classifier_gives_the_golden_numbers(name: str) -> None:
    case = load_case(name)
    model = identified(case)
    assert isinstance(model, TridentClassifier)
    for size in [*case.sizes("logits"), len(case.features)]:
        tail = "" if size == len(case.features) else f"_n{size}"
        results, log = model(torch.from_numpy(case.features[:size]), return_attention=True, return_slide_feats=True)
        explanation = model.explain(case.features[:size])
        np.testing.assert_allclose(results["logits"][0].detach(), case.arrays[f"logits{tail}"], atol=TOLERANCE)
        np.testing.assert_allclose(explanation.logits, case.arrays[f"logits{tail}"], atol=TOLERANCE)
        np.testing.assert_allclose(log["slide_feats"].detach(), case.arrays[f"slide_feats{tail}"], atol=TOLERANCE)
        attention = case.arrays[f"attention{tail}"]
        np.testing.assert_allclose(log["attention"].detach(), attention, atol=TOLERANCE)
        np.testing.assert_allclose(explanation.scores["attention"].values[:, 0], attention.ravel(), atol=TOLERANCE)


def test_heads_and_branches_have_columns_and_a_mean() -> None:
    torch.manual_seed(0)
    model = TridentABMIL(in_dim=10, n_heads=3, head_dim=4, n_branches=2).eval()
    assert model.default_score == "attention_mean"
    scores = model.explain(features(), ["attention", "attention_softmax", "attention_mean"]).scores
    assert scores["attention"].names[:4] == (
        "branch 0 head 0",
        "branch 0 head 1",
        "branch 0 head 2",
        "branch 1 head 0",
    )
    assert scores["attention_mean"].names == ("branch 0", "branch 1")
    mean = scores["attention_softmax"].values[:, 3:].mean(axis=1)
    np.testing.assert_allclose(scores["attention_mean"].values[:, 1], mean, atol=1e-7)
    _, log = model.forward_features(torch.from_numpy(features())[None], return_attention=True)
    np.testing.assert_allclose(log["attention"][0, 1, 0].detach(), scores["attention"].values[:, 3], atol=1e-6)


def test_encoders_give_scores_and_no_prediction() -> None:
    for model in (TridentABMIL(in_dim=10).eval(), TridentSlideEncoder(in_dim=10).eval()):
        prediction, scores = infer(model, features())
        assert prediction is None
        assert len(next(iter(scores.values()))) == 20
        with pytest.raises(ModelError, match="no classifier"):
            model(torch.from_numpy(features()))
    with pytest.raises(ModelError, match="patches do not add up"):
        TridentSlideEncoder(in_dim=10).patch_scores(features(), "class_contribution")


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("gated", [True, False])
def test_sizes_are_read_from_the_tensors(heads: int, gated: bool) -> None:
    made: list[MILModel] = [
        TridentABMIL(in_dim=10, n_heads=heads, head_dim=4, gated=gated, n_branches=2),
        TridentSlideEncoder(in_dim=10, embed_dim=8, out_dim=6, n_heads=heads, head_dim=4, gated=gated),
        TridentClassifier(in_dim=10, embed_dim=8, n_heads=heads, gated=gated, hidden_dim=5, num_classes=3),
    ]
    for model in made:
        found = find_model({f"module.{key}": value for key, value in model.state_dict().items()})
        assert found is not None
        assert found.model_type == model.name
        again = build_identified(found).explain(features())
        first = model.eval().explain(features())
        np.testing.assert_array_equal(
            first.scores[model.default_score].values, again.scores[model.default_score].values
        )
