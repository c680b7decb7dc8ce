"""One pre-norm transformer block whose attention runs by chunks of queries."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.layers.streaming import add_rows, merge_heads, row_chunks, rows_for, split_heads, stream_rows


class TransformerBlock(nn.Module):
    """t += MHA(LN t); with an MLP also t += ReLU(W2 ReLU(W1 LN2 t)), its last ReLU included."""

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

    def keys_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (B, H, n, d) of tokens (B, n, E)."""
        both = stream_rows(
            lambda start, stop: self._project(tokens[:, start:stop], self.dim, 3 * self.dim), tokens.shape[1]
        )
        return split_heads(both[..., : self.dim], self.heads), split_heads(both[..., self.dim :], self.heads)

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, first_only: bool = False) -> Tensor:
        """Return the block's output (B, n, E), or only its first row (B, 1, E). Overwrites `tokens` without
        gradients.
        """
        if first_only:
            tokens = tokens[:, :1].clone()

        def attend(start: int, stop: int) -> Tensor:
            attended = F.scaled_dot_product_attention(
                self._queries(tokens[:, start:stop]),
                keys,
                values,
                dropout_p=self.attention.dropout if self.training else 0.0,
            )
            out: Tensor = self.attention.out_proj(merge_heads(attended))
            return out

        attended = add_rows(tokens, attend)
        if not self.has_mlp:
            return attended
        rows = rows_for(self.hidden, share=1 / 8)
        return add_rows(attended, lambda start, stop: self.mlp(self.norm2(attended[:, start:stop])), rows)

    def first_row(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Return what the first token reads, (B, H, n): each head's softmax over all tokens."""
        queries = self._queries(tokens[:, :1]) * self._scale
        return torch.softmax((queries @ keys.transpose(-1, -2)).squeeze(2), dim=-1)

    def carry_back(self, row: Tensor, tokens: Tensor) -> Tensor:
        """Return ``row @ mean over heads of the attention matrix``, (n,), of row (n,), tokens (1, n, E)."""
        n = tokens.shape[1]
        keys, _ = self.keys_and_values(tokens)
        carried = torch.zeros_like(row)
        for start, stop in row_chunks(n, rows_for(n, share=0.5)):
            queries = self._queries(tokens[:, start:stop]) * self._scale
            for head in range(self.heads):
                scores = queries[0, head] @ keys[0, head].T
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
        return float((self.dim // self.heads) ** -0.5)

    def _project(self, rows: Tensor, first: int, last: int) -> Tensor:
        attention = self.attention
        return F.linear(
            self.norm(rows), attention.in_proj_weight[first:last], attention.in_proj_bias[first:last]
        )

    def _queries(self, rows: Tensor) -> Tensor:
        return split_heads(self._project(rows, 0, self.dim), self.heads)
