"""Key layouts of public models that no golden case has, against their formulas in float64."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.load import load_checkpoint, model_from_checkpoint
from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.models.inference import infer
from tests.helpers.public_layouts import PLAIN, Built, embedding, finish, load, loads_as, same
from tests.helpers.public_models import (
    A,
    D,
    E,
    Maker,
    head,
    pooled,
    relu,
    softmax,
)  # fmt: skip

# -- the ABMIL family ------------------------------------------------------------------------------------------------


EMBEDDINGS = [
    "feature_extractor_part2.0", "feature_extractor.0", "encoder.0", "linear_layers.0.0", "patch_embed.0", "fc.0",
    "feature.0", "_fc1.0", "embedding.0",
]  # fmt: skip
GATED = [
    ("attention_V.0", "attention_U.0", "attention_w"),
    ("attention.attention_V.0", "attention.attention_U.0", "attention.attention_weights"),
    ("attention_net.attention_a.0", "attention_net.attention_b.0", "attention_net.attention_c"),
]
HEADS = ["classifier", "classifier.0", "classifier.fc", "fc", "head", "head.2"]


@pytest.mark.parametrize("key", EMBEDDINGS)
def test_embeddings_by_all_their_names(key: str, tmp_path: Path) -> None:
    maker = Maker()
    loads_as(finish(maker, embedding(maker, key), maker.gated(*GATED[0], E)), tmp_path)


@pytest.mark.parametrize("keys", [*GATED, *PLAIN], ids=str)
def test_attention_by_all_its_names(keys: Any, tmp_path: Path) -> None:
    maker = Maker()
    h = embedding(maker, "encoder.0")
    attention = maker.gated(*keys, E) if len(keys) == 3 else maker.plain(*keys, E)
    loads_as(finish(maker, h, attention), tmp_path)


@pytest.mark.parametrize("key", HEADS)
def test_heads_by_all_their_names(key: str, tmp_path: Path) -> None:
    maker = Maker()
    loads_as(finish(maker, embedding(maker, "encoder.0"), maker.plain(*PLAIN[0], E), key), tmp_path)


def test_one_layer_of_attention_on_the_features_themselves(tmp_path: Path) -> None:
    maker = Maker()
    model = loads_as(finish(maker, maker.x, maker.linear("attention", D, 1)), tmp_path)
    assert "embed_activation" not in load_checkpoint(tmp_path / "m.pt").said.settings
    assert model.in_dim == D


@pytest.mark.parametrize("after", [1, 2])
def test_a_batch_norm_stands_where_its_number_says(after: int, tmp_path: Path) -> None:
    maker = Maker()
    linear, norm = maker.linear("net.encoder.0", D, E), maker.norm(f"net.encoder.{after}", E)
    second = maker.linear("net.encoder.4", E, E)
    h = relu(norm(linear(maker.x))) if after == 1 else norm(relu(linear(maker.x)))
    h = relu(second(h))
    raw = maker.gated("net.attention_V.0", "net.attention_U.0", "net.attention_weights", E)(h)
    weight, rest = head(maker, "net.head", 2, E)
    loads_as((maker, pooled(h, raw, softmax(raw), weight, rest)), tmp_path)


def test_adaptor_and_residual_blocks(tmp_path: Path) -> None:
    maker = Maker()
    one, two = maker.linear("adaptor.0", D, 5), maker.linear("adaptor.2", 5, D)
    h = maker.x + two(relu(one(maker.x)))
    made = finish(maker, h, maker.gated(*GATED[2], D))
    loads_as(made, tmp_path)
    maker = Maker(1)
    h = relu(maker.linear("dimreduction.fc1", D, E, bias=False)(maker.x))
    h = maker.blocks("dimreduction.resBlocks", 2, E)(h)
    loads_as(finish(maker, h, maker.gated(*GATED[1], E), "classifier.fc"), tmp_path)


def test_branches_with_one_head_and_with_one_a_class(tmp_path: Path) -> None:
    maker = Maker()
    loads_as(finish(maker, embedding(maker, "encoder.0"), maker.plain(*PLAIN[0], E, 4), branches=4), tmp_path)
    maker = Maker(1)
    h = embedding(maker, "encoder.0")
    raw = maker.plain(*PLAIN[0], E, 3)(h)
    weight, rest = np.zeros((3, 3, E)), np.zeros(3)
    for c in range(3):
        rows, bias = head(maker, f"classifiers.{c}", 1, E)
        weight[c, c], rest[c] = rows[0, 0], bias[0]
    model = loads_as((maker, pooled(h, raw, softmax(raw), weight, rest)), tmp_path)
    assert model.explain(maker.x, ["attention"]).scores["attention"].names == ("class 0", "class 1", "class 2")


def test_other_activations_of_the_embedding(tmp_path: Path) -> None:
    from scipy.special import erf

    functions: dict[str, Callable[[Any], Any]] = {
        "gelu": lambda z: z * (1 + erf(z / 2**0.5)) / 2, "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
        "tanh": np.tanh, "none": lambda z: z,
    }  # fmt: skip
    for name, function in functions.items():
        maker = Maker()
        h = function(maker.linear("encoder.0", D, E)(maker.x))
        loads_as(finish(maker, h, maker.plain(*PLAIN[0], E)), tmp_path, embed_activation=name)
    with pytest.raises(ModelError, match="embed_activation must be one of"):
        load(finish(maker, h, maker.plain(*PLAIN[0], E)), tmp_path, embed_activation="sine")
    with pytest.raises(ModelError, match="no setting 'embed_activaton', did you mean 'embed_activation'"):
        load(finish(maker, h, maker.plain(*PLAIN[0], E)), tmp_path, embed_activaton="relu")


def slideflow(tmp_path: Path, kwargs: Any, gate: float, temperature: float) -> tuple[Path, Built]:
    maker = Maker()
    h = embedding(maker, "encoder.0")
    raw = maker.plain(*PLAIN[0], E)(h)
    kept = raw > np.quantile(raw, gate) if gate else np.ones_like(raw, bool)
    shares = softmax(np.where(kept, raw / temperature, -np.inf))
    norm = maker.norm("head.1", E)
    weight, rest = head(maker, "head.3", 2, E)
    zero = norm(np.zeros((1, E)))[0]
    folded = weight * (norm(np.ones((1, E)))[0] - zero)
    made = maker, pooled(h, raw, shares, folded, weight[0] @ zero + rest)
    folder = tmp_path / f"00001-attention_mil-{gate}"
    (folder / "models").mkdir(parents=True)
    torch.save(maker.weights, folder / "models" / "best_valid.pth")
    params = {"params": {"model": "attention_mil", "model_kwargs": kwargs}, "outcome_labels": {"0": "a", "1": "b"}}
    (folder / "mil_params.json").write_text(json.dumps(params))
    return folder, made


def test_a_slideflow_folder_tells_gate_temperature_and_names(tmp_path: Path, caplog: Any) -> None:
    folder, made = slideflow(tmp_path, {"attention_gate": 0.6, "temperature": 0.5}, 0.6, 0.5)
    for path in (folder, folder / "models" / "best_valid.pth"):
        model = model_from_checkpoint(path)
        found = same(model, made)
        assert (found.scores["attention_softmax"].values == 0).sum() == 14
        prediction, _ = infer(model, made[0].x)
        assert prediction is not None
        assert prediction.classes == ("a", "b")
    assert "attention_gate" not in caplog.text
    plain, unset = slideflow(tmp_path, None, 0, 1)
    same(model_from_checkpoint(plain), unset)
    again = model_from_checkpoint(plain, attention_gate=0.6, temperature=0.5)
    np.testing.assert_allclose(again.explain(made[0].x).logits, made[1]["logits"], atol=2e-5)


# -- reading and recognition -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "net.aggregator."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_wrappings_and_prefixes(prefix: str, wrapper: str | None, tmp_path: Path) -> None:
    maker = Maker()
    made = finish(maker, embedding(maker, "linear_layers.0.0"), maker.plain(*PLAIN[0], E))
    weights = {prefix + key: value for key, value in maker.weights.items()}
    more = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3, 3)}}}, "best_auc": np.float64(0.7), "epoch": 3}
    torch.save(weights if wrapper is None else {wrapper: weights, **more}, tmp_path / "m.pt")
    same(model_from_checkpoint(tmp_path / "m.pt"), made)


def test_a_layer_too_many_is_named(tmp_path: Path) -> None:
    maker = Maker()
    made = finish(maker, embedding(maker, "encoder.0"), maker.plain(*PLAIN[0], E))
    for key, value in {"rank_head.weight": torch.zeros(2, E), "input_norm.weight": torch.ones(D)}.items():
        odd = copy.copy(maker)
        odd.weights = maker.weights | {key: value}
        with pytest.raises(CheckpointError, match=f"nearest to abmil_general, but it also holds {key}"):
            load((odd, {}), tmp_path)
    maker.weights |= {"class_weights": torch.ones(3), "valid_auroc.confmat": torch.zeros(3, 2, 2)}
    loads_as(made, tmp_path)


def test_shapes_that_do_not_chain_are_named(tmp_path: Path) -> None:
    maker = Maker()
    finish(maker, embedding(maker, "encoder.0"), maker.plain(*PLAIN[0], E))
    maker.weights["attention.0.weight"] = torch.zeros(A, E + 1)
    with pytest.raises(CheckpointError, match=r"attention.0.weight has shape \(6, 9\), where \(A, E\) is needed"):
        load((maker, {}), tmp_path)


def test_a_file_that_fits_two_families_asks_for_the_name(tmp_path: Path, monkeypatch: Any) -> None:
    from mil_heatmaps.models import registry
    from mil_heatmaps.models.abmil_general import ABMILGeneral

    made = finish(maker := Maker(), embedding(maker, "encoder.0"), maker.plain(*PLAIN[0], E))
    twin = type("Twin", (ABMILGeneral,), {"name": "twin"})
    monkeypatch.setattr(registry, "_CLASSES", {**registry._CLASSES, "twin": twin})
    with pytest.raises(CheckpointError, match=r"fits abmil_general and twin: name the one it is in .*model_name"):
        load(made, tmp_path)
    assert load(made, tmp_path, model_name="abmil_general").name == "abmil_general"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"encoder_0.0.weight": (E, D), "attention_0.0.weight": (A, E)}, "several magnifications"),
        ({"local_phi.0.weight": (E, D), "global_transformer.layers.0.weight": (E, E)}, "HIPT"),
        ({"featurizer.conv1.weight": (8, 3, 3, 3), "pointer.model.0.weight": (1, E)}, "own image encoder"),
        ({"layers.0.1.A_log": (E, 4), "layers.0.1.dt_proj.weight": (E, 2)}, "MambaMIL"),
        ({"conv1.weight": (8, 3, 7, 7), "fc.weight": (2, 8)}, "pictures"),
    ],
)
def test_known_models_that_cannot_be_run_are_refused_by_name(keys: Any, said: str, tmp_path: Path) -> None:
    torch.save({key: torch.zeros(shape) for key, shape in keys.items()}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=said):
        model_from_checkpoint(tmp_path / "m.pt")


def test_a_model_built_on_clams_layers_is_told_by_its_own_name(tmp_path: Path) -> None:
    from mil_heatmaps.checkpoints.builder import create_model

    weights = dict(create_model("clam_sb.small.12.none", 2).state_dict())
    for key, said in (("site_classifier.weight", "TOAD"), ("organ_embedding", "CHIEF")):
        torch.save(weights | {key: torch.zeros(2, 8)}, tmp_path / "m.pt")
        with pytest.raises(CheckpointError, match=f"it is a {said}"):
            model_from_checkpoint(tmp_path / "m.pt")
