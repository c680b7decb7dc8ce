"""What holds for every model of a public repository: bags of any size and precision, masks, training, bad settings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.models.abmil_general import ABMILGeneral
from mil_heatmaps.models.acmil_ga import ACMILGated
from mil_heatmaps.models.acmil_mha import ACMILMultiHead
from mil_heatmaps.models.additive_mil import AdditiveMIL
from mil_heatmaps.models.attrimil import AttriMIL
from mil_heatmaps.models.dsmil_original import DSMILOriginal
from mil_heatmaps.models.dtfd_original import DTFDOriginal
from mil_heatmaps.models.inference import infer
from tests.helpers.mil_lab_checks import (
    assert_chunking_changes_nothing,
    assert_half_precision_features_are_widened,
    random_features,
)  # fmt: skip

EMBED = ("linear 9", "activation")
FAMILIES: dict[str, Callable[..., Any]] = {
    "abmil_general": lambda: ABMILGeneral(24, EMBED, 5, 1, num_classes=3),
    "gated": lambda: ABMILGeneral(24, EMBED, branches=2, num_classes=3, attention_gate=0.5, temperature=2.0),
    "acmil_ga": lambda: ACMILGated(24, EMBED, num_classes=3),
    "acmil_mha": lambda: ACMILMultiHead(24, EMBED, 0, 3, 16, 16, 16, num_classes=3),
    "additive_mil": lambda: AdditiveMIL(24, ("linear 6", "norm!", "activation", "linear 1"),
                                        ("linear 6", "activation", "linear 3"), num_classes=3),
    "attrimil": lambda: AttriMIL(24, 6, 5, num_classes=3),
    "dsmil_original": lambda: DSMILOriginal(24, "shared", 8, 10, 7, num_classes=3),
    "dtfd_original": lambda: DTFDOriginal(24, EMBED, num_classes=3),
    "dtfd_maxs": lambda: DTFDOriginal(24, EMBED, num_classes=3, distill="MaxMinS", total_instance=8),
}  # fmt: skip


def made(name: str) -> Any:
    torch.manual_seed(0)
    return FAMILIES[name]().eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_chunking_does_not_change_the_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_chunking_changes_nothing(made(name), 150, monkeypatch)


@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_features_are_widened(name: str) -> None:
    assert_half_precision_features_are_widened(made(name))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_masked_patch_is_as_if_it_were_not_there(name: str) -> None:
    model, x = made(name), torch.from_numpy(random_features(12))[None]
    mask = torch.ones(1, 12)
    mask[0, 7:] = 0
    results, log = model(x, attn_mask=mask, return_attention=True)
    torch.testing.assert_close(results["logits"], model(x[:, :7])[0]["logits"])
    assert log["attention"].shape[-1] == 7
    (results["logits"].sum()).backward()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_bags_of_very_few_patches(name: str, count: int) -> None:
    model = made(name)
    found = model.explain(random_features(count), list(model.score_specs()))
    batch = model(torch.from_numpy(random_features(count))[None])[0]["logits"][0].detach()
    np.testing.assert_allclose(found.logits, batch, atol=1e-5)


@pytest.mark.parametrize("name", ["gated", "additive_mil", "dtfd_original"])
def test_models_without_a_closed_form_are_explained_by_forwards(name: str) -> None:
    model, x = made(name), random_features(20)
    found = model.explain(x, ["leave_one_out", "gradient_x_input", "single"], settings={"output": "logit"})
    whole, rest = model.explain(x, []).logits, model.explain(np.delete(x, 4, axis=0), []).logits
    np.testing.assert_allclose(found.scores["leave_one_out"].values[4], whole - rest, atol=1e-4)
    np.testing.assert_allclose(found.scores["single"].values[3], model.explain(x[3:4], []).logits, atol=1e-4)
    assert model.faithfulness(x, [model.default_score], settings={"steps": 5, "random_orders": 10}).document["maps"]


def test_a_gate_that_leaves_nothing_says_so() -> None:
    model = made("gated")
    with pytest.raises(ModelError, match="takes every patch out: their attention is the same"):
        model.explain(np.ones((5, 24), np.float32))
    for settings in ({"attention_gate": 1.0}, {"temperature": 0.0}):
        with pytest.raises(ModelError, match="attention_gate must be from 0 to below 1 and temperature above 0"):
            ABMILGeneral(24, EMBED, **settings)


def test_classes_with_a_chance_of_their_own_are_spoken_of_as_such() -> None:
    model, x = made("dsmil_original"), random_features(20)
    prediction, _ = infer(model, x)
    assert prediction is not None
    expected = 1 / (1 + np.exp(-prediction.logits))
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-5)
    assert prediction.independent
    assert "each class a chance of its own" in prediction.summary
    labels, _ = infer(model, x, task="multilabel")
    assert labels is not None
    assert (labels.task, labels.independent) == ("multilabel", False)
    other, _ = infer(made("attrimil"), x)
    assert other is not None
    np.testing.assert_allclose(other.probabilities.sum(), 1, rtol=1e-5)
    assert "chance of its own" not in other.summary
    explained = model.explain(x, ["leave_one_out"])
    np.testing.assert_allclose(explained.full, prediction.logits, atol=1e-5)  # a sigmoid's log-odds are its logit


def test_classes_named_in_the_file_are_used_where_nobody_names_others() -> None:
    model, x = made("attrimil"), random_features(9)
    model.class_names = ("a", "b", "c")
    prediction, scores = infer(model, x)
    assert prediction is not None
    assert prediction.classes == scores["class_contribution"].names == ("a", "b", "c")
    given, _ = infer(model, x, class_names=["x", "y", "z"])
    assert given is not None
    assert given.classes == ("x", "y", "z")
    model.class_names = ("a", "b")
    with pytest.raises((ModelError, CheckpointError), match=r"2 (class )?names \(a, b\)"):
        infer(model, x)
