"""The encoder of golden/clam/e2e: each patch averaged over a 4 x 4 grid of the normalised 224-px picture."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from src.encoders import ModuleEncoder, Preprocessing


class MeanGrid(nn.Module):
    """(B, 3, H, W) -> (B, 48): means of a 4 x 4 grid, channel after channel."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1)


def create(*, device: str | torch.device = "cpu", target_img_size: int | None = 224) -> ModuleEncoder:
    """``tests.stub_encoder:create``: prepared as CLAM prepares resnet50_trunc."""
    return ModuleEncoder(
        "stub", MeanGrid(), 48, Preprocessing(resize_px=target_img_size or 224), device=device, weights="none"
    )


class SlowStub(ModuleEncoder):
    """A stub that takes its time and writes down every batch it encodes."""

    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__("slow_stub", MeanGrid(), 48, Preprocessing(resize_px=32), weights="none")
        self._log = log
        self._seconds = seconds

    def encode(self, tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        import time

        features = super().encode(tensor, **options)
        time.sleep(self._seconds)
        with self._log.open("a") as stream:
            stream.write(f"{len(tensor)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        return features
