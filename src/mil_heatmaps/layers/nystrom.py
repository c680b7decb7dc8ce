"""Nystrom attention over a long sequence, streamed.

This is the arithmetic of Xiong et al. (2021), "Nystromformer", as the nystrom-attention package and MIL-Lab
run it. It keeps their quirks, because checkpoints were trained with them. Zero rows are padded in front up
to a multiple of the landmarks and are not masked: they take softmax mass and enter the landmark means. The
pseudo-inverse starts from two maxima taken over the whole batch and all heads, so heads, and slides of one
batch, influence one another.

With padded length n', landmarks m and heads H:

- ``A1 = softmax(q kl^T)``, ``A2 = softmax(ql kl^T)``, ``A3 = softmax(ql k^T)``, where ``ql, kl`` are means
  of n'/m consecutive rows;
- ``out = A1 Z (A3 v) + depthwise convolution of v along the sequence``, ``Z`` the iterated pseudo-inverse
  of ``A2``.

There are three passes over the rows, and none holds more than the tokens, the values and one chunk: landmark
means (the projection is linear, so the means are projected), ``A3 v`` by an online softmax, then the output.
The last layer of a class-token model needs one row only.
"""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.layers.streaming import (
    OnlineAttention,
    add_rows,
    merge_heads,
    row_chunks,
    rows_for,
    split_heads,
    stream_rows,
)

PINV_ITERATIONS: Final = 6
CONV_KERNEL: Final = 33


def iterative_pinv(matrix: Tensor) -> Tensor:
    """Return the pseudo-inverse of `matrix` ``(B, H, m, m)`` by the paper's third-order iteration.

    The iteration starts from the transpose divided by the largest row sum and the largest column sum of the
    whole tensor, as in the reference implementation.
    """
    magnitude = matrix.abs()
    inverse = matrix.transpose(-1, -2) / (magnitude.sum(-1).max() * magnitude.sum(-2).max())
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(PINV_ITERATIONS):
        product = matrix @ inverse
        inverse = (
            0.25 * inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product)))
        )
    return inverse


@dataclass(frozen=True)
class Landmarks:
    """The landmarks that every row is compared with.

    Attributes
    ----------
    queries, keys : (B, H, m, d)
        Means over stretches of the padded sequence; the queries are scaled.
    inverse : (B, H, m, m)
        Pseudo-inverse of their softmax.
    padding : int
        Zero rows in front of the sequence.
    """

    queries: Tensor
    keys: Tensor
    inverse: Tensor
    padding: int


