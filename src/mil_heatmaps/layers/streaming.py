"""Work over the rows of a long bag in bounded memory.

A bag is ``(B, N, D)``: B slides of N rows. With gradients enabled everything runs as one chunk, so that
training works and autograd sees no overwritten tensor. Without gradients, results are the same up to
rounding, and memory holds one result and one chunk.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mil_heatmaps.layers import bag as bag_module

CHUNK_BYTES = 64 * 2**20
"""Most bytes that the widest temporary of a chunk may take."""

OVERHEAD_BYTES = 256 * 2**20
"""Bytes that the allocator and the matrix library keep beside the tensors, as measured."""

RowFunction = Callable[[int, int], Tensor]
"""(start, stop) -> ``(B, stop - start, ...)``."""


def rows_for(width: int, *, share: float = 1.0) -> int:
    """Return how many rows of `width` float32 fit in that share of `CHUNK_BYTES`, 16 at least."""
    return max(16, int(share * CHUNK_BYTES) // (4 * max(width, 1)))


def row_chunks(n: int, rows: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) over `n` rows, `CHUNK_ROWS` of `bag` unless `rows` says otherwise.

    With gradients there is a single chunk.
    """
    step = n if torch.is_grad_enabled() else rows or bag_module.CHUNK_ROWS
    for start in range(0, n, step):
        yield start, min(start + step, n)


def stream_rows(function: RowFunction, n: int, rows: int = 0) -> Tensor:
    """Return the results of `function` over all rows, joined along dimension 1."""
    joined: Tensor | None = None
    for start, stop in row_chunks(n, rows):
        piece = function(start, stop)
        if stop - start == n:
            return piece
        if joined is None:
            joined = piece.new_empty((piece.shape[0], n, *piece.shape[2:]))
        joined[:, start:stop] = piece
    if joined is None:
        raise ValueError("no rows were given")
    return joined


def add_rows(tokens: Tensor, function: RowFunction, rows: int = 0) -> Tensor:
    """Return ``tokens + function``, overwriting `tokens` when no gradient needs it.

    For each chunk, `function` may read rows of that chunk only, because others may already be overwritten.
    """
    if torch.is_grad_enabled():
        return tokens + function(0, tokens.shape[1])
    for start, stop in row_chunks(tokens.shape[1], rows):
        tokens[:, start:stop] += function(start, stop)
    return tokens


def prepend_class_token(class_token: Tensor, embed: RowFunction, n: int, repeated: int = 0) -> Tensor:
    """Return ``[class token; embedded rows; the first `repeated` of them again]``, (B, 1 + n + repeated, E).

    Without gradients the rows are written straight into their place, so that no second copy of them exists.
    """
    if torch.is_grad_enabled():
        rows = embed(0, n)
        return torch.cat([class_token.expand(len(rows), -1, -1), rows, rows[:, :repeated]], dim=1)
    tokens: Tensor | None = None
    for start, stop in row_chunks(n):
        rows = embed(start, stop)
        if tokens is None:
            tokens = rows.new_empty((len(rows), 1 + n + repeated, rows.shape[-1]))
            tokens[:, :1] = class_token
        tokens[:, 1 + start : 1 + stop] = rows
    if tokens is None:
        raise ValueError("no rows were given")
    tokens[:, 1 + n :] = tokens[:, 1 : 1 + repeated]
    return tokens


class OnlineAttention:
    """``softmax(scores) @ values`` for few queries over many rows that come in chunks.

    Keeps the running maximum and sum of the softmax (Milakov and Gimelshein, 2018), so that the ``(queries,
    N)`` matrix never exists. All tensors lead with the same batch dimensions.

    Products are taken in float32 at least, because a sum over a bag overflows float16. The results of chunks are added
    up in float64 if the device has it, so that the result does not depend on the chunking beyond rounding.

    Attributes
    ----------
    peak, total : (..., Q, 1)
        Maximum of the scores, and sum of ``exp(score - peak)``, so far.
    """

    def __init__(self) -> None:
        self.peak: Tensor | None = None
        self.total: Tensor | None = None
        self._pooled: Tensor | None = None
        self._dtype = torch.float32

    def add_zero_rows(self, count: int, like: Tensor) -> None:
        """Account for `count` rows of score 0 and value 0 before the first chunk; `like` is any ``(..., Q, *)``."""
        if count > 0:
            self.peak = torch.zeros_like(like[..., :1], dtype=torch.promote_types(like.dtype, torch.float32))
            self.total = torch.full_like(self.peak, float(count), dtype=_sum_dtype(like))

    def update(self, scores: Tensor, values: Tensor) -> None:
        """Take in rows with `scores` ``(..., Q, c)`` and `values` ``(..., c, d)``."""
        self._dtype = values.dtype
        wide = torch.promote_types(self._dtype, torch.float32)
        scores, values = scores.to(wide), values.to(wide)
        sums = _sum_dtype(values)
        peak = scores.amax(dim=-1, keepdim=True).detach()
        if self.peak is not None:
            peak = torch.maximum(peak, self.peak)
        weights = (scores - peak).exp_()
        total = weights.sum(dim=-1, keepdim=True, dtype=sums)
        pooled = (weights @ values).to(sums)
        if self.peak is not None and self.total is not None:
            shrink = (self.peak - peak).to(sums).exp()
            total = total + shrink * self.total
            if self._pooled is not None:
                pooled = pooled + shrink * self._pooled
        self.peak, self.total, self._pooled = peak, total, pooled

    def pooled(self) -> Tensor:
        """Return the pooled values ``(..., Q, d)``."""
        if self._pooled is None or self.total is None:
            raise ValueError("no rows were given")
        return (self._pooled / self.total).to(self._dtype)

    def weights(self, scores: Tensor) -> Tensor:
        """Return the softmax weights ``(..., Q, c)`` of rows with `scores`, once every row has been taken in."""
        if self.peak is None or self.total is None:
            raise ValueError("no rows were given")
        return ((scores - self.peak).exp_() / self.total.to(self.peak.dtype)).to(scores.dtype)


def _sum_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype of sums over chunks: float64, or float32 on Apple's GPUs, which lack float64."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def split_heads(rows: Tensor, heads: int) -> Tensor:
    """Return ``(B, heads, n, d)`` of ``(B, n, heads * d)``."""
    batch, n, width = rows.shape
    return rows.view(batch, n, heads, width // heads).transpose(1, 2)


def merge_heads(rows: Tensor) -> Tensor:
    """Return ``(B, n, heads * d)`` of ``(B, heads, n, d)``."""
    batch, heads, n, width = rows.shape
    return rows.transpose(1, 2).reshape(batch, n, heads * width)
