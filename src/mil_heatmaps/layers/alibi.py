"""STAMP's attention with ALiBi: softmax weights less a bias that grows with the distance between two patches.

For head h, ``weights = softmax(q k / sqrt d) - |p_i - p_j| scale_h / mean_h``, with distances in micrometres and no
softmax afterwards: a row is not a share and may be negative. ``weights v`` splits into the result of softmax attention
and a sum over distances. The distances come in chunks of rows and are the same for all heads up to a factor.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.streaming import add_rows, merge_heads, rows_for, split_heads
from mil_heatmaps.layers.transformer_block import GeluBlock


class AlibiAttention(nn.Module):
    """The separate projections of each head, and its scale, in STAMP's order: ``query.{h}`` …."""

    dropout = 0.0

    def __init__(self, dim: int, heads: int, head_dim: int, value_dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.ModuleList(nn.Linear(dim, width) for _ in range(heads)) for width in (head_dim, head_dim, value_dim)
        )
        self.scale = nn.ParameterList(torch.ones(1) for _ in range(heads))
        self.mean_distance = nn.ParameterList(torch.ones(1) for _ in range(heads))
        self.out_proj = nn.Linear(heads * value_dim, dim)

    @property
    def slopes(self) -> Tensor:
        """How much one micrometre of distance takes off the weight, (H,)."""
        slopes = [cast(Tensor, a / b) for a, b in zip(self.scale, self.mean_distance, strict=True)]
        return torch.cat(slopes)


class AlibiBlock(GeluBlock):
    """t += ALiBi(LN t); t += W2 GELU(W1 LN2 t).

    Call `place` before use, with the corners (N, 2) of the patches in micrometres; the class token is at (0, 0). With
    `masked`, patches do not read the class token, and distances to and from it are 0.
    """

    def __init__(self, dim: int, heads: int, mlp_dim: int, *, head_dim: int, value_dim: int, masked: bool) -> None:
        super().__init__(dim, 1, mlp_dim, masked=masked)
        self.heads = heads
        self.attention = AlibiAttention(dim, heads, head_dim, value_dim)
        self._points: Tensor | None = None

    def place(self, corners_um: Tensor | None) -> None:
        """Set the corners (N, 2) of the patches for the passes that follow; None forgets them."""
        self._points = None if corners_um is None else F.pad(corners_um, (0, 0, 1, 0))

    def keys_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys (B, H, n, d) and values (B, H, n, v) of tokens (B, n, E)."""
        rows = self.norm(tokens)
        return self._heads_of(self.attention.key, rows), self._heads_of(self.attention.value, rows)

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, first_only: bool = False) -> Tensor:
        """As `TransformerBlock`."""
        if first_only:
            tokens = tokens[:, :1].clone()
        step = rows_for(keys.shape[2], share=0.25)
        flat, slopes = merge_heads(values), self.attention.slopes.reshape(1, -1, 1, 1)

        def attend(start: int, stop: int) -> Tensor:
            queries = self._queries(tokens[:, start:stop])
            read = F.scaled_dot_product_attention(queries, keys, values)
            distant = split_heads(self._distances(start, stop) @ flat, self.heads)
            if self.masked:
                hidden = self._share_of_class_token(queries, keys) * values[:, :, :1]
                read = torch.cat([read[:, :, :1] if start == 0 else read[:, :, :0],
                                  (read - hidden)[:, :, int(start == 0) :]], dim=2)  # fmt: skip
            out: Tensor = self.attention.out_proj(merge_heads(read - slopes * distant))
            return out

        attended = add_rows(tokens, attend, step)
        rows = rows_for(self.hidden, share=1 / 8)
        return add_rows(attended, lambda start, stop: self.mlp(self.norm2(attended[:, start:stop])), rows)

    def first_row(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Return the class token's weights, (B, H, n), which are not shares."""
        shares = super().first_row(tokens, keys)
        weights: Tensor = shares - self.attention.slopes[:, None] * self._distances(0, 1)
        return weights

    @property
    def _scale(self) -> float:
        return float(self.attention.query[0].out_features ** -0.5)

    def _heads_of(self, layers: nn.ModuleList, rows: Tensor) -> Tensor:
        parts = [cast(nn.Linear, layer) for layer in layers]
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        return split_heads(F.linear(rows, weight, bias), self.heads)

    def _queries(self, rows: Tensor) -> Tensor:
        return self._heads_of(self.attention.query, self.norm(rows))

    def _share_of_class_token(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the softmax weight of column 0, (B, H, c, 1), one head at a time."""
        heads = [
            torch.softmax(queries[:, h] @ keys[:, h].transpose(-1, -2) * self._scale, dim=-1)[..., :1]
            for h in range(self.heads)
        ]
        return torch.stack(heads, dim=1)

    def _distances(self, start: int, stop: int) -> Tensor:
        """Return distances in micrometres from rows start..stop to all rows, (c, n)."""
        points = self._points
        if points is None:
            raise ModelError("a model with ALiBi asks where patches lie, in micrometres: give coords_um to forward")
        exact = "use_mm_for_euclid_dist" if points.dtype == torch.float64 else "donot_use_mm_for_euclid_dist"
        apart = torch.cdist(points[start:stop], points, compute_mode=exact).to(self.norm.weight.dtype)
        if self.masked:
            apart[:, 0] = 0
            if start == 0:
                apart[0] = 0
        return apart
