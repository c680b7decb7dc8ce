"""Nystrom attention streamed is the dense one."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mil_heatmaps.layers.nystrom import NystromAttention, iterative_pinv


def dense_nystrom(layer: NystromAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer's output (B, n, E) of x and row 0 of A1 Z A3 (B, H, n), every matrix in full."""
    batch, n, _ = x.shape
    m = layer.landmarks
    padding = (m - n % m) % m
    padded = torch.cat([x.new_zeros(batch, padding, x.shape[2]), x], dim=1)
    length = padded.shape[1] // m
    q, k, v = (
        part.reshape(batch, n + padding, layer.heads, -1).transpose(1, 2)
        for part in layer.to_qkv(padded).chunk(3, dim=-1)
    )
    q = q * layer.scale
    ql, kl = (part.reshape(batch, layer.heads, m, length, -1).mean(dim=3) for part in (q, k))
    first, second, third = (torch.softmax(a @ b.transpose(-1, -2), dim=-1) for a, b in ((q, kl), (ql, kl), (ql, k)))
    weights = first @ iterative_pinv(second) @ third
    out = weights @ v + layer.res_conv(v)
    out = out.transpose(1, 2).reshape(batch, n + padding, -1)
    return layer.to_out(out)[:, padding:], weights[:, :, padding, padding:]


@pytest.mark.parametrize("n", [1, 3, 8, 9, 40, 100])
@pytest.mark.parametrize("gradients", [True, False])
def test_streamed_nystrom_is_the_dense_one_at_any_length(n: int, gradients: bool) -> None:
    torch.manual_seed(0)
    layer, norm = NystromAttention(12, heads=2, head_dim=5, landmarks=8).double(), nn.LayerNorm(12).double()
    x = torch.randn(2, n, 12, dtype=torch.float64)
    expected, row = dense_nystrom(layer, norm(x))
    with torch.set_grad_enabled(gradients):
        first, first_row = layer.first_row(x.clone(), norm, row_weights=True)
        out, weights = layer(x.clone(), norm, row_weights=True)
    np.testing.assert_allclose(out.detach(), (x + expected).detach(), atol=1e-12)
    np.testing.assert_allclose(first.detach(), (x + expected)[:, :1].detach(), atol=1e-12)
    np.testing.assert_allclose(weights.detach(), row.detach(), atol=1e-12)
    np.testing.assert_allclose(first_row.detach(), row.detach(), atol=1e-12)
