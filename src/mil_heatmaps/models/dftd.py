"""DFTD: pseudo-bags and two tiers of attention (DTFD-MIL, Zhang et al. 2022), in MIL-Lab's form.

What reaches the second tier depends on `distill` and ``k = total_instance // num_group``:

- MaxMinS with k = 0, MIL-Lab's base configuration: every patch. Logits are ``sum_i a2_i (W h_i) + b``, the
  same for every grouping.
- AFS: one vector a random group, ``F_g = sum_{i in g} a1_i h_i``.
- MaxS and MaxMinS with k >= 1: the k best (and k worst) patches of each random group.

The last two depend on the grouping, which MIL-Lab draws again on every call, at inference too, so that its
prediction is a matter of luck. Outside training, `forward` and the logits of `explain` here always use the
grouping of ``random.Random(0)``, which is what MIL-Lab gives after ``random.seed(0)``; `attention_gate` and
`class_contribution` explain exactly that prediction. A patch's weight in them depends on the company it was
drawn with, so the default score is `attention_gate_mean`, over the groupings of seeds 0 to 15: that luck
averages out, two runs agree, and the contributions add up to the mean logit of those groupings.
"""

import random
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.additive import Additive
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows, wide
from mil_heatmaps.layers.attention import attention, mlp
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.dftd_tiers import Distillation, embed, pass_first_tier, patch_weights, rank_patches
from mil_heatmaps.layers.grouping import Grouping, draw_grouping, fixed_groupings, group_of_patch
from mil_heatmaps.layers.shapes import classes_of, count_layers, mlp_layers
from mil_heatmaps.layers.steps import Residual
from mil_heatmaps.layers.streaming import OVERHEAD_BYTES, stream_rows
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model

GROUPINGS: Final = 16
"""How many groupings the `_mean` scores average over."""


