"""Parts of every kind of TransMIL: Nystrom blocks, and positions from tokens laid out as a square."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.layers.nystrom import NystromAttention
from mil_heatmaps.layers.streaming import rows_for


class PyramidPositions(nn.Module):
    """Depthwise 7x7 + 5x5 + 3x3 convolutions plus identity over tokens laid out as a square (PPEG)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj, self.proj1, self.proj2 = (
            nn.Conv2d(dim, dim, size, padding=size // 2, groups=dim) for size in (7, 5, 3)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, S, E) with positions added; S must be a square. Overwrites `tokens` without gradients.

        The three kernels and the identity add up to one 7x7 kernel, because convolution is linear.
        """
        batch, count, dim = tokens.shape
        side = math.isqrt(count)
        kernel = torch.zeros_like(self.proj.weight)
        kernel[..., 3, 3] = 1  # the identity
        bias = torch.zeros_like(kernel[:, 0, 0, 0])
        for conv in (self.proj, self.proj1, self.proj2):
            kernel = kernel + F.pad(conv.weight, [(7 - conv.kernel_size[0]) // 2] * 4)
            bias = bias + cast(Tensor, conv.bias)

        def convolve(first: int, last: int) -> Tensor:
            square = tokens[..., first:last].transpose(1, 2).reshape(batch, last - first, side, side)
            out = F.conv2d(square, kernel[first:last], bias[first:last], padding=3, groups=last - first)
            return out.reshape(batch, last - first, count).transpose(1, 2)

        if torch.is_grad_enabled():
            return convolve(0, dim)
        channels = rows_for(batch * count, share=0.5)
        for first in range(0, dim, channels):
            last = min(first + channels, dim)
            tokens[..., first:last] = convolve(first, last)
        return tokens


class NystromBlock(nn.Module):
    """t += Nystrom(LN t), with half as many landmarks as the tokens are wide."""

    def __init__(self, dim: int, heads: int, dropout: float, *, plain: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = NystromAttention(
            dim, heads=heads, head_dim=dim // heads, landmarks=dim // 2, dropout=dropout, plain=plain
        )

    def forward(self, tokens: Tensor, *, first_only: bool, row_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Return the tokens (or only the first) after the block, and row 0's weights (B, H, n) if asked."""
        run = self.attention.first_row if first_only else self.attention.forward
        return run(tokens, self.norm, row_weights=row_weights)


def square_of(n: int) -> int:
    """Return the least square number not below `n`."""
    side = math.isqrt(n)
    return n if side * side == n else (side + 1) ** 2