class NystromAttention(nn.Module):
    """Nystrom self-attention with a residual convolution of the values.

    Parameters
    ----------
    dim : int
        Width of the tokens.
    heads, head_dim : int
    landmarks : int
        m; the sequence is padded in front to a multiple of it.
    plain : bool
        Whether it is torchmil's form, without output projection and residual convolution.
    """

    def __init__(
        self, dim: int, *, heads: int, head_dim: int, landmarks: int, dropout: float = 0.0, plain: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.landmarks = heads, landmarks
        self.inner = heads * head_dim
        self.scale = head_dim**-0.5
        self.to_qkv = nn.Linear(dim, 3 * self.inner, bias=False)
        self.plain = plain
        if plain:
            self.to_out = nn.Sequential()
            return
        self.to_out = nn.Sequential(nn.Linear(self.inner, dim), nn.Dropout(dropout))
        self.res_conv = nn.Conv2d(
            heads, heads, (CONV_KERNEL, 1), padding=(CONV_KERNEL // 2, 0), groups=heads, bias=False
        )

    def forward(
        self, tokens: Tensor, norm: nn.LayerNorm, *, row_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``tokens + attention(norm(tokens))`` and, if asked, the weights of row 0.

        Parameters
        ----------
        tokens : (B, n, dim)
            Overwritten when gradients are off.
        row_weights : bool
            Whether to return row 0 of ``A1 Z A3`` too.

        Returns
        -------
        tokens : (B, n, dim)
        weights : (B, H, n) or None
            The front padding is cut off, so a row need not sum to 1; entries may be negative.
        """
        marks = self._find_landmarks(tokens, norm)
        kept = 0 if self.plain else tokens.shape[1]
        values = tokens.new_empty((tokens.shape[0], kept, self.inner)) if _streams() else None
        pooled, values = self._pool(tokens, norm, marks, values)
        weights = self._row_weights(tokens, norm, marks, pooled) if row_weights else None
        mixed = marks.inverse @ pooled.pooled()

        def update(start: int, stop: int) -> Tensor:
            queries = self._project(norm(tokens[:, start:stop]), 0)
            attended = F.scaled_dot_product_attention(queries, marks.keys, mixed, scale=self.scale)
            out: Tensor = self.to_out(merge_heads(attended + self._convolve(values, start, stop)))
            return out

        return add_rows(tokens, update, self._rows()), weights

    def first_row(
        self, tokens: Tensor, norm: nn.LayerNorm, *, row_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return row 0 of the result of `forward`, ``(B, 1, dim)``, and its weights, at lower cost."""
        marks = self._find_landmarks(tokens, norm)
        reach = min(tokens.shape[1], CONV_KERNEL // 2 + 1)
        pooled, values = self._pool(
            tokens, norm, marks, tokens.new_empty((tokens.shape[0], reach, self.inner))
        )
        weights = self._row_weights(tokens, norm, marks, pooled) if row_weights else None
        near = self._near_first(tokens, norm, marks)
        attended = near @ (marks.inverse @ pooled.pooled()) + self._convolve(values, 0, 1)
        return tokens[:, :1] + self.to_out(merge_heads(attended)), weights

    def memory_estimate(self, n: int, dim: int, itemsize: int = 4) -> int:
        """Return the bytes `forward` needs beside the tokens: values, the small matrices, a few chunks."""
        chunks = 8 * min(self._rows(), n) * max(self._row_width(), dim)
        return itemsize * (n * self.inner + 8 * self.heads * self.landmarks**2 + chunks)

    def _row_width(self) -> int:
        return max(self.heads * self.landmarks, 3 * self.inner)

    def _rows(self) -> int:
        return rows_for(self._row_width(), share=1 / 8)

    def _project(self, rows: Tensor, part: int) -> Tensor:
        """Return the queries (part 0), keys (1) or values (2) of `rows`, ``(B, H, c, d)``."""
        weight = self.to_qkv.weight[part * self.inner : (part + 1) * self.inner]
        return split_heads(F.linear(rows, weight), self.heads)

    def _find_landmarks(self, tokens: Tensor, norm: nn.LayerNorm) -> Landmarks:
        n = tokens.shape[1]
        padding = -n % self.landmarks
        length = (n + padding) // self.landmarks

        def means(first: int, last: int) -> Tensor:
            start, stop = first * length - padding, last * length - padding
            rows = norm(tokens[:, max(start, 0) : max(stop, 0)])
            rows = F.pad(rows, (0, 0, stop - start - rows.shape[1], 0))
            return rows.view(rows.shape[0], last - first, length, -1).sum(dim=2) / length

        centres = stream_rows(means, self.landmarks, max(1, self._rows() // length))
        queries = self._project(centres, 0) * self.scale
        keys = self._project(centres, 1)
        among = torch.softmax(queries @ keys.transpose(-1, -2), dim=-1)
        wide = among.dtype in (
            torch.float16,
            torch.bfloat16,
        )  # the iteration needs the range and the identity
        inverse = iterative_pinv(among.float() if wide else among).to(among.dtype)
        return Landmarks(queries, keys, inverse, padding)

    def _pool(
        self, tokens: Tensor, norm: nn.LayerNorm, marks: Landmarks, values: Tensor | None
    ) -> tuple[OnlineAttention, Tensor]:
        """Return ``A3 v`` of all rows for the landmarks, and the values of as many rows as `values` has room for."""
        pooled = OnlineAttention()
        pooled.add_zero_rows(marks.padding, marks.queries)
        kept: Tensor | None = values
        for start, stop in row_chunks(tokens.shape[1], self._rows()):
            rows = norm(tokens[:, start:stop])
            value = self._project(rows, 2)
            pooled.update(marks.queries @ self._project(rows, 1).transpose(-1, -2), value)
            if values is None or not _streams():
                kept = merge_heads(value)
            elif start < values.shape[1]:
                room = min(stop, values.shape[1])
                values[:, start:room] = merge_heads(value)[:, : room - start]
        assert kept is not None
        return pooled, kept

    def _near_first(self, tokens: Tensor, norm: nn.LayerNorm, marks: Landmarks) -> Tensor:
        query = self._project(norm(tokens[:, :1]), 0) * self.scale
        return torch.softmax(query @ marks.keys.transpose(-1, -2), dim=-1)

    def _row_weights(
        self, tokens: Tensor, norm: nn.LayerNorm, marks: Landmarks, pooled: OnlineAttention
    ) -> Tensor:
        """Return row 0 of ``A1 Z A3`` ``(B, H, n)`` in a second pass over the keys."""
        through = self._near_first(tokens, norm, marks) @ marks.inverse

        def weigh(start: int, stop: int) -> Tensor:
            keys = self._project(norm(tokens[:, start:stop]), 1)
            far = pooled.weights(marks.queries @ keys.transpose(-1, -2))
            return (through @ far).squeeze(2).transpose(1, 2)

        return stream_rows(weigh, tokens.shape[1], self._rows()).transpose(1, 2)

    def _convolve(self, values: Tensor, start: int, stop: int) -> Tensor | float:
        """Return the residual convolution at rows start..stop, ``(B, H, c, d)``.

        The padding in front of the sequence has value 0, so it equals the convolution's own padding.
        """
        if self.plain:
            return 0.0
        reach = CONV_KERNEL // 2
        first, last = max(start - reach, 0), min(stop + reach, values.shape[1])
        window = split_heads(values[:, first:last], self.heads)
        window = F.pad(window, (0, 0, first - start + reach, stop + reach - last))
        return F.conv2d(window, self.res_conv.weight, groups=self.heads)


def _streams() -> bool:
    return not torch.is_grad_enabled()
