"""Work over the rows of a long bag in bounded memory.

A bag is ``(B, N, D)``: B slides of N rows. With gradients enabled everything runs as one chunk, so that
training works and autograd sees no overwritten tensor; without them, results are the same up to rounding
and memory is one result plus one chunk.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from src.models import bag as bag_module

CHUNK_BYTES = 64 * 2**20
"""What the widest temporary of a chunk may take."""

RowFunction = Callable[[int, int], Tensor]
"""(start, stop) -> ``(B, stop - start, ...)``."""


def rows_for(width: int, *, share: float = 1.0) -> int:
    """Return how many rows of `width` float32 fit in that share of `CHUNK_BYTES`, 16 at least."""
    return max(16, int(share * CHUNK_BYTES) // (4 * max(width, 1)))


def row_chunks(n: int, rows: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) over `n` rows, `CHUNK_ROWS` of `bag` unless `rows` says otherwise; a single chunk
    with gradients.
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

    `function` for a chunk may read rows of that chunk only, because others may already be overwritten.
    """
    if torch.is_grad_enabled():
        return tokens + function(0, tokens.shape[1])
    for start, stop in row_chunks(tokens.shape[1], rows):
        tokens[:, start:stop] += function(start, stop)
    return tokens


class OnlineAttention:
    """``softmax(scores) @ values`` for few queries over many rows that come in chunks.

    Keeps the running maximum and sum of the softmax (Milakov and Gimelshein, 2018), so that the ``(queries,
    N)`` matrix never exists. All tensors lead with the same batch dimensions.

    Attributes
    ----------
    peak, total : (..., Q, 1)
        Maximum of the scores, and sum of ``exp(score - peak)``, so far.
    """

    def __init__(self) -> None:
        self.peak: Tensor | None = None
        self.total: Tensor | None = None
        self._pooled: Tensor | None = None

    def add_zero_rows(self, count: int, like: Tensor) -> None:
        """Account for `count` rows of score 0 and value 0 before the first chunk; `like` is any ``(..., Q,
        *)``.
        """
        if count > 0:
            self.peak = like.new_zeros((*like.shape[:-1], 1))
            self.total = like.new_full((*like.shape[:-1], 1), float(count))

    def update(self, scores: Tensor, values: Tensor) -> None:
        """Take in rows with `scores` ``(..., Q, c)`` and `values` ``(..., c, d)``."""
        peak = scores.amax(dim=-1, keepdim=True).detach()
        if self.peak is not None:
            peak = torch.maximum(peak, self.peak)
        weights = (scores - peak).exp()
        total = weights.sum(dim=-1, keepdim=True)
        pooled = weights @ values
        if self.peak is not None and self.total is not None:
            shrink = (self.peak - peak).exp()
            total = total + shrink * self.total
            if self._pooled is not None:
                pooled = pooled + shrink * self._pooled
        self.peak, self.total, self._pooled = peak, total, pooled

    def pooled(self) -> Tensor:
        """Return the pooled values ``(..., Q, d)``."""
        if self._pooled is None or self.total is None:
            raise ValueError("no rows were given")
        return self._pooled / self.total

    def weights(self, scores: Tensor) -> Tensor:
        """Return the softmax weights ``(..., Q, c)`` of rows with `scores`, once every row was taken in."""
        if self.peak is None or self.total is None:
            raise ValueError("no rows were given")
        return (scores - self.peak).exp() / self.total


def split_heads(rows: Tensor, heads: int) -> Tensor:
    """Return ``(B, heads, n, d)`` of ``(B, n, heads * d)``."""
    batch, n, width = rows.shape
    return rows.view(batch, n, heads, width // heads).transpose(1, 2)


def merge_heads(rows: Tensor) -> Tensor:
    """Return ``(B, n, heads * d)`` of ``(B, heads, n, d)``."""
    batch, heads, n, width = rows.shape
    return rows.transpose(1, 2).reshape(batch, n, heads * width)
