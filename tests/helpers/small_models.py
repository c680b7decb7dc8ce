"""Small models of every type, the same weights each time."""

from typing import Any

import torch

from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.registry import model_class

SIZES: dict[str, dict[str, Any]] = {
    "abmil": {"embed_dim": 8, "attn_dim": 6},
    "dftd": {"embed_dim": 16, "attention_dim": 6, "num_residuals": 2},
    "dsmil": {"embed_dim": 16, "attn_dim": 12},
    "ilra": {"embed_dim": 16, "num_heads": 4, "topk": 5},
    "rrt": {"mlp_dim": 16, "n_heads": 2, "trans_dim": 8},
    "transformer": {"embed_dim": 16, "num_heads": 4, "encoder_mlp_dim": 20},
    "transmil": {"embed_dim": 16},
    "wikg": {"embed_dim": 16},
}
"""Type -> settings that make it small; features are 24 wide and there are 3 classes."""


_EMBED = ("linear 9", "activation")
OTHERS: dict[str, dict[str, Any]] = {
    "clam": {"embed_dim": 16, "attention_dim": 6},
    "clam_sb": {"hidden_dim": 16, "attn_dim": 6},
    "clam_mb": {"hidden_dim": 16, "attn_dim": 6},
    "mil_fc": {"hidden_dim": 16, "num_classes": 2},
    "mil_fc_mc": {"hidden_dim": 16},
    "trident_abmil": {"n_heads": 2, "head_dim": 6, "n_branches": 2, "num_classes": 0},
    "trident_slide_encoder": {"embed_dim": 12, "n_heads": 2, "head_dim": 6, "num_classes": 0},
    "trident_classifier": {"embed_dim": 12, "n_heads": 2, "head_dim": 6, "hidden_dim": 8},
    "abmil_general": {"embed": _EMBED, "attention_dim": 5, "branches": 2, "attention_gate": 0.5},
    "dsmil_original": {"version": "shared", "query_dim": 8, "hidden_dim": 10},
    "acmil_ga": {"embed": _EMBED},
    "acmil_mha": {"embed": _EMBED},
    "dtfd_original": {"embed": _EMBED},
    "attrimil": {"adaptor_dim": 6, "attention_dim": 5},
    "additive_mil": {"classifier": ("linear 6", "activation", "linear 3")},
    "transmil_original": {"embed_dim": 16},
    "torchmil_transmil": {"embed_dim": 16, "num_heads": 4},
    "stamp_vit": {"embed_dim": 16, "mlp_dim": 20, "num_heads": 4},
    "stamp_linear": {},
    "stamp_mlp": {"mlp": ("linear 8", "activation", "linear 3")},
    "torchmil_abmil": {"attention_dim": 6},
    "torchmil_dsmil": {"query_dim": 8, "hidden_dim": 10, "num_classes": 1},
    "torchmil_transformer_abmil": {"inner_dim": 16, "attention_dim": 6, "num_heads": 4},
    "histobistro_transformer": {"embed_dim": 16, "inner_dim": 16, "mlp_dim": 20, "num_heads": 4},
}
"""The types of CLAM, TRIDENT and other public repositories."""

EVERY = SIZES | OTHERS
"""Every type that `models/registry.py` knows."""


def small_model(model_type: str, **settings: Any) -> Any:
    """Return a model in eval mode, typed as Any so that tests can use its parts."""
    torch.manual_seed(0)
    model: MILModel = model_class(model_type)(**({"in_dim": 24, "num_classes": 3} | EVERY[model_type] | settings))
    return model.eval()
