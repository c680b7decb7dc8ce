"""Models in which one patch decides: the logits of the bag are those of its most convincing patch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from mil_heatmaps.explain.answers import Sets, best_in_groups, others, ranks
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.rows import Bools, Floats, Ints, Rows, collect, wide
from mil_heatmaps.explain.watch import SILENT, Watch


@dataclass(frozen=True)
class Deciding:
    """``logits = z_j``, where j is the patch with the largest `convinces`, the first in a tie.

    Attributes
    ----------
    rows : Rows
    logits : (n, D) -> (n, C)
        Of single patches.
    convinces : (n, C) -> (n,)
    """

    rows: Rows
    logits: Callable[[Tensor], Tensor]
    convinces: Callable[[Tensor], Tensor]

    exact, passes = True, 1
    forwards = 0

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _alone(self) -> tuple[Floats, Ints, Ints]:
        """Logits (N, C), patches in order of conviction, and the position of each patch in that order."""
        made = ((where, self.logits(x)) for where, x in self.rows.chunks())
        logits, values = collect(len(self), ((where, [z, self.convinces(z)]) for where, z in made))
        return logits, *ranks(values)

    def full(self) -> Floats:
        """Return the logits (C,) of the deciding patch."""
        logits, order, _ = self._alone
        return np.asarray(logits[order[0]])

    def of(self, index: Ints) -> Floats:
        """Return the logits (C,) of the deciding patch among `index`."""
        logits, order, rank = self._alone
        return np.asarray(logits[order[rank[index].min()]])

    def alone(self, watch: Watch = SILENT) -> Floats:
        """Return the logits (N, C) of each patch."""
        return self._alone[0]

    def without(self, sets: Sets, watch: Watch = SILENT) -> Floats:
        """Return the logits (S, C): those of the bag, unless the deciding patch is removed."""
        rank = self._alone[2]
        made = np.repeat(self.full()[None], len(sets), axis=0)
        lost = np.minimum.reduceat(rank[sets.rows], sets.starts[:-1]) == 0
        for number in np.flatnonzero(lost):
            left = others(len(self), sets[number])
            made[number] = self.of(left) if len(left) else np.nan
        return made

    def kept(self, labels: Ints, keep: Bools, watch: Watch = SILENT) -> Floats:
        """Return the logits (M, S, C) of parts made of groups."""
        logits, order, rank = self._alone
        return np.stack([logits[order[best_in_groups(rank, mine, keep)]] for mine in labels])

    def value(self, path: Path, alpha: float) -> Floats:
        """Return the logits (C,) at `alpha` on the path."""
        return replace(self, rows=path.at(alpha)).full()

    def along(self, path: Path, alpha: float, outputs: Outputs) -> Floats:
        """Return (N, K): zero except for the patch that decides at `alpha`."""
        here = replace(self, rows=path.at(alpha))
        logits, order, _ = here._alone
        row = int(order[0])
        ((_, slope),) = path.push_one(lambda x: (self.logits(x),), row, alpha)
        made = np.zeros((len(self), len(outputs)))
        made[row] = wide(slope)[0] @ outputs.slopes(logits[row])[1].T
        return made
