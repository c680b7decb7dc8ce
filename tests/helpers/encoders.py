"""A package `timm` whose models are tiny, and weights for them."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn


class Tiny(nn.Module):
    """Stands for a timm network: (B, 3, H, W) -> a list of one (B, 4, h, w) map, or (B, 4)."""

    def __init__(self, features_only: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 8, 8)
        self.features_only = features_only
        self.num_features = 4
        self.pretrained_cfg = {
            "input_size": (3, 32, 32), "interpolation": "bicubic", "crop_pct": 0.8, "crop_mode": "center",
            "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "classifier": "fc", "hf_hub_id": "timm/tiny",
        }  # fmt: skip

    def forward(self, pixels: torch.Tensor) -> Any:
        maps = self.conv1(pixels)
        return [maps] if self.features_only else maps.mean((2, 3))


def install_fake_timm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Install a fake package `timm` whose models are all `Tiny`; return the calls made to it."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append((name, options))
        if name.startswith("no_"):
            raise RuntimeError(f"Unknown model ({name})")
        return Tiny(bool(options.get("features_only")))

    timm: Any = ModuleType("timm")
    timm.create_model = create_model
    timm.list_models = lambda pattern: ["tiny_model"]
    timm.layers = SimpleNamespace(SwiGLUPacked=nn.Identity)
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.delenv("UNI_CKPT_PATH", raising=False)
    return calls


def write_tiny_weights(path: Path) -> Path:
    """Write the weights of `Tiny` and, as in real files, a classifier that is not used."""
    torch.manual_seed(0)
    torch.save({**Tiny().state_dict(), "fc.weight": torch.ones(2, 4)}, path)
    return path
