"""ABMIL: attention pooling over embedded patches (Ilse et al. 2018), in MIL-Lab's form."""

from typing import Any

import torch
from torch import Tensor, nn

from mil_heatmaps.explain.additive import Additive
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows, wide
from mil_heatmaps.layers.attention import (
    RowFunction,
    attention,
    mask_scores,
    mlp,
    pool_bag,
    softmax_over_patches,
)
from mil_heatmaps.layers.shapes import classes_of, mlp_layers
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model

RAW = ScoreSpec("attention_logit", "raw attention, before the softmax over the patches", alone=True)
SOFTMAX = ScoreSpec("attention_softmax", "share of the slide's vector that comes from the patch; sums to 1")
CONTRIBUTION = ScoreSpec(
    "class_contribution",
    "what the patch adds to the logit of each class; sums to the logit less its bias",
    "class",
)


def attention_scores(raw: Tensor, rows: dict[str, Tensor], wanted: frozenset[str]) -> dict[str, Tensor]:
    """Return the wanted scores of attention pooling with a linear classifier on top.

    Parameters
    ----------
    raw : (N, 1) or (N, C)
        Attention before the softmax: one column for all classes, or one per class.
    rows : dict of (N, K)
        Scores of each patch alone. ``class_contribution`` is W h_i without the bias. Multiplied by the pooling weights
        and summed over the patches, it gives the logits less their bias.
    """
    scores = {"attention": raw, **rows}
    if wanted & {"attention_softmax", "class_contribution"}:
        scores["attention_softmax"] = softmax_over_patches(raw)
    if "class_contribution" in rows:
        scores["class_contribution"] = scores["attention_softmax"] * rows["class_contribution"]
    return scores


@register_model("abmil")
class ABMIL(MILModel):
    """h = mlp(x); a = G(h); s = sum_i softmax(a)_i h_i; logits = classifier(s)."""

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        attn_dim: int = 384,
        num_fc_layers: int = 1,
        dropout: float = 0.25,
        gate: bool = True,
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        parts: dict[str, nn.Module] = {
            "patch_embed": mlp(in_dim, embed_dim, layers=num_fc_layers, dropout=dropout),
            "global_attn": attention(embed_dim, attn_dim, gate=gate, dropout=dropout),
        }
        if num_classes:
            parts["classifier"] = nn.Linear(embed_dim, num_classes)
        self.model = Parts(**parts)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; None with instance classifiers, because the model is then MIL-Lab's CLAM."""
        if cls is ABMIL and any(key.startswith("instance_classifiers.") for key in shapes):
            return None
        gate = "global_attn.attention_c.weight" in shapes
        first = shapes.get("global_attn.attention_a.0.weight" if gate else "global_attn.module.0.weight")
        if first is None or "patch_embed.0.weight" not in shapes:
            return None
        return {
            "in_dim": shapes["patch_embed.0.weight"][1],
            "embed_dim": first[1],
            "attn_dim": first[0],
            "num_fc_layers": mlp_layers(shapes),
            "gate": gate,
            "num_classes": classes_of(shapes),
        }

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Raw attention is the default: CLAM's block maps hold raw attention too."""
        specs = {"attention": RAW, "attention_softmax": SOFTMAX}
        return specs | {"class_contribution": CONTRIBUTION} if self.num_classes else specs

    def refused_own_scores(self) -> dict[str, str]:
        """A headless checkpoint has nothing to contribute to."""
        return {} if self.num_classes else {"class_contribution": "the checkpoint has no classifier"}

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = True
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E) and raw attention (B, 1, N); `attn_mask` (B, N) has 1 for valid patches.

        Attention is returned unless `return_attention` is False, as in MIL-Lab, whose callers rely on it.
        """
        embedded = self.model.patch_embed(h)
        raw = mask_scores(self.model.global_attn(embedded).transpose(-2, -1), attn_mask)
        slide_feats = torch.bmm(torch.softmax(raw, dim=-1), embedded).squeeze(1)
        return slide_feats, {"attention": raw if return_attention else None}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Embed, weigh and pool chunk by chunk."""
        per_row = self.row_scores(wanted)
        raw, pooled, rows = pool_bag(bag, self.model.patch_embed, self.model.global_attn, per_row)
        return BagResult(self.slide_logits(pooled), attention_scores(raw, rows, wanted))

    def exact_form(self, rows: Rows) -> Form:
        """The logits are sums over the patches."""
        classifier = self.model.classifier

        def votes(x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.model.patch_embed(x)
            return h @ classifier.weight.T, self.model.global_attn(h)

        return Additive(rows, votes, wide(classifier.bias))

    def row_scores(self, wanted: frozenset[str]) -> dict[str, RowFunction]:
        """Return the functions that give the wanted scores from embedded patches alone; see `pool_bag`."""
        if "class_contribution" not in wanted:
            return {}
        return {"class_contribution": lambda h: h @ self.model.classifier.weight.T}
