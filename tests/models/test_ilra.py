"""ILRA: MIL-Lab's numbers; pooling attention a head."""

from functools import partial

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import ModelError
from tests.helpers.mil_lab_checks import (
    assert_close,
    assert_exact_in_double,
    assert_golden,
    assert_trains,
    random_features,
)
from tests.helpers.mil_lab_golden import case_names, needs_golden
from tests.helpers.small_models import small_model

small = partial(small_model, "ilra")


@needs_golden
@pytest.mark.parametrize("name", case_names("ilra"))
def test_golden_numbers_at_every_bag_size(name: str) -> None:
    case, model = assert_golden(name)
    _, log = model(torch.from_numpy(case.features), return_slide_feats=True)
    assert_close(log["slide_feats"], case.arrays["slide_feats_direct"][0])
    scores = model.explain(case.features, ["attention", "attention_heads"]).scores
    assert_close(scores["attention"].values[:, 0], case.arrays["attention"][0])
    assert_close(scores["attention_heads"].values.T, case.arrays["attention_heads"])
    assert scores["attention_heads"].names[:2] == ("head 0", "head 1")
    assert_exact_in_double(name)


def test_a_batch_gives_each_bag_its_own_attention() -> None:  # MIL-Lab adds them up
    model, x = small(), torch.from_numpy(random_features(30)).reshape(2, 15, 24)
    results, log = model(x, return_attention=True)
    assert log["attention"].shape == (2, 15)
    for i in range(2):
        alone, alone_log = model(x[i], return_attention=True)
        np.testing.assert_allclose(results["logits"][i].detach(), alone["logits"][0].detach(), atol=1e-6)
        np.testing.assert_allclose(log["attention"][i].detach(), alone_log["attention"][0].detach(), atol=1e-6)


def test_shares_sum_to_one_in_every_head() -> None:
    scores = small().explain(random_features(200), ["attention", "attention_heads"]).scores
    assert scores["attention"].values.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(scores["attention_heads"].values.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(
        scores["attention_heads"].values.mean(axis=1), scores["attention"].values[:, 0], atol=1e-7
    )


def test_it_trains() -> None:
    assert_trains(small())


def test_the_order_of_the_patches_does_not_matter() -> None:
    model, x = small().double(), random_features(50)
    order = np.random.default_rng(1).permutation(50)
    one, other = model.explain(x), model.explain(x[order])
    np.testing.assert_allclose(other.logits, one.logits, atol=1e-6)
    np.testing.assert_allclose(other.scores["attention"].values, one.scores["attention"].values[order], atol=1e-6)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ModelError, match="embed_dim 16 must be a multiple of num_heads 3"):
        small(num_heads=3)
