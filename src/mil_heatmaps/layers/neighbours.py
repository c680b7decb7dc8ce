"""Each patch's best-matching patches by dot product, without the N x N matrix."""

from typing import Final

import torch
from torch import Tensor

from mil_heatmaps.layers.streaming import rows_for

STRIDE: Final = 64
"""Columns that share one maximum in the first, cheap stage of the selection."""


@torch.no_grad()
def top_neighbours(heads: Tensor, tails: Tensor, k: int) -> Tensor:
    """Return the `k` columns of largest ``heads @ tails.T`` in each row, best first, some rows at a time.

    The selection has two stages, because a top-k over long rows costs more than the matrix product. A row is
    cut into sets of `STRIDE` columns. Only the k sets with the largest maxima can hold one of the k largest
    numbers, so the top-k runs over their members. The result equals a top-k of the whole row, up to ties.

    Parameters
    ----------
    heads : (R, E)
    tails : (N, E)
    k : int
        At most N.

    Returns
    -------
    (R, k) int64
    """
    n = len(tails)
    sets = -(-n // STRIDE)
    step = neighbour_rows(n)
    room = heads.new_empty((min(step, len(heads)), sets * STRIDE))
    room[:, n:] = -torch.inf  # columns without a patch
    found = torch.empty((len(heads), k), dtype=torch.int64, device=heads.device)
    for start in range(0, len(heads), step):
        part = heads[start : start + step]
        scores = room[: len(part)]
        torch.mm(part, tails.T, out=scores[:, :n])
        found[start : start + step] = _top_columns(scores.view(len(part), STRIDE, sets), k)
    return found


def neighbour_rows(n: int) -> int:
    """Return how many rows `top_neighbours` scores at once against `n` columns."""
    return rows_for(n)


def _top_columns(scores: Tensor, k: int) -> Tensor:
    """Return the k best columns (R, k) of scores (R, STRIDE, sets); column = member * sets + set."""
    rows, _, sets = scores.shape
    if k >= sets:
        return torch.topk(scores.reshape(rows, -1), k, dim=-1).indices
    best = torch.topk(scores.amax(dim=1), k, dim=-1).indices
    members = scores.gather(2, best.unsqueeze(1).expand(-1, STRIDE, -1)).reshape(rows, -1)
    place = torch.topk(members, k, dim=-1).indices
    return (place // k) * sets + best.gather(1, place % k)
