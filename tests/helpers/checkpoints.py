"""Shared by the tests of checkpoints: a small model, its state dict under other keys, and features for it."""

from typing import Any

import numpy as np
import torch

from mil_heatmaps.models.abmil import ABMIL

Tensors = dict[str, torch.Tensor]


def small_abmil() -> ABMIL:
    """Return the model with the same weights each time."""
    torch.manual_seed(0)
    return ABMIL(in_dim=12, embed_dim=8, attn_dim=6, num_classes=3).eval()


def features(count: int = 9, width: int = 12) -> Any:
    return np.random.default_rng(5).normal(size=(count, width)).astype(np.float32)


def bare(model: ABMIL) -> Tensors:
    return {key.removeprefix("model."): value for key, value in model.state_dict().items()}


def renamed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def zeros(tensors: Tensors) -> Tensors:
    return {key: torch.zeros_like(value) for key, value in tensors.items()}
