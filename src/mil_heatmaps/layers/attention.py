"""MIL-Lab's patch embedding, attention with and without a gate, and attention pooling of a bag chunk by chunk."""

from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.layers.streaming import OnlineAttention

RowFunction: TypeAlias = Callable[[Tensor], Tensor]
"""Rows in, rows out; each row is treated alone."""


def mlp(in_dim: int, out_dim: int, *, layers: int = 1, dropout: float = 0.0) -> nn.Sequential:
    """Return MIL-Lab's patch embedding: (Linear, ReLU, Dropout) ``layers - 1`` times, then Linear, ReLU.

    The linear layers have the indices 0, 3, 6 ...; with one layer there is no dropout. The ReLU works in place, as
    nothing else needs what it is given, not even the gradient.
    """
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(in_dim, out_dim), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        in_dim = out_dim
    return nn.Sequential(*parts, nn.Linear(in_dim, out_dim), nn.ReLU(inplace=True))


class GatedAttention(nn.Module):
    """Ilse et al.'s gated attention: W_c(tanh(W_a h + b_a) * sigmoid(W_b h + b_b)) + b_c, one column per head.

    Keys: attention_a.0, attention_b.0, attention_c.
    """

    def __init__(self, in_dim: int, hidden_dim: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.Tanh(), nn.Dropout(dropout))
        self.attention_b = nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.Sigmoid(), nn.Dropout(dropout))
        self.attention_c = nn.Linear(hidden_dim, heads)

    def forward(self, h: Tensor) -> Tensor:
        """Return raw scores (..., heads) of embeddings (..., in_dim).

        Without gradients the same numbers are computed in place: memory is slower than the arithmetic here.
        """
        if self.training or torch.is_grad_enabled():
            return cast(Tensor, self.attention_c(self.attention_a(h) * self.attention_b(h)))
        gate = self.attention_b[0](h).sigmoid_()
        return cast(Tensor, self.attention_c(self.attention_a[0](h).tanh_().mul_(gate)))


class PlainAttention(nn.Module):
    """Attention without a gate: W_2 tanh(W_1 h + b_1) + b_2. Keys module.0, module.3."""

    def __init__(self, in_dim: int, hidden_dim: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.module = nn.Sequential(
            nn.Linear(in_dim, hidden_dim), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden_dim, heads)
        )

    def forward(self, h: Tensor) -> Tensor:
        """Return raw scores (..., heads) of embeddings (..., in_dim)."""
        return cast(Tensor, self.module(h))


def attention(in_dim: int, hidden_dim: int, *, heads: int = 1, gate: bool = True, dropout: float = 0.0) -> nn.Module:
    """Return attention with or without a gate."""
    kind = GatedAttention if gate else PlainAttention
    return kind(in_dim, hidden_dim, heads, dropout)


def map_rows(bag: Bag, function: RowFunction, rows: int = 0) -> Tensor:
    """Return `function` of every patch, (N, E), computed chunk by chunk; `function` must treat rows alone."""
    out: Tensor | None = None
    for where, x in bag.chunks(rows):
        out = _put(out, function(x), where, len(bag))
    if out is None:
        raise ValueError("the bag is empty")
    return out


def mask_scores(raw: Tensor, attn_mask: Tensor | None) -> Tensor:
    """Return raw scores (B, K, N), with the lowest finite number added where `attn_mask` (B, N) is 0; 1 = valid."""
    if attn_mask is None:
        return raw
    hidden = 1 - attn_mask.to(raw.dtype).reshape(len(raw), 1, -1)
    return raw + hidden * torch.finfo(raw.dtype).min


def softmax_over_patches(scores: Tensor) -> Tensor:
    """Return each column's softmax over the rows, (N, K): shares of the bag, summing to 1."""
    return torch.softmax(scores, dim=0)


def pool_bag(
    bag: Bag, embed: RowFunction, attend: RowFunction, per_row: Mapping[str, RowFunction] | None = None
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Embed, weigh and softmax-pool a bag chunk by chunk; only the raw scores of all patches are kept.

    Parameters
    ----------
    embed : (n, D) -> (n, E)
    attend : (n, E) -> (n, K)
        Raw attention.
    per_row : name -> function of the embedded rows, (n, E) -> (n, M)
        Further numbers to keep for every patch.

    Returns
    -------
    raw : (N, K)
    pooled : (K, E)
    rows : name -> (N, M)
    """
    raw: Tensor | None = None
    pooling = OnlineAttention()
    rows: dict[str, Tensor] = {}
    for where, x in bag.chunks():
        embedded = embed(x)
        scores = attend(embedded)
        pooling.update(scores.T, embedded)
        raw = _put(raw, scores, where, len(bag))
        for name, function in (per_row or {}).items():
            rows[name] = _put(rows.get(name), function(embedded), where, len(bag))
    if raw is None:
        raise ValueError("the bag is empty")
    return raw, pooling.pooled(), rows


def _put(whole: Tensor | None, part: Tensor, where: slice, count: int) -> Tensor:
    """Put `part` in its place in a tensor of `count` rows, which is created if it does not exist."""
    if whole is None:
        whole = part.new_empty((count, *part.shape[1:]))
    whole[where] = part
    return whole
