"""DFTD's random groups of patches, and which patches of a group go on to the second tier."""

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Grouping = list[npt.NDArray[np.int64]]
"""The patches of each group, in shuffled order; groups beyond the number of patches are empty."""


def draw_grouping(n: int, groups: int, source: Any) -> Grouping:
    """Return `n` patches shuffled by `source` (``random`` or a ``random.Random``) and cut into `groups` runs.

    From the same state, MIL-Lab draws the same patches in the same order.
    """
    order = list(range(n))
    source.shuffle(order)
    return np.array_split(np.array(order, dtype=np.int64), groups)


def fixed_groupings(n: int, groups: int, count: int) -> list[Grouping]:
    """Return the groupings of the seeds 0, 1 ... `count` - 1."""
    return [draw_grouping(n, groups, random.Random(seed)) for seed in range(count)]


def group_of_patch(grouping: Grouping, device: torch.device | str = "cpu") -> Tensor:
    """Return each patch's group, (N,) int64."""
    group = np.empty(sum(map(len, grouping)), dtype=np.int64)
    for number, patches in enumerate(grouping):
        group[patches] = number
    return torch.from_numpy(group).to(device)


def selected_patches(grouping: Grouping, rank: Tensor, k: int, *, lowest_too: bool) -> Tensor:
    """Return the `k` patches of highest `rank` (N,) of each group, group by group.

    With `lowest_too` the k lowest follow. In a group smaller than 2k, some patches then appear twice, as
    upstream.
    """
    chosen = []
    for patches in grouping:
        mine = torch.from_numpy(patches).to(rank.device)
        ordered = mine[torch.sort(rank[mine], descending=True, stable=True).indices]
        chosen += [ordered[:k], ordered[-k:]] if lowest_too else [ordered[:k]]
    return torch.cat(chosen)
