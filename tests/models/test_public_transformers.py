"""Transformers, TransMIL and DSMIL of other repositories by their formulas, in plain float64, from files alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.layers import streaming

N, D, E, H, M, C = 23, 6, 8, 2, 10, 3
Tensors = dict[str, torch.Tensor]


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Tensors:
    """Return tensors of these shapes; norms near 1, everything else normal."""
    torch.manual_seed(seed)
    made = {key: torch.randn(shape) * (1.5 / max(shape) ** 0.5) for key, shape in shapes.items()}
    return {key: 1 + 0.3 * value if ".norm" in key and key.endswith("weight") else value for key, value in made.items()}


def linear(name: str, out: int, into: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def lin(p: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def ln(p: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def bag() -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    torch.manual_seed(5)
    return torch.randn(N, D), np.stack([np.arange(N) % 5, np.arange(N) // 5], axis=1) * 128


def stored(tmp_path: Path, p: Tensors, **settings: Any) -> Path:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": p, "hyper_parameters": settings}, path)
    return path


def stamp(alibi: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"class_token": (E,)}
    shapes |= linear("project_features.0", E, D) | norm("transformer.norm", E) | linear("mlp_head.0", C, E)
    for layer in range(2):
        at = f"transformer.layers.{layer}"
        shapes |= norm(f"{at}.0.norm", E) | norm(f"{at}.1.0", E)
        shapes |= linear(f"{at}.1.1", M, E) | linear(f"{at}.1.4", E, M)
        if not alibi:
            shapes |= {f"{at}.0.mhsa.in_proj_weight": (3 * E, E), f"{at}.0.mhsa.in_proj_bias": (3 * E,)}
            shapes |= linear(f"{at}.0.mhsa.out_proj", E, E)
            continue
        shapes |= linear(f"{at}.0.mhsa.fc", E, E)
        for head in range(H):
            for kind in ("query", "key", "value"):
                shapes |= linear(f"{at}.0.mhsa.{kind}_encoders.{head}", E // H, E)
            attention = f"{at}.0.mhsa.attentions.{head}"
            shapes |= {f"{attention}.bias_scale": (1,), f"{attention}.scale_distance.running_mean": (1,)}
            shapes |= {f"{attention}.scale_distance.items_so_far": (1,)}
    return shapes


def plain_stamp(p: Tensors, x: torch.Tensor, um: np.ndarray[Any, Any], masked: bool) -> tuple[Any, Any]:
    """Return logits and the class token's weights in the last layer (H, N)."""
    p = {key: value.double() for key, value in p.items()}
    t = torch.cat([p["class_token"][None], F.gelu(lin(p, "project_features.0", x.double()))])
    points = torch.cat([torch.zeros(1, 2), torch.from_numpy(um)]).double()
    apart = (points[:, None] - points[None]).norm(dim=-1)
    if masked:
        apart[0] = apart[:, 0] = 0
    for layer in range(2):
        at = f"transformer.layers.{layer}"
        rows, heads, weights = ln(p, f"{at}.0.norm", t), [], []
        for head in range(H):
            if (name := f"{at}.0.mhsa.in_proj_weight") in p:
                qkv = F.linear(rows, p[name], p[f"{at}.0.mhsa.in_proj_bias"]).reshape(-1, 3, H, E // H)
                q, k, v = qkv[:, 0, head], qkv[:, 1, head], qkv[:, 2, head]
                scores = q @ k.T / (E // H) ** 0.5
                if masked:
                    scores[1:, 0] = -torch.inf
                w = torch.softmax(scores, dim=-1)
            else:
                q, k, v = (lin(p, f"{at}.0.mhsa.{kind}_encoders.{head}", rows) for kind in ("query", "key", "value"))
                attention = f"{at}.0.mhsa.attentions.{head}"
                bias = apart * p[f"{attention}.bias_scale"] / p[f"{attention}.scale_distance.running_mean"]
                w = torch.softmax(q @ k.T / (E // H) ** 0.5, dim=-1)
                if masked:
                    w[1:, 0] = 0
                w = w - bias
            heads.append(w @ v)
            weights.append(w[0, 1:])
        out = f"{at}.0.mhsa.fc" if f"{at}.0.mhsa.fc.weight" in p else f"{at}.0.mhsa.out_proj"
        t = t + lin(p, out, torch.cat(heads, dim=-1))
        t = t + lin(p, f"{at}.1.4", F.gelu(lin(p, f"{at}.1.1", ln(p, f"{at}.1.0", t))))
    return lin(p, "mlp_head.0", ln(p, "transformer.norm", t)[0]), torch.stack(weights)


@pytest.mark.parametrize("chunk", [64 * 2**20, 64])
@pytest.mark.parametrize("version", ["2.1.0", "2.2.0", None])
@pytest.mark.parametrize("alibi", [False, True])
def test_stamps_vit_is_its_formula_and_its_version_tells_the_mask(
    tmp_path: Path, alibi: bool, version: str | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "CHUNK_BYTES", chunk)
    p, (x, corners) = drawn(stamp(alibi)), bag()
    settings = {"n_heads": H} | ({} if version is None else {"stamp_version": version})
    model = model_from_checkpoint(stored(tmp_path, p, **settings))
    asked = ["attention_heads", "single"]
    found = model.explain(x, asked, coords_l0=corners, mpp=0.25, settings={"output": "logit"})
    logits, heads = plain_stamp(p, x, corners * 0.25, version == "2.1.0")
    np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.scores["attention_heads"].values, heads.T, rtol=1e-4, atol=1e-5)
    kind = "attention_gate" if alibi else "attention_softmax"
    assert found.scores["attention_heads"].kind == kind
    one = model.explain(x[7:8], coords_l0=corners[7:8], mpp=0.25).logits  # explanations ask with the part's own places
    np.testing.assert_allclose(found.scores["single"].values[7], one, rtol=1e-4, atol=1e-5)


def test_alibi_needs_places_and_a_resolution(tmp_path: Path) -> None:
    x, corners = bag()
    model = model_from_checkpoint(stored(tmp_path, drawn(stamp(True)), n_heads=H))
    assert "rollout" not in model.score_names()
    assert "needs       where patches lie in micrometres" in describe_checkpoint(tmp_path / "model.ckpt")
    with pytest.raises(ModelError, match="asks where patches lie"):
        model.explain(x)
    with pytest.raises(ModelError, match=r"micrometres, and the slide's resolution \(mpp\) is not known"):
        model.explain(x, coords_l0=corners)
    with pytest.raises(ModelError, match="asks where patches lie"):
        model(x[None])
    um = torch.from_numpy(corners * 0.25)
    results, _ = model(x[None], coords_um=um)
    np.testing.assert_allclose(
        results["logits"][0].detach(), model.explain(x, coords_l0=corners, mpp=0.25).logits, rtol=1e-4, atol=1e-5
    )


def test_heads_that_do_not_divide_the_width_are_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="num_heads 3 does not divide the width 8; give num_heads in"):
        model_from_checkpoint(stored(tmp_path, drawn(stamp(False)), n_heads=3))


def bistro() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, E)}
    shapes |= linear("projection.0", E, D) | norm("norm", E) | norm("mlp_head.0", E) | linear("mlp_head.1", C, E)
    for layer in range(2):
        at = f"transformer.layers.{layer}"
        shapes |= norm(f"{at}.0.norm", E) | norm(f"{at}.1.norm", E)
        shapes |= linear(f"{at}.0.fn.to_qkv", 3 * 4, E, bias=False) | linear(f"{at}.0.fn.to_out.0", E, 4)
        shapes |= linear(f"{at}.1.fn.net.0", M, E) | linear(f"{at}.1.fn.net.3", E, M)
    return shapes


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_histobistros_transformer_is_its_formula(tmp_path: Path, pool: str) -> None:
    p, (x, _) = drawn(bistro()), bag()
    model = model_from_checkpoint(stored(tmp_path, p, heads=H), pool=pool)
    t = F.relu(lin(p, "projection.0", x))
    t = torch.cat([p["cls_token"][0], t]) if pool == "cls" else t
    weights = torch.zeros(0)
    for layer in range(2):
        at = f"transformer.layers.{layer}"
        qkv = lin(p, f"{at}.0.fn.to_qkv", ln(p, f"{at}.0.norm", t)).reshape(-1, 3, H, 2)
        w = torch.softmax(torch.einsum("ihd,jhd->hij", qkv[:, 0], qkv[:, 1]) / 2**0.5, dim=-1)
        weights = w[:, 0, 1:].mean(0) if pool == "cls" else w.mean((0, 1))
        t = t + lin(p, f"{at}.0.fn.to_out.0", torch.einsum("hij,jhd->ihd", w, qkv[:, 2]).flatten(1))
        t = t + lin(p, f"{at}.1.fn.net.3", F.gelu(lin(p, f"{at}.1.fn.net.0", ln(p, f"{at}.1.norm", t))))
    last = ln(p, "norm", t[0] if pool == "cls" else t.mean(0))
    found = model.explain(x, ["attention"])
    np.testing.assert_allclose(found.logits, lin(p, "mlp_head.1", ln(p, "mlp_head.0", last)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.scores["attention"].values[:, 0], weights, rtol=1e-4, atol=1e-6)


def torchmil_transformer(mlp: bool, narrow: bool, extra: bool) -> dict[str, tuple[int, ...]]:
    inner = 4 if narrow else E
    shapes: dict[str, tuple[int, ...]] = linear("feat_ext.0", E, D) if extra else {}
    for layer in range(2):
        at = f"transformer_encoder.layers.{layer}"
        shapes |= linear(f"{at}.att_module.qkv_nn", 3 * inner, E, bias=False)
        shapes |= norm(f"{at}.norm1", E) | norm(f"{at}.norm2", inner)
        if narrow:
            shapes |= linear(f"{at}.att_proj", inner, E) | linear(f"{at}.out_proj", E, inner)
        if mlp:
            shapes |= linear(f"{at}.mlp_module.0", M, inner) | linear(f"{at}.mlp_module.3", inner, M)
    shapes |= norm("transformer_encoder.norm", E) | linear("pool.fc1.module", 5, E) | linear("pool.fc2", 1, 5, False)
    return shapes | linear("last_layer", 1, E)


@pytest.mark.parametrize("add_self", [True, False])
@pytest.mark.parametrize(("mlp", "narrow"), [(True, True), (False, True), (True, False)])
def test_torchmils_transformer_is_its_formula(tmp_path: Path, mlp: bool, narrow: bool, add_self: bool) -> None:
    p, (x, _) = drawn(torchmil_transformer(mlp, narrow, True)), bag()
    inner = 4 if narrow else E
    model = model_from_checkpoint(stored(tmp_path, p), num_heads=H, add_self=add_self, attention_activation="gelu")
    first = t = F.relu(lin(p, "feat_ext.0", x))
    for layer in range(2):
        at = f"transformer_encoder.layers.{layer}"
        qkv = lin(p, f"{at}.att_module.qkv_nn", ln(p, f"{at}.norm1", t)).reshape(-1, 3, H, inner // H)
        w = torch.softmax(torch.einsum("ihd,jhd->hij", qkv[:, 0], qkv[:, 1]) / (inner // H) ** 0.5, dim=-1)
        y = torch.einsum("hij,jhd->ihd", w, qkv[:, 2]).flatten(1) + (lin(p, f"{at}.att_proj", t) if narrow else t)
        if mlp:
            y = y + lin(p, f"{at}.mlp_module.3", F.gelu(lin(p, f"{at}.mlp_module.0", ln(p, f"{at}.norm2", y))))
        t = (lin(p, f"{at}.out_proj", y) if narrow else y) + (first if add_self else 0)
    h = ln(p, "transformer_encoder.norm", t)
    raw = lin(p, "pool.fc2", F.gelu(lin(p, "pool.fc1.module", h)))
    found = model.explain(x, ["attention", "class_contribution"])
    np.testing.assert_allclose(found.scores["attention"].values, raw, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.logits, lin(p, "last_layer", torch.softmax(raw, 0).T @ h)[0], rtol=1e-4, atol=1e-5)
    constant = found.scores["class_contribution"].values.sum() + p["last_layer.bias"].item()
    np.testing.assert_allclose(constant, found.logits[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("convolution", [True, False])
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("values", [True, False])
def test_torchmils_dsmil_is_its_formula(tmp_path: Path, deep: bool, values: bool, convolution: bool) -> None:
    shapes = linear("inst_classifier", 1, D)
    shapes |= linear("q_nn.0", 9, D) | linear("q_nn.2", 4, 9) if deep else linear("q_nn", 4, D)
    width = 7 if values else D
    shapes |= linear("v_nn.1", width, D) if values else {}
    shapes |= {"bag_classifier.weight": (1, 1, width) if convolution else (1, width), "bag_classifier.bias": (1,)}
    p, (x, _) = drawn(shapes), bag()
    model = model_from_checkpoint(stored(tmp_path, p))
    assert model.name == "torchmil_dsmil"
    c = lin(p, "inst_classifier", x)[:, 0]
    q = torch.tanh(lin(p, "q_nn.2", F.relu(lin(p, "q_nn.0", x)))) if deep else lin(p, "q_nn", x)
    v = F.relu(lin(p, "v_nn.1", x)) if values else x
    a = torch.softmax(q @ q[c.argmax()] / 2, dim=0)
    of_bag = (a @ v) @ p["bag_classifier.weight"].flatten() + p["bag_classifier.bias"]
    found = model.explain(x, ["attention", "instance_logit"])
    np.testing.assert_allclose(found.logits, (of_bag + c.max()) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.scores["attention"].values[:, 0], a, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.scores["instance_logit"].values[:, 0], c, rtol=1e-4, atol=1e-5)
    trained = model(x[None])[0]["logits"].detach()
    np.testing.assert_allclose(trained[0], found.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "family"),
    [(stamp(False), "stamp_vit"), (bistro(), "histobistro_transformer"),
     (torchmil_transformer(True, True, True), "torchmil_transformer_abmil")],
)  # fmt: skip
@pytest.mark.parametrize("change", ["a layer too many", "a layer missing", "of another width"])
def test_a_file_that_does_not_fit_is_refused_with_the_family_and_the_tensor(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], family: str, change: str
) -> None:
    p = drawn(shapes)
    key = next(key for key in p if key.endswith(("in_proj_weight", "to_qkv.weight", "qkv_nn.weight")))
    edits: dict[str, Callable[[], Any]] = {
        "a layer too many": lambda: p.update({"transformer.extra.weight": torch.zeros(4, 4)}),
        "a layer missing": lambda: p.pop(key),
        "of another width": lambda: p.update({key: torch.zeros(len(p[key]), 5)}),
    }
    edits[change]()
    with pytest.raises(CheckpointError, match=family) as caught:
        model_from_checkpoint(stored(tmp_path, p))
    assert "model_class" in str(caught.value)


def test_faithfulness_and_explanations_of_a_spatial_model_ask_with_the_places_of_each_part(tmp_path: Path) -> None:
    p, (x, corners) = drawn(stamp(True)), bag()
    model = model_from_checkpoint(stored(tmp_path, p, n_heads=H)).double()
    x = x.double()
    settings = {"output": "logit"}
    found = model.explain(
        x, ["leave_one_out", "gradient_x_input", "occlusion"], coords_l0=corners, step_l0=128, mpp=0.25, targets=1,
        settings=settings,
    )  # fmt: skip
    whole = plain_stamp(p, x, corners * 0.25, False)[0][1]
    rest = [i for i in range(N) if i != 4]
    without = plain_stamp(p, x[rest], corners[rest] * 0.25, False)[0][1]
    np.testing.assert_allclose(found.scores["leave_one_out"].values[4, 0], whole - without, rtol=1e-5)
    measured = model.faithfulness(
        x, ["attention"], target=1, settings=settings, coords_l0=corners, step_l0=128, mpp=0.25
    )
    other = model.faithfulness(x, ["attention"], target=1, settings=settings, coords_l0=corners, step_l0=128, mpp=0.5)
    assert measured.document["full"]["logit"] == pytest.approx(float(whole), rel=1e-5)
    assert other.document["full"]["logit"] != pytest.approx(float(whole), rel=1e-5)


def test_stamps_and_slideflows_names_for_a_shared_family_are_taken(tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, E)} | linear("_fc1.0", E, D) | norm("norm", E)
    sides = {"proj": 7, "proj1": 5, "proj2": 3}
    shapes |= {f"pos_layer.{name}.weight": (E, 1, side, side) for name, side in sides.items()}
    shapes |= {f"pos_layer.{name}.bias": (E,) for name in sides} | linear("_fc2", C, E)
    for layer in ("layer1", "layer2"):
        shapes |= norm(f"{layer}.norm", E) | linear(f"{layer}.attn.to_qkv", 3 * E, E, False)
        shapes |= linear(f"{layer}.attn.to_out.0", E, E) | {f"{layer}.attn.res_conv.weight": (H, 1, 33, 1)}
    path = stored(tmp_path, drawn(shapes), model_name="trans_mil")
    named = [model_from_checkpoint(path, name) for name in (None, "stamp_transmil", "transmil_original.base.6.none")]
    x, _ = bag()
    assert {model.name for model in named} == {"transmil_original"}
    assert len({tuple(model.explain(x).logits) for model in named}) == 1
    with pytest.raises(CheckpointError, match="transmil_original"):
        model_from_checkpoint(path, "stamp_vit")
