"""Models that need more than the features of one slide are refused by their names, with the way on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.errors import CheckpointError
from tests.helpers.public_models import D, E, Maker, relu


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("transformer_encoder.0.weight", "transformer_decoder.0.weight", "class_tokens"), "barspoon.*several targets"),
        (("attention_pool.fc1.weight", "u_attention_pool.fc1.weight", "u_classifier.weight"), "DTFDMIL.*random groups"),
        (("pool.sm.sm.coef", "pool.proj1.weight", "last_layer.weight"), "SmABMIL.*neighbours"),
        (("camil_self_attention.qkv_nn.weight", "classifier.weight"), "CAMIL.*neighbours"),
        (("gcn_layers.0.conv.fc.module.weight", "classifier.weight"), "PatchGCN.*neighbours"),
        (("layers_rep.0.fc.weight", "layers_att.0.fc.weight", "proj1d.module.weight"), "DeepGraphSurv.*neighbours"),
        (("se_transf.layers.0.att_module.rpe_k.lookup_table_weight", "proj.weight"), "SETMIL.*neighbours"),
        (("prototypes", "encoder.layers.0.att_module.qkv_nn.weight", "bag_classifier.weight"), "IIBMIL.*decoder"),
        (("pool.mu_f_nn.weight", "pool.log_diag_Sigma_nn.weight", "classifier.module.weight"), "ProbSmooth.*random"),
        (("feat_ext.encoder.0.weight", "feat_ext.decoder.0.weight", "pool.fc1.module.weight"), "VAEABMIL.*at random"),
        (("layers.0.mixer.A_log", "layers.0.mixer.dt_proj.weight"), "MambaMIL.*state-space"),
        (("layers.0.mixer.A_log", "layers.0.mixer.in_proj.weight"), "MambaMIL.*state-space"),
        (("s4_block.kernel.log_dt", "s4_block.weight"), "S4MIL.*state-space"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model.module."])
def test_known_models_are_refused_by_name(tmp_path: Path, keys: tuple[str, ...], words: str, prefix: str) -> None:
    path = tmp_path / "m.pt"
    torch.save({prefix + key: torch.randn(4, 4) for key in keys}, path)
    with pytest.raises(CheckpointError, match=rf"it is a.*{words}.*model_class \(docs/how-to/own_model\.md\)"):
        model_from_checkpoint(path)


@pytest.mark.parametrize("names", [("", ""), ("student.", "teacher."), ("net.abmil.", "net.dsmil.")])
def test_models_side_by_side_are_named_each_with_a_key(tmp_path: Path, names: tuple[str, str]) -> None:
    maker, other = Maker(), Maker(1)
    maker.plain("attention.0", "attention.2", E)(relu(maker.linear("encoder.0", D, E)(maker.x)))
    maker.linear("head", E, 2)
    for key, size in (("i_classifier.fc", 2), ("b_classifier.q", 4)):
        other.linear(key, D, size)
    other.tensor("b_classifier.fcc.weight", 2, 2, D)
    other.tensor("b_classifier.fcc.bias", 2)
    weights = [{f"{name}{key}": value for key, value in one.weights.items()}
               for name, one in zip(names, (maker, other), strict=True)]  # fmt: skip
    torch.save(weights[0] | weights[1], tmp_path / "m.pt")
    said = (
        rf"m.pt holds 2 models, abmil_general \(keys such as {names[0]}attention.0.weight\) and "
        rf"dsmil_original \(keys such as {names[1]}b_classifier.fcc.weight\): save the one you want on its own"
    )
    with pytest.raises(CheckpointError, match=said):
        model_from_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.update({"net.head.weight": torch.zeros(2, 9)}), "net.head reads 9 numbers, and the .* pools 8"),
        (lambda w: w.update({"net.attention.2.weight": torch.zeros(3, 6)}), "pools 3 x 8"),
        (lambda w: w.pop("net.attention.2.weight"), r"lacks attention.out \(attention.2 "),
        (lambda w: w.update({"net.head.weight": w.pop("net.head.weight")[:, None]}), r"lacks head \(classes or one\)"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(tmp_path: Path, change: Any, said: str) -> None:
    maker = Maker()
    maker.plain("net.attention.0", "net.attention.2", E)(relu(maker.linear("net.encoder.0", D, E)(maker.x)))
    maker.linear("net.head", E, 2)
    change(maker.weights)
    maker.weights.pop("net.attention.2.bias")
    torch.save(maker.weights, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=f"nearest to abmil_general, but .*{said}.*model_class"):
        model_from_checkpoint(tmp_path / "m.pt")
