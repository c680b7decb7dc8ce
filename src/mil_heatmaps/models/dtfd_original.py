"""DTFD-MIL as its authors publish it (Zhang et al. 2022): random groups of patches, two tiers of softmaxed attention.

    h_i = blocks(ReLU(fc1 x_i));  within group g: t_i = softmax(a)_i, f_g = sum_i t_i h_i
    u = softmax of the second tier's attention over what it sees,  logits = W sum u f + b

With AFS the second tier sees the f_g; with MaxS, of each group, the n patches in which the first tier's classifier sees
most of the last class; with MaxMinS these and the n with the least.

The authors draw new groups each time. Here those of ``random.Random(0)`` make the prediction, and `…_mean` is over
seeds 0 to 15, as for `dftd`, MIL-Lab's form, whose tiers have no softmax.
"""

import random
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.layers.attention import map_rows, softmax_over_patches
from mil_heatmaps.layers.dftd_tiers import Distillation
from mil_heatmaps.layers.grouping import Grouping, draw_grouping, fixed_groupings, group_of_patch
from mil_heatmaps.layers.pooling import BLOCK_ROLES, PublicAttention
from mil_heatmaps.layers.roles import Chain, Layout, Match, Role
from mil_heatmaps.layers.steps import Residual, Steps, steps_of
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.dftd import GROUPINGS
from mil_heatmaps.models.public import CONTRIBUTION, PublicModel, attention_spec
from mil_heatmaps.models.registry import register_model


def _gated(name: str, keys: str, letter: str) -> tuple[Role, ...]:
    return (
        Role(f"{name}.first", f"{keys}.attention_V.0", f"{letter} E"),
        Role(f"{name}.gate", f"{keys}.attention_U.0", f"{letter} E"),
        Role(f"{name}.out", f"{keys}.attention_weights", f"1 {letter}"),
    )


