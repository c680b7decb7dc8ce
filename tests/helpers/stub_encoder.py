"""The encoder of golden/clam/e2e: each patch averaged over a 4 x 4 grid of the normalised 224-px picture."""

import time
from typing import Any

import torch
from torch import nn

from mil_heatmaps.encoders.base import ModuleEncoder
from mil_heatmaps.encoders.preprocessing import Preprocessing


class MeanGrid(nn.Module):
    """(B, 3, H, W) -> (B, 48): means of a 4 x 4 grid, channel after channel."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1)


def create(*, device: str | torch.device = "cpu", target_img_size: int | None = 224) -> ModuleEncoder:
    """``tests.helpers.stub_encoder:create``: with CLAM's preprocessing for resnet50_trunc."""
    return ModuleEncoder(
        "stub", MeanGrid(), 48, Preprocessing(resize_px=target_img_size or 224), device=device, weights="none"
    )


class Convolutions(nn.Module):
    """(B, 3, H, W) -> (B, 48), always the same weights; the sums round differently when threads split them."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 1), nn.ReLU(), nn.Conv2d(64, 48, 3, 2)
            )

    def forward(self, pixels: torch.Tensor) -> Any:
        sums = torch.stack([patch.sum() for patch in pixels])  # over so many pixels that torch uses its threads
        return self.layers(pixels).mean((2, 3)) + sums[:, None] / pixels[0].numel()


def convolutions(*, device: str | torch.device = "cpu") -> ModuleEncoder:
    """``tests.helpers.stub_encoder:convolutions``: a small real network."""
    return ModuleEncoder("conv", Convolutions(), 48, Preprocessing(resize_px=128), device=device, weights="seed 0")


class SlowStub(ModuleEncoder):
    """A stub that takes a while."""

    def encode(self, tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        time.sleep(0.15)
        return super().encode(tensor, **options)


def slow() -> ModuleEncoder:
    """``tests.helpers.stub_encoder:slow``."""
    return SlowStub("slow", MeanGrid(), 48, Preprocessing(resize_px=32), weights="none")
