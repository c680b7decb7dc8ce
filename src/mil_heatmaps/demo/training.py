"""Train the demo's ABMIL on separate slides, in a few seconds, using only slide labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mil_heatmaps.demo.features import FEATURE_WIDTH, patch_statistics
from mil_heatmaps.demo.texture import paint_slide
from mil_heatmaps.files.atomic import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

    from mil_heatmaps.models.base import MILModel

PATCH = 256
STEPS = 100
BAG_ROWS = 64


def training_bags(count: int, seed: int) -> list[tuple[npt.NDArray[np.float32], int]]:
    """Return (features (N, 52), label) of `count` small painted slides, every other one with a lesion."""
    bags = []
    for index in range(count):
        label = index % 2
        slide = paint_slide(2048, 1536, pieces=1, lesions=label, seed=seed + index)
        rows = [
            patch_statistics(slide.pixels[y : y + PATCH, x : x + PATCH])
            for y in range(0, 1536, PATCH)
            for x in range(0, 2048, PATCH)
            if slide.tissue[y : y + PATCH, x : x + PATCH].mean() > 0.5
        ]
        bags.append((np.stack(rows), label))
    return bags


def train_abmil(path: Path, *, bags: int = 16, seed: int = 7) -> float:
    """Train a small gated ABMIL, write its state dict to `path`, return the last mean loss.

    Features are standardised in training, and the scaling is folded into the first layer, so that the checkpoint takes
    features as stored in the files.
    """
    import torch

    from mil_heatmaps.checkpoints.builder import create_model

    data = training_bags(bags, seed * 1000)
    everything = np.concatenate([features for features, _ in data])
    mean, deviation = everything.mean(axis=0), everything.std(axis=0) + 1e-3
    rng = np.random.default_rng(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for such small matrices, threads only wait for each other
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(
            "abmil.base.resnet50.none", num_classes=2, in_dim=FEATURE_WIDTH, embed_dim=64, attn_dim=32
        ).train()
        step = _adam_w(list(model.parameters()), rate=2e-3, decay=1e-2)
        losses: list[float] = []
        for _ in range(STEPS):
            model.zero_grad()
            total = 0.0
            for index in rng.choice(len(data), 4, replace=False):
                features, label = data[index]
                rows = rng.permutation(len(features))[:BAG_ROWS]
                bag = torch.from_numpy((features[rows] - mean) / deviation).unsqueeze(0)
                results, _log = model(bag, loss_fn=torch.nn.functional.cross_entropy, label=torch.tensor([label]))
                (results["loss"] / 4).backward()
                total += float(results["loss"].detach()) / 4
            step()
            losses.append(total)
        _fold_scaling(model, mean, deviation)
        with atomic_path(path) as partial, partial.open("wb") as file:
            torch.save(model.state_dict(), file)
    torch.set_num_threads(threads)
    return float(np.mean(losses[-20:]))


def _adam_w(parameters: list[Tensor], *, rate: float, decay: float) -> Callable[[], None]:
    """Return a step function of AdamW (Loshchilov and Hutter 2019), identical bit for bit to ``torch.optim``.

    Importing ``torch.optim.AdamW`` loads torch's compiler, which takes longer than all steps of this training.
    """
    import torch

    first, second, least = 0.9, 0.999, 1e-8
    means = [torch.zeros_like(parameter) for parameter in parameters]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    count = 0

    @torch.no_grad()
    def step() -> None:
        nonlocal count
        count += 1
        size, scale = rate / (1 - first**count), (1 - second**count) ** 0.5
        for parameter, mean, square in zip(parameters, means, squares, strict=True):
            if parameter.grad is None:
                continue
            parameter.mul_(1 - rate * decay)
            mean.lerp_(parameter.grad, 1 - first)
            square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
            parameter.addcdiv_(mean, (square.sqrt() / scale).add_(least), value=-size)

    return step


def _fold_scaling(model: MILModel, mean: npt.NDArray[np.float32], deviation: npt.NDArray[np.float32]) -> None:
    """W (x - m) / s + b = (W / s) x + (b - W (m / s))."""
    import torch

    weights = model.state_dict()
    weight, bias = weights["model.patch_embed.0.weight"], weights["model.patch_embed.0.bias"]
    scaled = weight / torch.from_numpy(deviation)
    bias -= scaled @ torch.from_numpy(mean)
    weight.copy_(scaled)
