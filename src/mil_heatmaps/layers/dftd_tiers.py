"""DFTD's tiers over a bag of any size: the numbers kept for each patch, and its final weight."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.layers.grouping import Grouping, group_of_patch, selected_patches


@dataclass(frozen=True)
class Distillation:
    """How random groups are drawn, and which part of each goes on to the second tier.

    Attributes
    ----------
    distill : "MaxMinS", "MaxS" or "AFS"
    num_group, total_instance : int
        ``k = total_instance // num_group`` patches from either end of a group.
    """

    distill: Literal["MaxMinS", "MaxS", "AFS"]
    num_group: int
    total_instance: int

    def __post_init__(self) -> None:
        if self.distill not in ("MaxMinS", "MaxS", "AFS"):
            raise ModelError(f"unknown distill {self.distill!r}; choose from ['MaxMinS', 'MaxS', 'AFS']")
        if self.num_group < 1:
            raise ModelError(f"num_group must be at least 1, got {self.num_group}")
        if self.distill == "MaxS" and self.per_group == 0:
            raise ModelError(
                f"distill MaxS with total_instance {self.total_instance} and num_group {self.num_group} lets "
                f"no patch through; total_instance must be at least {self.num_group}"
            )

    @property
    def per_group(self) -> int:
        """k, the number of patches from either end of a group."""
        return self.total_instance // self.num_group

    @property
    def second_tier(self) -> Literal["patches", "selection", "groups"]:
        """What reaches the second tier: every patch, some of each group, or the groups' sums."""
        if self.distill == "AFS":
            return "groups"
        return "selection" if self.per_group else "patches"  # k = 0: upstream's slice [-0:] is everything

    def select(self, grouping: Grouping, rank: Tensor) -> Tensor:
        """Return the patches (R,) that go on, by their `rank` (N,)."""
        return selected_patches(grouping, rank, self.per_group, lowest_too=self.distill == "MaxMinS")


@dataclass(frozen=True)
class FirstTier:
    """What one pass keeps for every patch.

    Attributes
    ----------
    gate1, gate2 : (N,)
        Raw gates of the two tiers for the patch itself.
    rank : (N,)
        Probability of the last class by the first tier's classifier, which orders a group.
    votes : (N, C)
        W h without the bias, where W belongs to the second tier's classifier.
    group_sums : (groupings * groups, E)
        ``sum a1_i h_i`` of each group, one grouping after another; empty unless groups go on.
    """

    gate1: Tensor
    gate2: Tensor
    rank: Tensor
    votes: Tensor
    group_sums: Tensor


def embed(parts: Any, x: Tensor) -> Tensor:
    """Return embeddings (..., E) of features (..., D)."""
    return cast(Tensor, parts.patch_embed.resBlocks(parts.patch_embed.fc1(x)))


def rank_patches(parts: Any, embedded: Tensor, gate1: Tensor) -> Tensor:
    """Return the probability (n,) of the last class for ``a1 h``, without the classifier's bias."""
    return torch.softmax(F.linear(gate1 * embedded, parts.classifier.fc.weight), dim=-1)[:, -1]


def pass_first_tier(parts: Any, plan: Distillation, bag: Bag, groupings: list[Grouping]) -> FirstTier:
    """Pass over the bag once and keep what the second tier needs, a few numbers per patch."""
    n, like = len(bag), parts.attention.attention_c.weight
    width = plan.num_group * len(groupings) if plan.second_tier == "groups" else 0
    memberships = torch.stack([group_of_patch(g, bag.device) for g in groupings]) if width else None
    wide = torch.float32 if bag.device.type == "mps" else torch.float64
    sums = torch.zeros((width, parts.patch_embed.fc1[0].out_features), dtype=wide, device=bag.device)
    gate1, gate2, rank = like.new_empty(n), like.new_empty(n), like.new_zeros(n)
    votes = like.new_empty(n, parts.attCls.classifier.fc.out_features if _has_classifier(parts) else 0)
    for where, x in bag.chunks():
        embedded = embed(parts, x)
        gate = parts.attention(embedded)
        gate1[where] = gate[:, 0]
        gate2[where] = parts.attCls.global_attn(embedded)[:, 0]
        if _has_classifier(parts):
            votes[where] = embedded @ parts.attCls.classifier.fc.weight.T
        if plan.second_tier == "selection":
            rank[where] = rank_patches(parts, embedded, gate)
        if memberships is not None:
            inside = F.one_hot(memberships[:, where], plan.num_group).transpose(1, 2).reshape(width, -1)
            sums += inside.to(embedded.dtype) @ (gate * embedded)
    return FirstTier(gate1, gate2, rank, votes, group_sums=sums.to(bag.dtype))


def patch_weights(parts: Any, plan: Distillation, tier: FirstTier, groupings: list[Grouping]) -> Tensor:
    """Return each patch's weight in the slide's vector under every grouping, (groupings or 1, N)."""
    if plan.second_tier == "patches":
        return tier.gate2[None]
    if plan.second_tier == "groups":
        gates = parts.attCls.global_attn(tier.group_sums).reshape(len(groupings), plan.num_group)
        return torch.stack(
            [tier.gate1 * mine[group_of_patch(g, mine.device)] for g, mine in zip(groupings, gates, strict=True)]
        )
    times = [torch.bincount(plan.select(g, tier.rank), minlength=len(tier.rank)) for g in groupings]
    return tier.gate2 * torch.stack(times)


def _has_classifier(parts: Any) -> bool:
    return hasattr(parts.attCls, "classifier")