@register_model("dtfd_original")
class DTFDOriginal(PublicModel):
    """See the module."""

    layout = Layout((
        Chain("embed", "dim_reduction.fc1", "D", "E"), *BLOCK_ROLES, *_gated("first", "attention", "A"),
        *_gated("second", "att_classifier.attention", "B"),
        Role("ranking", "classifier.fc", "C E"), Role("head", "att_classifier.classifier.fc", "C E"),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "num_group": "random groups",
        "total_instance": "patches that go on, over all groups (MaxS, MaxMinS)",
        "distill": "what of a group goes on: AFS, MaxS or MaxMinS",
    }
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"num_group": ("numGroup",)}

    def __init__(
        self,
        in_dim: int = 1024,
        embed: tuple[str, ...] = ("linear! 512", "activation"),
        blocks: int = 0,
        first_dim: int = 128,
        second_dim: int = 128,
        num_classes: int = 2,
        num_group: int = 4,
        total_instance: int = 4,
        distill: Literal["AFS", "MaxS", "MaxMinS"] = "AFS",
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.plan = Distillation(distill, num_group, total_instance)
        self.embed = Steps(in_dim, embed)
        width = self.embed.width
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.first, self.second = PublicAttention(width, first_dim), PublicAttention(width, second_dim)
        self.ranking, self.head = nn.Linear(width, num_classes), nn.Linear(width, num_classes)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes; how groups are drawn and distilled no tensor tells."""
        sizes = match.sizes
        return {
            "in_dim": sizes["D"], "num_classes": sizes["C"], "embed": steps_of(match.chains["embed"]),
            "blocks": match.count("blocks.{b}.block.0"), "first_dim": sizes["A"], "second_dim": sizes["B"],
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The mean over groupings is the default: a patch's weight depends on the company it was drawn with."""
        share, mean = "share of the slide's vector that comes from the patch", "mean over 16 groupings of the "
        return {
            "attention_softmax_mean": ScoreSpec("attention_softmax", f"{mean}{share}"),
            "attention_softmax": ScoreSpec("attention_softmax", f"{share}, with the grouping of the prediction"),
            "attention": attention_spec(),
            "class_contribution": CONTRIBUTION,
            "class_contribution_mean": ScoreSpec("class_contribution", f"{mean}{CONTRIBUTION.about}", "class"),
        }

    def embedded(self, x: Tensor) -> Tensor:
        """Return (n, E) of features (n, D)."""
        made: Tensor = self.blocks(self.embed(x))
        return made

    def exact_form(self, rows: Rows) -> None:
        """None: a part of the bag is grouped again."""

    # -- one bag as a whole, with gradients --------------------------------------------------------------------

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the slide's vector (1, E) and the first tier's raw attention (N, 1)."""
        h = self.embedded(x)
        raw = self.first(h)
        drawn = draw_grouping(len(x), self.plan.num_group, random.Random(0))
        groups = [torch.from_numpy(patches).to(x.device) for patches in drawn]
        shares = [torch.softmax(raw[group, 0], dim=0) for group in groups]
        if self.plan.distill == "AFS":
            entering = torch.stack([share @ h[group] for group, share in zip(groups, shares, strict=True)])
        else:
            weights = raw.new_zeros(len(h)).index_put((torch.cat(groups),), torch.cat(shares))
            entering = h[self._going_on(drawn, self._rank(weights, h @ self.ranking.weight.T))]
        return softmax_over_patches(self.second(entering)).T @ entering, raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C) of (B, E)."""
        logits: Tensor = self.head(slide_feats)
        return logits

    def _rank(self, shares: Tensor, votes: Tensor) -> Tensor:
        """Return the probability (N,) of the last class by which a group's patches are ordered."""
        return torch.softmax(shares[:, None] * votes, dim=1)[:, -1]

    def _going_on(self, grouping: Grouping, rank: Tensor) -> Tensor:
        """Return the patches (R,) that go on; some twice where a group is smaller than what is taken of it."""
        if self.plan.second_tier == "patches":
            return torch.cat([torch.from_numpy(patches) for patches in grouping]).to(rank.device)
        return self.plan.select(grouping, rank)

    # -- a bag of any size -------------------------------------------------------------------------------------

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """One pass keeps a few numbers a patch and the groups' vectors; every grouping's weights follow from them."""
        count = GROUPINGS if any(name.endswith("_mean") for name in wanted) else 1
        groupings = fixed_groupings(len(bag), self.plan.num_group, count)
        members = torch.stack([group_of_patch(grouping, bag.device) for grouping in groupings])
        if self.plan.distill == "AFS":
            raw, votes, vectors, shares = self._groups(bag, members)
            logits_of = vectors.reshape(count, self.plan.num_group, -1)
            u = torch.softmax(self.second(logits_of)[..., 0], dim=1)
            pooled = (u[0, :, None] * logits_of[0]).sum(dim=0)
            weights = shares * u.gather(1, members)
        else:
            raw, votes, weights, pooled = self._selections(bag, members, groupings)
        scores = {"attention": raw, "attention_softmax": weights[0], "attention_softmax_mean": weights.mean(dim=0)}
        scores["class_contribution"] = weights[0, :, None] * votes
        scores["class_contribution_mean"] = scores["attention_softmax_mean"][:, None] * votes
        return BagResult(self.head(pooled), scores)

    def _groups(self, bag: Bag, members: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return raw attention (N, 1), votes (N, C), groups' vectors (R * G, E) and shares within groups (R, N).

        The sums of all groups of all groupings grow chunk by chunk, each relative to the largest attention so far.
        """
        count, groups = len(members), self.plan.num_group
        wide = torch.float32 if bag.device.type == "mps" else torch.float64
        like = self.head.weight
        raw, votes = like.new_empty((len(bag), 1)), like.new_empty((len(bag), self.num_classes))
        peaks = like.new_full((count * groups,), -torch.inf)
        totals = torch.zeros((count * groups, 1), dtype=wide, device=bag.device)
        sums = torch.zeros((count * groups, self.embed.width), dtype=wide, device=bag.device)
        for where, x in bag.chunks():
            h = self.embedded(x)
            raw[where], votes[where] = self.first(h), h @ self.head.weight.T
            inside = F.one_hot(members[:, where], groups).transpose(1, 2).reshape(count * groups, -1)
            scores = raw[where, 0].masked_fill(inside == 0, -torch.inf)
            top = torch.maximum(peaks, scores.amax(dim=1))
            base = top.masked_fill(top == -torch.inf, 0)  # a group that has no patch yet
            weights, shrink = torch.exp(scores - base[:, None]), torch.exp(peaks - base).to(wide)[:, None]
            totals = totals * shrink + weights.sum(dim=1, keepdim=True, dtype=wide)
            sums, peaks = sums * shrink + (weights @ h).to(wide), top
        vectors = torch.where(totals > 0, sums / totals.clamp(min=torch.finfo(wide).tiny), 0).to(raw.dtype)
        tops, total = peaks.reshape(count, groups), totals.reshape(count, groups).to(raw.dtype)
        shares = torch.exp(raw[:, 0] - tops.gather(1, members)) / total.gather(1, members)
        return raw, votes, vectors, shares

    def _selections(
        self, bag: Bag, members: Tensor, groupings: list[Grouping]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return raw attention (N, 1), votes (N, C), weights (R, N) and the first grouping's slide vector (E,)."""

        def keep(x: Tensor) -> Tensor:
            h = self.embedded(x)
            return torch.cat([self.first(h), self.second(h), h @ self.head.weight.T, h @ self.ranking.weight.T], dim=1)

        kept = map_rows(bag, keep)
        raw, second, votes, ranking = cast(Any, kept).split([1, 1, self.num_classes, self.num_classes], dim=1)
        weights = []
        for mine, grouping in zip(members, groupings, strict=True):
            inside = F.one_hot(mine, self.plan.num_group).T
            within = torch.softmax(raw[:, 0].masked_fill(inside == 0, -torch.inf), dim=1)
            shares = within.gather(0, mine[None])[0] if len(mine) else within[0]
            chosen = self._going_on(grouping, self._rank(shares, ranking))
            u = torch.softmax(second[chosen, 0], dim=0)
            weights.append(second.new_zeros(len(bag)).index_add(0, chosen, u))
        first, pooled = weights[0], self.head.weight.new_zeros(self.embed.width)
        for where, x in bag.chunks():
            some = first[where] > 0
            if some.any():
                pooled = pooled + first[where][some] @ self.embedded(x[some])
        return raw.contiguous(), votes, torch.stack(weights), pooled
