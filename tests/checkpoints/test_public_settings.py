"""What files of public models lack: settings that would change nothing, biases, and a family that fits."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.errors import CheckpointError
from tests.helpers.public_layouts import PLAIN, dsmil, embedding, finish, load
from tests.helpers.public_models import D, E, Maker, write


def test_a_setting_that_would_change_nothing_is_refused_by_name(tmp_path: Path) -> None:
    bare = finish(maker := Maker(), maker.x, maker.linear("attention", D, 1))
    pointer = {"pointer.model.0.weight": torch.zeros(1, D), "pointer.model.0.bias": torch.zeros(1),
               "classifier.model.0.weight": torch.zeros(2, D), "classifier.model.0.bias": torch.zeros(2)}  # fmt: skip
    lone = copy.copy(maker)
    lone.weights = pointer
    for made, setting, why in (
        (bare, {"embed_activation": "tanh"}, "no layers before the attention"),
        (dsmil("deep", values=False), {"value_relu": True}, r"no layer of values \(b_classifier.v.1\)"),
        (dsmil("shared", values=True), {"value_relu": True}, r"keys of this version tell it \(no ReLU\)"),
        (dsmil("deep", values=True), {"value_relu": False}, r"keys of this version tell it \(ReLU\)"),
        ((lone, {}), {"pointer_activation": "relu"}, "pointer is one layer"),
    ):
        (key,) = setting
        with pytest.raises(CheckpointError, match=f"{key} would change nothing, for .*{why}: leave it out"):
            load(made, tmp_path, **setting)
        assert load(made, tmp_path).num_classes
    gated = finish(maker := Maker(), embedding(maker, "encoder.0"), maker.plain(*PLAIN[0], E))
    assert load(gated, tmp_path, temperature=2.0).temperature == 2.0  # says nothing, and can be given


@pytest.mark.parametrize("version", ["linear", "shared", "deep"])
def test_a_layer_without_a_bias_adds_none_and_is_named(version: str, tmp_path: Path, caplog: Any) -> None:
    maker, _ = dsmil(version, values=True)
    for key in [key for key in maker.weights if key.endswith(".bias")]:
        biases = maker.weights[key]
        maker.weights[key] = torch.zeros_like(biases)
        expected = load((maker, {}), tmp_path).explain(maker.x).logits
        del maker.weights[key]
        with caplog.at_level("INFO"):
            found = load((maker, {}), tmp_path).explain(maker.x).logits
        np.testing.assert_array_equal(found, expected)
        assert "layers without a bias: " in caplog.text
        maker.weights[key] = biases
    assert "no bias" not in describe_checkpoint(write(maker.weights, tmp_path / "m.pt"))


def test_an_unknown_model_is_refused_by_the_name_its_settings_give_it(tmp_path: Path) -> None:
    folder = tmp_path / "00003-varmil"
    (folder / "models").mkdir(parents=True)
    weights = {"encoder.0.weight": torch.zeros(4, D), "spread.weight": torch.zeros(2, 4)}
    torch.save(weights, folder / "models/best_valid.pth")
    (folder / "mil_params.json").write_text(json.dumps({"params": {"model": "varmil", "model_kwargs": None}}))
    with pytest.raises(CheckpointError, match=r"is called the model 'varmil' by mil_params\.json, and .*model_class"):
        model_from_checkpoint(folder)
