"""ABMIL: MIL-Lab's numbers, scores that add up, bags of any size."""

from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.models.abmil import ABMIL
from tests.helpers.mil_lab_golden import build, case_names, load_case, needs_golden

TOLERANCE = 1e-5


def small_abmil(**sizes: Any) -> ABMIL:
    torch.manual_seed(0)
    return ABMIL(**({"in_dim": 12, "embed_dim": 8, "attn_dim": 6, "num_classes": 3} | sizes)).eval()


def features(count: int, width: int = 12) -> Any:
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


@needs_golden
@pytest.mark.parametrize("name", case_names("abmil"))
def test_forward_and_explain_give_the_golden_numbers_at_every_bag_size(name: str) -> None:
    case = load_case(name)
    model = build(case)
    for size in [*case.sizes("logits"), len(case.features)]:
        tail = "" if size == len(case.features) else f"_n{size}"
        bag = case.features[:size]
        results, log = model(torch.from_numpy(bag)[None], return_attention=True, return_slide_feats=True)
        explanation = model.explain(bag)
        np.testing.assert_allclose(results["logits"].detach(), case.arrays[f"logits{tail}"], atol=TOLERANCE)
        np.testing.assert_allclose(log["attention"].detach(), case.arrays[f"attention{tail}"], atol=TOLERANCE)
        np.testing.assert_allclose(explanation.logits, case.arrays[f"logits{tail}"][0], atol=TOLERANCE)
        np.testing.assert_allclose(
            explanation.scores["attention"].values[:, 0],
            case.arrays[f"attention{tail}"][0, 0],
            atol=TOLERANCE,
        )
    np.testing.assert_allclose(log["slide_feats"].detach(), case.arrays["slide_feats"], atol=TOLERANCE)
    softmax = model.patch_scores(case.features, "attention_softmax")
    np.testing.assert_allclose(softmax.values[:, 0], case.arrays["attention_softmax"][0], atol=TOLERANCE)


@needs_golden
def test_masked_patches_and_batches_give_the_golden_numbers() -> None:
    case = load_case("small_abmil")
    model = build(case)
    x = torch.from_numpy(case.features)
    mask = torch.from_numpy(case.arrays["mask"])[None]
    for dtype in (torch.float32, torch.bool):  # MIL-Lab itself raises on a boolean mask
        results, log = model(x[None], attn_mask=mask.to(dtype), return_attention=True)
        np.testing.assert_allclose(results["logits"].detach(), case.arrays["logits_masked"], atol=TOLERANCE)
        np.testing.assert_allclose(
            log["attention"].detach(), case.arrays["attention_masked"], rtol=1e-6, atol=TOLERANCE
        )
    results, log = model(torch.stack([x, 0.5 * x.flip(0)]), return_attention=True)
    np.testing.assert_allclose(results["logits"].detach(), case.arrays["logits_batch2"], atol=TOLERANCE)
    np.testing.assert_allclose(log["attention"].detach(), case.arrays["attention_batch2"], atol=TOLERANCE)


def test_class_contributions_add_up_to_the_logits_less_their_bias() -> None:
    model = small_abmil()
    explanation = model.explain(features(5000), ["class_contribution", "attention_softmax"], ["a", "b", "c"])
    contribution = explanation.scores["class_contribution"]
    assert contribution.names == ("a", "b", "c")
    assert contribution.kind == "class_contribution"
    bias = model.model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(contribution.values.sum(axis=0), explanation.logits - bias, atol=1e-5)
    assert explanation.scores["attention_softmax"].values.sum() == pytest.approx(1, abs=1e-5)


def test_extreme_attention_does_not_overflow() -> None:
    model = small_abmil()
    with torch.no_grad():
        model.model.global_attn.attention_c.weight *= 1e5
    explanation = model.explain(features(9000), "attention_softmax")
    assert np.isfinite(explanation.logits).all()
    assert explanation.scores["attention_softmax"].values.sum() == pytest.approx(1)


def test_a_wrong_width_names_both_widths() -> None:
    with pytest.raises(FeatureError, match=r"features are 13 wide, the model \(abmil\) expects 12"):
        small_abmil().explain(features(3, 13))
    with pytest.raises(FeatureError, match=r"features are 13 wide, the model \(abmil\) expects 12"):
        small_abmil()(torch.zeros(1, 3, 13))


def test_an_empty_bag_is_refused() -> None:
    with pytest.raises(FeatureError, match="at least one patch"):
        small_abmil().explain(features(0))


def test_a_score_it_does_not_have_lists_those_it_has() -> None:
    with pytest.raises(ModelError, match=r"no score 'rollout'; choose from \['attention', 'attention_so"):
        small_abmil().patch_scores(features(3), "rollout")


def test_nan_weights_are_an_error_that_names_the_model() -> None:
    model = small_abmil()
    with torch.no_grad():
        model.model.classifier.bias[0] = torch.nan
    with pytest.raises(ModelError, match="abmil gave 1 NaN or infinite values of 3 in its logits"):
        model.explain(features(3))


def test_without_a_classifier_there_are_scores_and_no_logits() -> None:
    model = small_abmil(num_classes=0)
    explanation = model.explain(features(4))
    assert explanation.logits is None
    assert explanation.scores["attention"].values.shape == (4, 1)
    with pytest.raises(ModelError, match="the checkpoint has no classifier"):
        model.explain(features(4), "class_contribution")


def test_explaining_leaves_training_mode_as_it_was() -> None:
    model = small_abmil().train()
    first = model.explain(features(30)).logits
    assert model.training
    np.testing.assert_array_equal(first, model.explain(features(30)).logits)  # no dropout inside


def test_forward_trains_and_reports_the_loss() -> None:
    model, x = small_abmil(), torch.from_numpy(features(6))
    results, log = model(x, loss_fn=torch.nn.CrossEntropyLoss(), label=torch.tensor([2]))
    results["loss"].backward()
    assert log["loss"] == results["loss"].item()
    assert model.model.patch_embed[0].weight.grad.abs().sum() > 0
    assert model(x)[1]["loss"] == -1


def test_keys_load_with_and_without_their_prefix() -> None:
    model, other = small_abmil(), small_abmil()
    bare = {key.removeprefix("model."): value + 1 for key, value in model.state_dict().items()}
    other.load_state_dict(bare)
    assert all(torch.equal(other.state_dict()[f"model.{key}"], value) for key, value in bare.items())
