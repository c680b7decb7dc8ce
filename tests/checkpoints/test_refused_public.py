"""Models that need more than the features of one slide are refused by their names, with the way on."""

from pathlib import Path

import pytest
import torch

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.errors import CheckpointError


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("transformer_encoder.0.weight", "transformer_decoder.0.weight", "class_tokens"), "barspoon.*several targets"),
        (("attention_pool.fc1.weight", "u_attention_pool.fc1.weight", "u_classifier.weight"), "DTFDMIL.*random groups"),
        (("pool.sm.sm.coef", "pool.proj1.weight", "last_layer.weight"), "SmABMIL.*neighbours"),
        (("camil_self_attention.qkv_nn.weight", "classifier.weight"), "CAMIL.*neighbours"),
        (("gcn_layers.0.lin.weight", "classifier.weight"), "PatchGCN.*neighbours"),
        (("vae.encoder.0.weight", "pool.fc1.weight"), "VAEABMIL.*drawn at random"),
        (("layers.0.mixer.A_log", "layers.0.mixer.dt_proj.weight"), "MambaMIL.*state-space"),
        (("s4_block.kernel.log_dt", "s4_block.weight"), "S4MIL.*state-space"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model.module."])
def test_known_models_are_refused_by_name(tmp_path: Path, keys: tuple[str, ...], words: str, prefix: str) -> None:
    path = tmp_path / "m.pt"
    torch.save({prefix + key: torch.randn(4, 4) for key in keys}, path)
    with pytest.raises(CheckpointError, match=rf"it is a.*{words}.*model_class \(docs/how-to/own_model\.md\)"):
        model_from_checkpoint(path)
