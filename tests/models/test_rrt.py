"""RRT: MIL-Lab's numbers, pooling weights, contributions that add up."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import ModelError
from mil_heatmaps.models.rrt import RRT
from tests.helpers.mil_lab_checks import (
    assert_close,
    assert_exact_in_double,
    assert_golden,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import case_names, needs_golden
from tests.helpers.small_models import small_model

small = partial(small_model, "rrt")


@needs_golden
@pytest.mark.parametrize("name", case_names("rrt"))
def test_golden_numbers_at_every_bag_size(name: str) -> None:
    case, model = assert_golden(name)
    results, log = model(torch.from_numpy(case.features), return_slide_feats=True)
    assert_close(log["slide_feats"], case.arrays["slide_feats"])
    assert_close(log["attention"], case.arrays["attention"])  # there even when not asked for, as upstream
    scores = model.explain(case.features, list(model.score_specs())).scores
    assert_close(scores["attention"].values[:, 0], case.arrays["attention"][0])
    assert_close(scores["attention_logit"].values[:, 0], case.arrays["attention_raw"][0])
    bias = model.model.classifier.bias.detach().numpy()
    total = scores["class_contribution"].values.sum(axis=0)
    assert_close(total, results["logits"][0].detach().numpy() - bias)
    assert_exact_in_double(name)


VARIANTS = [
    {"n_layers": 1},
    {"n_layers": 3, "ffn": True, "ffn_act": "relu", "mlp_ratio": 2.0},
    {"da_gated": True, "da_bias": True, "da_act": "tanh", "act": "gelu"},
    {"da_dropout": True, "pos": "peg", "peg_k": 5},
    {"pos": "none", "num_classes": 0},
]


@pytest.mark.parametrize("settings", VARIANTS)
def test_shapes_tell_every_size_but_the_activations(settings: dict[str, Any]) -> None:
    model = small(**settings)
    shapes = {key.removeprefix("model."): tuple(v.shape) for key, v in model.state_dict().items()}
    told = RRT.config_from_shapes(shapes)
    assert told is not None
    untold = {key: settings[key] for key in RRT.not_in_tensors if key in settings}
    again = RRT(**(told | untold))
    again.load_state_dict(model.state_dict())
    x = random_features(20)
    ours, theirs = model.explain(x), again.explain(x)
    np.testing.assert_array_equal(theirs.scores["attention"].values, ours.scores["attention"].values)


def test_class_contributions_add_up_to_the_logits_less_their_bias() -> None:
    model = small()
    explanation = model.explain(random_features(500), "class_contribution", ["a", "b", "c"])
    contribution = explanation.scores["class_contribution"]
    assert contribution.names == ("a", "b", "c")
    bias = model.model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(contribution.values.sum(axis=0), explanation.logits - bias, atol=1e-5)


def test_it_trains_all_but_the_positions_nothing_applies() -> None:
    assert_trains(small(ffn=True), untouched=("model.encoder.pos_embedding",))


def test_without_a_classifier_there_are_scores_and_no_logits() -> None:
    explanation = small(num_classes=0).explain(random_features(5))
    assert explanation.logits is None
    with pytest.raises(ModelError, match="has no classifier"):
        small(num_classes=0).explain(random_features(5), "class_contribution")
    with pytest.raises(ModelError, match=r"rrt has no classifier \(num_classes 0\)"):
        small(num_classes=0)(torch.zeros(1, 5, 24))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"act": "swish"}, r"unknown activation 'swish'; choose from \['relu', 'gelu', 'tanh'\]"),
        ({"pool": "avg"}, "pools by attention"),
        ({"pos": "fourier"}, "unknown pos 'fourier'"),
        ({"embed_dim": 32}, "one width, got 32 and 16"),
    ],
)
def test_settings_it_cannot_honour_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small(**settings)
