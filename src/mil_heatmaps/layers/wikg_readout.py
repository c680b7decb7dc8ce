"""WiKG's nodes and their readout, chunk by chunk."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mil_heatmaps.layers.streaming import OnlineAttention


@dataclass(frozen=True)
class Nodes:
    """Some patches after aggregation.

    Attributes
    ----------
    rows : slice
        The n patches.
    index, share : (n, k)
        The patches that each listens to, and the softmax of their scores.
    nodes : (n, E)
    """

    rows: slice
    index: Tensor
    share: Tensor
    nodes: Tensor


class Readout:
    """Pool nodes that come in chunks, and keep the pooling's score of each.

    Parameters
    ----------
    pool : "attn", "mean" or "max"
    gate : (n, E) -> (n, 1), for "attn"
    """

    def __init__(self, pool: str, gate: Callable[[Tensor], Tensor] | None) -> None:
        self.pool, self.gate = pool, gate
        self._pool = OnlineAttention()
        self._raw: list[Tensor] = []
        self._best: Tensor | None = None
        self._winner: Tensor | None = None
        self._count = 0

    def add(self, part: Nodes) -> None:
        """Take in the nodes of some patches."""
        nodes = part.nodes
        if self.pool == "max":
            best, winner = nodes.max(dim=0)
            winner = winner + self._count
            if self._best is not None and self._winner is not None:
                winner = torch.where(best > self._best, winner, self._winner)
                best = torch.maximum(best, self._best)
            self._best, self._winner = best, winner
        else:
            raw = self.gate(nodes) if self.gate is not None else nodes.new_zeros(len(nodes), 1)
            self._pool.update(raw.T, nodes)
            self._raw.append(raw)
        self._count += len(nodes)

    def vector(self) -> Tensor:
        """Return the pooled nodes (E,)."""
        return self._pool.pooled()[0] if self._best is None else self._best

    def scores(self) -> dict[str, Tensor]:
        """Return the readout's scores of the patches, by score name."""
        if self._winner is not None:
            return {"max_share": torch.bincount(self._winner, minlength=self._count) / len(self._winner)}
        raw = torch.cat(self._raw)
        return {"attention": torch.softmax(raw, dim=0), "attention_logit": raw}
