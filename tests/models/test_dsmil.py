"""DSMIL: MIL-Lab's numbers; attention and instance logits a class."""

from functools import partial

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import ModelError
from tests.helpers.mil_lab_checks import (
    assert_close,
    assert_golden,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import build, case_names, load_case, needs_golden
from tests.helpers.small_models import small_model

small = partial(small_model, "dsmil")


@needs_golden
@pytest.mark.parametrize("name", case_names("dsmil"))
def test_golden_numbers_at_every_bag_size(name: str) -> None:
    case, model = assert_golden(name)
    x = torch.from_numpy(case.features)
    slide_feats, log = model.forward_features(x[None])
    assert_close(slide_feats, case.arrays["slide_feats"])
    assert_close(log["instance_classes"][0], case.arrays["instance_logits"])
    assert_close(model.model.classifier(slide_feats).squeeze(-1), case.arrays["bag_logits"])
    explanation = model.explain(case.features, ["attention", "instance_logit"])
    assert_close(explanation.scores["attention"].values, case.arrays["attention"][0])
    instances = explanation.scores["instance_logit"].values
    assert_close(instances, case.arrays["instance_logits"])
    assert instances.argmax(axis=0).tolist() == case.arrays["critical_instance_index"].tolist()


@needs_golden
def test_masks_and_batches_give_the_golden_numbers() -> None:
    case = load_case("small_dsmil")
    model = build(case)
    x = torch.from_numpy(case.features)
    mask = torch.from_numpy(case.arrays["mask"])[None]
    for dtype in (torch.float32, torch.bool):  # MIL-Lab itself raises on a boolean mask
        results, log = model(x[None], attn_mask=mask.to(dtype), return_attention=True)
        assert_close(results["logits"], case.arrays["logits_masked"])
        assert_close(log["attention"], case.arrays["attention_masked"])
    results, log = model(torch.stack([x, 0.5 * x.flip(0)]), return_attention=True)
    assert_close(results["logits"], case.arrays["logits_batch2"])
    assert_close(log["attention"], case.arrays["attention_batch2"])


def test_projecting_the_critical_patch_only_gives_what_projecting_every_patch_gives() -> None:
    model, x = small().double(), torch.from_numpy(random_features(60)).double()
    parts = model.model
    with torch.no_grad():
        h = parts.patch_embed(x)
        instances = parts.i_classifier.inst_classifier(h)
        query, value = parts.b_classifier.q(h), parts.b_classifier.v(h)
        attention = torch.softmax(query @ query[instances.argmax(dim=0)].T / 12**0.5, dim=0)
        bag = parts.classifier(parts.b_classifier.norm(attention.T @ value)[None])[0, :, 0]
        results, log = model(x, return_attention=True)
    np.testing.assert_allclose(log["attention"][0], attention, atol=1e-12)
    np.testing.assert_allclose(results["logits"][0], (bag + instances.amax(dim=0)) / 2, atol=1e-12)


def test_each_class_has_its_column_and_its_shares_sum_to_one() -> None:
    scores = small().patch_scores(random_features(300), class_names=["a", "b", "c"])
    assert (scores.names, scores.kind) == (("a", "b", "c"), "attention_softmax")
    np.testing.assert_allclose(scores.values.sum(axis=0), 1, atol=1e-5)


def test_it_trains_all_but_the_convolution_nothing_uses() -> None:
    assert_trains(small(), untouched=("model.b_classifier.fcc",))


def test_contributions_are_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match="LayerNorm stands between"):
        small().patch_scores(random_features(5), "class_contribution")


def test_without_classes_there_is_no_dsmil() -> None:
    with pytest.raises(ModelError, match="needs a class"):
        small(num_classes=0)