@register_model("dftd")
class DFTD(MILModel):
    """h = residual blocks (ReLU(fc1 x)); a1, a2 = gated attention without a softmax; see the module."""

    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "distill": "what of a group goes on: MaxMinS, MaxS or AFS",
        "num_group": "random groups",
        "total_instance": "patches that go on, over all groups",
    }
    training_only = frozenset({"dropout", "attention_drop", "bag_weight"})
    head_keys = ("attCls.classifier.", "classifier.")

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        num_residuals: int = 4,
        num_fc_layers: int = 1,
        dropout: float = 0.25,
        attention_drop: float = 0.25,
        attention_dim: int = 128,
        num_group: int = 8,
        total_instance: int = 4,
        bag_weight: float = 0.7,
        distill: Literal["MaxMinS", "MaxS", "AFS"] = "MaxMinS",
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.plan = Distillation(distill, num_group, total_instance)
        self.bag_weight = bag_weight
        if self.plan.second_tier == "selection" and num_classes == 0:
            raise ModelError(f"distill {distill} selects by the classifier, so num_classes cannot be 0")
        parts: dict[str, nn.Module] = {
            "attention": attention(embed_dim, attention_dim, dropout=attention_drop),
            "patch_embed": Parts(
                fc1=mlp(in_dim, embed_dim, layers=num_fc_layers, dropout=dropout),
                resBlocks=nn.Sequential(*(Residual(embed_dim) for _ in range(num_residuals))),
            ),
        }
        second: dict[str, nn.Module] = {
            "global_attn": attention(embed_dim, attention_dim, dropout=attention_drop)
        }
        if num_classes:
            parts["classifier"] = Parts(fc=nn.Linear(embed_dim, num_classes))
            second["classifier"] = Parts(fc=nn.Linear(embed_dim, num_classes))
        self.model = Parts(**parts, attCls=Parts(**second))

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; how groups are drawn and distilled no tensor tells."""
        first = shapes.get("patch_embed.fc1.0.weight")
        gate = shapes.get("attCls.global_attn.attention_a.0.weight")
        if first is None or gate is None:
            return None
        return {
            "in_dim": first[1],
            "embed_dim": first[0],
            "num_residuals": count_layers(shapes, "patch_embed.resBlocks.{}.block.0.weight"),
            "num_fc_layers": mlp_layers(shapes, "patch_embed.fc1."),
            "attention_dim": gate[0],
            "num_classes": classes_of(shapes, "attCls.classifier.fc.weight"),
        }

    @classmethod
    def canonical_key(cls, key: str) -> str | None:
        """MIL-Lab replaces the first tier's classifier by a bare Linear unless keep_classifier is set."""
        bare = {"classifier.weight": "classifier.fc.weight", "classifier.bias": "classifier.fc.bias"}
        return bare.get(key, key)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights with either name of the first tier's classifier, with or without the prefix."""
        bare = ((key.removeprefix(self.key_prefix), value) for key, value in state_dict.items())
        renamed = {self.key_prefix + (self.canonical_key(key) or key): value for key, value in bare}
        return super().load_state_dict(renamed, strict=strict, assign=assign)

    @property
    def _exact(self) -> bool:
        """Whether the prediction is the same for every grouping."""
        return self.plan.second_tier == "patches"

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The second tier's gate is the default; where groups are random, its mean over groupings."""
        about = "weight of the patch in the slide's vector: signed, not normalised, no share"
        adds = "what the patch adds to the logit of each class"
        first = "which the prediction does not use" if self._exact else "within the patch's random group"
        exact = f"{adds}; sums to the logit less its bias"
        specs = {
            "attention_gate": ScoreSpec("attention_gate", about, alone=True),
            "class_contribution": ScoreSpec("class_contribution", exact, "class", alone=True),
            "tier1_gate": ScoreSpec("attention_gate", f"the first tier's gate, {first}", alone=True),
        }
        if not self._exact:
            mean = f"mean over {GROUPINGS} fixed random groupings"
            specs = {
                "attention_gate_mean": ScoreSpec("attention_gate", f"{about}; {mean}"),
                "class_contribution_mean": ScoreSpec(
                    "class_contribution", f"{adds}, {mean}; sums to the mean logit less its bias", "class"
                ),
            } | specs
        return {name: spec for name, spec in specs.items() if self.num_classes or spec.columns != "class"}

    def refused_own_scores(self) -> dict[str, str]:
        """No softmax anywhere, so no shares; without a classifier, nothing to contribute to."""
        refused = {"attention": "its gates are not normalised, so they are no shares; see attention_gate"}
        if not self.num_classes:
            missing = "the checkpoint has no classifier"
            refused |= {"class_contribution": missing, "class_contribution_mean": missing}
        return refused

    def unexplained(self) -> str | None:
        """Where groups are drawn, a smaller bag draws others: the difference would be of the luck."""
        return None if self._exact else "removing a patch draws all its random groups again"

    def exact_form(self, rows: Rows) -> Form:
        """The logits are sums over the patches, without a softmax."""
        parts, classifier = self.model, self.model.attCls.classifier.fc

        def votes(x: Tensor) -> tuple[Tensor, None]:
            h = embed(parts, x)
            return parts.attCls.global_attn(h) * (h @ classifier.weight.T), None

        return Additive(rows, votes, wide(classifier.bias))

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes beside its features."""
        width = int(self.model.patch_embed.fc1[0].out_features)
        kept = n * (4 + 3 * self.num_classes + (0 if self._exact else 4 * GROUPINGS))
        return OVERHEAD_BYTES + 4 * (kept + min(n, CHUNK_ROWS) * (2 * self.in_dim + 8 * width))

    def forward(
        self,
        h: Tensor,
        loss_fn: Any = None,
        label: Tensor | None = None,
        attn_mask: Tensor | None = None,
        return_attention: bool = False,
        return_slide_feats: bool = False,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (results, log) of one bag (1, N, D) or (N, D); `loss_fn` and `label` may be left out.

        `log` holds `attention` (R, 1), the second tier's raw gate, and `patch_index` (R,), the patch each
        row belongs to (`group_of_patch` (N,) instead with AFS, where the rows are groups). When every patch
        goes on, row i is patch i. With labels there are `instance_loss` and `cls_loss` too. Takes
        `attn_mask` and, like upstream, ignores it.
        """
        results, log = super().forward(h, loss_fn, label, attn_mask, return_attention, return_slide_feats)
        del log["group_sums"]
        results["instance_loss"] = results.get("instance_loss")
        return results, {"instance_loss": -1, "cls_loss": -1} | log

    def add_loss(self, h: Tensor, loss_fn: Any, label: Tensor, results: dict[str, Any], log: dict[str, Any]) -> None:
        """Weigh the loss of the bag against that of its groups, each of which has the bag's label."""
        sub_logits = self.model.classifier.fc(log["group_sums"]())
        instance_loss = loss_fn(sub_logits, label.reshape(-1).expand(len(sub_logits)))
        cls_loss = loss_fn(results["logits"], label)
        results["loss"] = self.bag_weight * cls_loss + (1 - self.bag_weight) * instance_loss
        results["instance_loss"] = instance_loss
        log |= {"instance_loss": instance_loss.item(), "cls_loss": cls_loss.item()}

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return what enters the second tier, (R, E), of one bag (1, N, D), and a log; see `forward`.

        In training the groups come from Python's global `random`, as upstream; else from ``Random(0)``.
        """
        if len(h) != 1:
            raise ModelError(f"dftd takes one bag at a time, got a batch of {len(h)}")
        embedded = stream_rows(lambda start, stop: embed(self.model, h[:, start:stop]), h.shape[1])[0]
        source: Any = random if self.training else random.Random(0)
        grouping = draw_grouping(len(embedded), self.plan.num_group, source)

        def group_sums() -> Tensor:
            weighted = self.model.attention(embedded) * embedded
            return torch.stack([weighted[torch.from_numpy(g).to(h.device)].sum(dim=0) for g in grouping])

        log: dict[str, Any] = {"group_sums": group_sums}
        if self.plan.second_tier == "groups":
            entering = group_sums()
            log["group_of_patch"] = group_of_patch(grouping, h.device)
        elif self._exact:
            entering = embedded
            log["patch_index"] = torch.arange(len(embedded), device=h.device)
        else:
            rank = rank_patches(self.model, embedded, self.model.attention(embedded))
            log["patch_index"] = self.plan.select(grouping, rank)
            entering = embedded[log["patch_index"]]
        log["attention"] = self.model.attCls.global_attn(entering) if return_attention else None
        return entering, log

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (1, C) of what enters the second tier (R, E): their gated sum, classified."""
        self.require_classifier()
        pooled = self.model.attCls.global_attn(slide_feats).T @ slide_feats
        return cast(Tensor, self.model.attCls.classifier.fc(pooled))

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """One pass keeps a few numbers a patch; every grouping's weights and logits follow from them."""
        groupings: list[Grouping] = []
        if not self._exact:
            count = GROUPINGS if any(name.endswith("_mean") for name in wanted) else 1
            groupings = fixed_groupings(len(bag), self.plan.num_group, count)
        tier = pass_first_tier(self.model, self.plan, bag, groupings)
        weights = patch_weights(self.model, self.plan, tier, groupings)
        mean = weights.mean(dim=0)
        scores = {"attention_gate": weights[0], "attention_gate_mean": mean, "tier1_gate": tier.gate1}
        if not self.num_classes:
            return BagResult(None, scores)
        contributions = weights[0, :, None] * tier.votes
        scores["class_contribution"] = contributions
        scores["class_contribution_mean"] = mean[:, None] * tier.votes
        wide = torch.float32 if bag.device.type == "mps" else torch.float64
        logits = contributions.sum(dim=0, dtype=wide) + self.model.attCls.classifier.fc.bias
        return BagResult(logits, scores)
