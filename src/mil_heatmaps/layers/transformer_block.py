"""Pre-norm transformer blocks of MIL-Lab and other repositories, with attention by chunks of queries."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.streaming import add_rows, merge_heads, row_chunks, rows_for, split_heads, stream_rows


class TransformerBlock(nn.Module):
    """t += MHA(LN t); with an MLP also t += ReLU(W2 ReLU(W1 LN2 t)), including the last ReLU."""

    masked = False
    attention: Any

    def __init__(self, dim: int, heads: int, mlp_dim: int, dropout: float) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.hidden, self.has_mlp = mlp_dim, mlp_dim > 0
        if self.has_mlp:
            self.mlp = nn.Sequential(
                nn.Linear(dim, mlp_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(mlp_dim, dim), nn.ReLU()
            )
            self.norm2 = nn.LayerNorm(dim)

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return len(self.attention.in_proj_weight) // 3

    def keys_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (B, H, n, d) of tokens (B, n, E)."""
        inner = self.inner
        both = stream_rows(
            lambda start, stop: self._project(tokens[:, start:stop], inner, 3 * inner), tokens.shape[1]
        )
        return split_heads(both[..., :inner], self.heads), split_heads(both[..., inner:], self.heads)

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, first_only: bool = False) -> Tensor:
        """Return the block's output (B, n, E), or only its first row (B, 1, E).

        Overwrites `tokens` without gradients.
        """
        if first_only:
            tokens = tokens[:, :1].clone()

        def attend(start: int, stop: int) -> Tensor:
            attended = self._read(self._queries(tokens[:, start:stop]), keys, values, start)
            out: Tensor = self.attention.out_proj(merge_heads(attended))
            return out

        attended = add_rows(tokens, attend)
        if not self.has_mlp:
            return attended
        rows = rows_for(self.hidden, share=1 / 8)
        return add_rows(attended, lambda start, stop: self.mlp(self.norm2(attended[:, start:stop])), rows)

    def _read(self, queries: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
        """Return what the queries (B, H, c, d) of the rows from `start` on read."""
        dropout = self.attention.dropout if self.training else 0.0
        if not self.masked:
            return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        patches = F.scaled_dot_product_attention(queries, keys[:, :, 1:], values[:, :, 1:])
        if start:
            return patches
        first = F.scaled_dot_product_attention(queries[:, :, :1], keys, values)
        return torch.cat([first, patches[:, :, 1:]], dim=2)

    def first_row(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Return what the first token reads, (B, H, n): each head's softmax over all tokens."""
        queries = self._queries(tokens[:, :1]) * self._scale
        return torch.softmax((queries @ keys.transpose(-1, -2)).squeeze(2), dim=-1)

    def carry_back(self, row: Tensor, tokens: Tensor) -> Tensor:
        """Return ``row @ mean over heads of the attention matrix`` (n,), for a row (n,) and tokens (1, n, E)."""
        n = tokens.shape[1]
        keys, _ = self.keys_and_values(tokens)
        carried = torch.zeros_like(row)
        for start, stop in row_chunks(n, rows_for(n, share=0.5)):
            queries = self._queries(tokens[:, start:stop]) * self._scale
            for head in range(self.heads):
                scores = queries[0, head] @ keys[0, head].T
                if self.masked:
                    scores[int(start == 0) :, 0] = -torch.inf
                scores -= scores.amax(dim=-1, keepdim=True)
                weights = scores.exp_()
                carried += (row[start:stop] / weights.sum(dim=-1)) @ weights
        return carried / self.heads

    def mean_matrix(self, tokens: Tensor) -> Tensor:
        """Return the whole attention matrix, mean over heads, (B, n, n)."""
        n = tokens.shape[1]
        keys, _ = self.keys_and_values(tokens)

        def mean_rows(start: int, stop: int) -> Tensor:
            queries = self._queries(tokens[:, start:stop]) * self._scale
            total: Tensor | None = None
            for head in range(self.heads):
                part = torch.softmax(queries[:, head] @ keys[:, head].transpose(-1, -2), dim=-1)
                total = part if total is None else total + part
            assert total is not None
            return total / self.heads

        return stream_rows(mean_rows, n, rows_for(n))

    @property
    def _scale(self) -> float:
        return float((self.inner // self.heads) ** -0.5)

    def _project(self, rows: Tensor, first: int, last: int) -> Tensor:
        attention = self.attention
        bias = None if attention.in_proj_bias is None else attention.in_proj_bias[first:last]
        return F.linear(self.norm(rows), attention.in_proj_weight[first:last], bias)

    def _queries(self, rows: Tensor) -> Tensor:
        return split_heads(self._project(rows, 0, self.inner), self.heads)


class SelfAttention(nn.Module):
    """The projections of self-attention, with torch's keys; inner width, biases and output projection may differ.

    Parameters
    ----------
    dim, inner : int
        Width of the tokens, and of all heads together.
    bias : bool
        Whether queries, keys and values have biases.
    projected : bool
        Whether the heads are projected back to `dim`.
    """

    dropout = 0.0

    def __init__(self, dim: int, inner: int, *, bias: bool, projected: bool) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * inner, dim) * dim**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * inner)) if bias else None
        self.out_proj: nn.Module = nn.Linear(inner, dim) if projected else nn.Identity()


class GeluBlock(TransformerBlock):
    """t += MHA(LN t); t += W2 GELU(W1 LN2 t): the block of public repositories.

    With `masked` only the class token's row reads the class token. Without `projected` MHA returns the joined heads.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_dim: int,
        *,
        inner: int = 0,
        bias: bool = True,
        projected: bool = True,
        masked: bool = False,
    ) -> None:
        nn.Module.__init__(self)
        inner = inner or dim
        self.dim, self.heads, self.masked = dim, require_heads(heads, inner), masked
        self.norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, inner, bias=bias, projected=projected)
        self.hidden, self.has_mlp = mlp_dim, mlp_dim > 0
        width = dim if projected else inner
        if self.has_mlp:
            self.mlp = nn.Sequential(
                nn.Linear(width, mlp_dim), nn.GELU(), nn.Dropout(0.0), nn.Linear(mlp_dim, width)
            )
            self.norm2 = nn.LayerNorm(width)


def require_heads(heads: int, width: int) -> int:
    """Return the number of heads; raise a ModelError if it does not divide the width."""
    if heads < 1 or width % heads:
        raise ModelError(
            f"num_heads {heads} does not divide the width {width}; give num_heads in model_arguments.overrides"
        )
    return heads
