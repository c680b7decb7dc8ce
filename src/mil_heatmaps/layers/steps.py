"""Layers in sequence, described in words: Linear, batch norm and activation, read from their numbers in a file."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.layers.roles import ChainLayer

NORM_EPS = 1e-5
"""torch's default, which is added to variances."""
ACTIVATIONS = ("relu", "gelu", "leaky_relu", "tanh", "none")


def activate(x: Tensor, name: str, slope: float = 0.01) -> Tensor:
    """Apply the activation of that name; GELU is the exact one, `slope` is for leaky_relu."""
    if name == "leaky_relu":
        return F.leaky_relu(x, slope)
    functions = {"relu": torch.relu, "gelu": F.gelu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    return x if name == "none" else functions[name](x)


class BatchNorm(nn.Module):
    """Batch norm over rows (n, E) by stored running statistics, or else by the rows' own with biased variance."""

    def __init__(self, width: int, *, stored: bool = True) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.stored = stored
        if stored:
            self.register_buffer("running_mean", torch.zeros(width))
            self.register_buffer("running_var", torch.ones(width))

    def scale_and_shift(self, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (scale, shift) (E,) that normalise rows; rows `x` only matter without stored statistics."""
        mean, var = (self.running_mean, self.running_var) if self.stored else (None, None)
        if x is not None and not self.stored:
            mean, var = x.mean(dim=0), x.var(dim=0, unbiased=False)
        scale = self.weight * torch.rsqrt(cast(Tensor, var) + NORM_EPS)
        return scale, self.bias - cast(Tensor, mean) * scale

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, E) of (n, E)."""
        scale, shift = self.scale_and_shift(x)
        return x * scale + shift


def steps_of(layers: Sequence[ChainLayer], *, last_active: bool = True) -> tuple[str, ...]:
    """Return the steps that follow from the layers of a Sequential: ``linear 512``, ``activation``, ``norm`` ….

    A norm numbered n + 1 after Linear n comes before its activation, a norm with a higher number after it.
    ``linear! 512`` has no bias, ``norm!`` has no running statistics. Without `last_active` the last Linear has no
    activation.
    """
    steps: list[str] = []
    last = max((i for i, layer in enumerate(layers) if layer.kind == "linear"), default=-1)
    pending, at = False, -2
    for i, layer in enumerate(layers):
        if layer.kind == "linear":
            if pending:
                steps.append("activation")
            steps.append(f"linear{'' if layer.full else '!'} {layer.width}")
            pending, at = last_active or i != last, layer.number
        else:
            if pending and layer.number > at + 1:
                steps.append("activation")
                pending = False
            steps.append("norm" if layer.full else "norm!")
    return (*steps, "activation") if pending else tuple(steps)


class Steps(nn.ModuleList):
    """The layers of `steps`, numbered by their place among those that have tensors.

    Parameters
    ----------
    in_dim : int
    steps : words of `steps_of`
    activation : one of `ACTIVATIONS`
    slope : float
        Slope of leaky_relu.
    """

    def __init__(self, in_dim: int, steps: Sequence[str], activation: str = "relu", slope: float = 0.01) -> None:
        super().__init__()
        self.steps, self.activation, self.slope, self.width = tuple(steps), activation, slope, in_dim
        for step in steps:
            word, _, number = step.partition(" ")
            if word.startswith("linear"):
                self.append(nn.Linear(self.width, int(number), bias=not word.endswith("!")))
                self.width = int(number)
            elif word.startswith("norm"):
                self.append(BatchNorm(self.width, stored=not word.endswith("!")))

    @property
    def row_wise(self) -> bool:
        """Whether every row is treated alone: no norm takes its statistics from the rows."""
        return "norm!" not in self.steps

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, E) of rows (n, D)."""
        layers = iter(self)
        for step in self.steps:
            x = activate(x, self.activation, self.slope) if step == "activation" else next(layers)(x)
        return x


class Residual(nn.Module):
    """h + ReLU(W2 ReLU(W1 h)), without biases: the blocks of DTFD-MIL's `DimReduction`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Linear(dim, dim, bias=False), nn.ReLU(), nn.Linear(dim, dim, bias=False), nn.ReLU()
        )

    def forward(self, h: Tensor) -> Tensor:
        """Return (..., E) of (..., E)."""
        return cast(Tensor, h + self.block(h))
