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
from tests.helpers.public_models import (
    A,
    Answer,
    D,
    E,
    Maker,
    N,
    head,
    pooled,
    relu,
    sigmoid,
    softmax,
    write,
)  # fmt: skip

Built = tuple[Maker, Answer]


def same(model: Any, made: Built) -> Any:
    """Compare logits and every score with the formulas; the closed form and gradients with them too."""
    maker, answer = made
    names = list(model.score_specs())
    found = model.explain(maker.x, names)
    np.testing.assert_allclose(found.logits, answer["logits"], atol=2e-5, rtol=1e-4)
    assert set(names) == set(answer) - {"logits", "chances"}
    for name in names:
        expected = np.asarray(answer[name]).reshape(N, -1)
        np.testing.assert_allclose(found.scores[name].values, expected, atol=2e-5, rtol=1e-4, err_msg=name)
    inputs = torch.from_numpy(maker.x)[None]
    with torch.no_grad():
        np.testing.assert_allclose(model(inputs)[0]["logits"][0], answer["logits"], atol=2e-5, rtol=1e-4)
    return found


def load(made: Built, tmp_path: Path, **settings: Any) -> Any:
    return model_from_checkpoint(write(made[0].weights, tmp_path / "m.pt"), **settings)


# -- the ABMIL family ------------------------------------------------------------------------------------------------


def embedding(maker: Maker, key: str, bias: bool = True) -> Any:
    layer = maker.linear(key, D, E, bias)
    return relu(layer(maker.x))


def finish(maker: Maker, h: Any, attention: Any, key: str = "classifier", branches: int = 1) -> Built:
    raw = attention(h)
    weight, rest = head(maker, key, 3, h.shape[1], branches)
    return maker, pooled(h, raw, softmax(raw), weight, rest)


EMBEDDINGS = [
    "feature_extractor_part2.0", "feature_extractor.0", "encoder.0", "linear_layers.0.0", "patch_embed.0", "fc.0",
    "feature.0", "_fc1.0", "embedding.0",
]  # fmt: skip
GATED = [
    ("attention_V.0", "attention_U.0", "attention_w"),
    ("attention.attention_V.0", "attention.attention_U.0", "attention.attention_weights"),
    ("attention_net.attention_a.0", "attention_net.attention_b.0", "attention_net.attention_c"),
]
PLAIN = [
    ("attention.0", "attention.2"), ("attention.attention.0", "attention.attention.2"),
    ("attention_net.0", "attention_net.2"),
]  # fmt: skip
HEADS = ["classifier", "classifier.0", "classifier.fc", "fc", "head", "head.2"]


def loads_as(made: Built, tmp_path: Path, **settings: Any) -> Any:
    """Load and compare; return the model."""
    model = load(made, tmp_path, **settings)
    same(model, made)
    return model


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


# -- other families --------------------------------------------------------------------------------------------------


def dsmil(version: str, *, values: bool, classes: int = 3, value_relu: bool = False) -> Built:
    maker, x = Maker(), None
    x = maker.x.astype(float)
    c = maker.linear("i_classifier.fc" if version == "linear" else "i_classifier.fc.0", D, classes)(x)
    seen, width = x, D
    if version == "shared":
        seen, width = relu(maker.linear("b_classifier.lin.0", D, D)(x)), D
    if version == "deep":
        q = np.tanh(maker.linear("b_classifier.q.2", A, A)(relu(maker.linear("b_classifier.q.0", D, A)(x))))
    elif version == "shared":
        q = np.tanh(maker.linear("b_classifier.q.0", D, A)(seen))
    else:
        q = maker.linear("b_classifier.q", D, A)(x)
    v = x
    if values:
        v, width = maker.linear("b_classifier.v.1", D, E)(seen), E
        v = relu(v) if version == "deep" or value_relu else v
    shares = softmax(q @ q[c.argmax(0)].T / A**0.5)
    weight = maker.tensor("b_classifier.fcc.weight", classes, classes, width, scale=0.4)
    bias = maker.tensor("b_classifier.fcc.bias", classes)
    contributions = np.einsum("nk,okv,nv->no", shares, weight, v)
    logits = contributions.sum(0) + bias
    answer = {"attention": shares, "instance_logit": c, "class_contribution": contributions, "logits": logits}
    return maker, answer | {"chances": (sigmoid(logits), sigmoid(c.max(0)))}


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
