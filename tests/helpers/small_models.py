"""Small models of MIL-Lab's types, the same weights each time."""

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


def small_model(model_type: str, **settings: Any) -> Any:
    """Return a model in eval mode, typed as Any so that tests can use its parts."""
    torch.manual_seed(0)
    model: MILModel = model_class(model_type)(**({"in_dim": 24, "num_classes": 3} | SIZES[model_type] | settings))
    return model.eval()
