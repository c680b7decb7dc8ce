"""TRIDENT's attention block, its slide encoder, and the classifier of its third tutorial.

The block has one or more heads and branches and pools its own input. Its returned scores are raw (before the
softmax).
"""

import copy
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.explain.vector_pooling import Straight, VectorPooling
from mil_heatmaps.layers.attention import pool_bag, softmax_over_patches
from mil_heatmaps.layers.shapes import count_layers
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model

_MASKED = -1e9  # what TRIDENT puts in the place of masked scores


class TridentBlock(nn.Module):
    """Per head s = W tanh(V x), gated: W (tanh(V x) * sigmoid(U x)), W with a row per branch; softmax pools x.

    The heads' vectors are joined and, if there are several, condensed to the input's width.
    """

    def __init__(self, in_dim: int, head_dim: int, n_heads: int, n_branches: int, gated: bool) -> None:
        super().__init__()
        self.in_dim, self.n_heads, self.n_branches, self.gated = in_dim, n_heads, n_branches, gated

        def layers(activation: type[nn.Module]) -> nn.ModuleList:
            return nn.ModuleList(nn.Sequential(nn.Linear(in_dim, head_dim), activation()) for _ in range(n_heads))

        self.attention_heads = layers(nn.Tanh)
        if gated:
            self.gating_layers = layers(nn.Sigmoid)
        self.branching_layers = nn.ModuleList(nn.Linear(head_dim, n_branches) for _ in range(n_heads))
        if n_heads > 1:
            self.condensing_layer = nn.Linear(n_heads * in_dim, in_dim)

    def scores(self, x: Tensor) -> Tensor:
        """Return raw scores (..., R * H) of rows (..., in_dim): branch by branch, its heads together."""
        heads = []
        for i in range(self.n_heads):
            hidden = self.attention_heads[i](x)
            if self.gated:
                hidden = hidden * self.gating_layers[i](x)
            heads.append(self.branching_layers[i](hidden))
        return torch.stack(heads, dim=-1).flatten(-2)

    def condense(self, pooled: Tensor) -> Tensor:
        """Return (..., R, in_dim) of the heads' pooled rows (..., R * H, in_dim)."""
        joined = pooled.reshape(*pooled.shape[:-2], self.n_branches, self.n_heads * self.in_dim)
        return cast(Tensor, self.condensing_layer(joined)) if self.n_heads > 1 else joined

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return pooled features (B, R, in_dim) and raw scores (B, R, H, N) of bags (B, N, in_dim).

        `mask` (B, N) is True for valid patches.
        """
        raw = self.scores(x).transpose(-2, -1)
        if mask is not None:
            raw = raw.masked_fill(~mask.bool().reshape(len(x), 1, -1), _MASKED)
        pooled = torch.softmax(raw, dim=-1) @ x
        return self.condense(pooled), raw.reshape(len(x), self.n_branches, self.n_heads, -1)


class TridentModel(MILModel):
    """What the three models share: scores from one block, with what comes before and after it."""

    block: TridentBlock
    classifies: ClassVar[bool] = False
    head_keys = ()

    def __init__(self, *, in_dim: int, num_classes: int) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if num_classes and not self.classifies:
            raise ModelError(f"it has no classifier, so num_classes is 0, not {num_classes}; see trident_classifier")

    def before(self, x: Tensor) -> Tensor:
        """Return the block's input for features (..., in_dim)."""
        return x

    def after(self, pooled: Tensor) -> Tensor:
        """Return the slide's vectors (..., R, E) from the block's."""
        return pooled

    def score_specs(self) -> dict[str, ScoreSpec]:
        """With one head, raw attention is the default; with several, the mean of their softmaxes."""
        raw = ScoreSpec("attention_logit", "raw attention, before the softmax, of each head", "head", alone=True)
        share = ScoreSpec("attention_softmax", "share of the head's vector that comes from the patch", "head")
        mean = ScoreSpec("attention_mean", "mean over the heads of their softmaxed attention")
        several = self.block.n_heads > 1
        order = {"attention_mean": mean} if several else {}
        return order | {"attention": raw, "attention_softmax": share}

    def refused_own_scores(self) -> dict[str, str]:
        """The layers after pooling are not linear."""
        return {"class_contribution": "its classifier is not linear, so patches do not add up to the logit"}

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors and raw attention (B, R, H, N)."""
        pooled, raw = self.block(self.before(h), attn_mask)
        return self.after(pooled), {"attention": raw if return_attention else None}

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Without a classifier there are no logits."""
        self.require_classifier()
        return slide_feats

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Weigh and pool chunk by chunk."""
        block = self.block
        raw, pooled, _ = pool_bag(bag, self.before, block.scores)
        share = softmax_over_patches(raw)
        mean = share.reshape(-1, block.n_branches, block.n_heads).mean(dim=2)
        logits = self.slide_logits(self.after(block.condense(pooled[None])))
        scores = {"attention": raw, "attention_softmax": share, "attention_mean": mean}
        return BagResult(logits, scores, self._columns())

    def _columns(self) -> dict[str, tuple[str, ...]]:
        block = self.block
        if block.n_branches == 1:
            return {}
        branches = [f"branch {r}" for r in range(block.n_branches)]
        heads = tuple(
            f"{branch} head {h}" if block.n_heads > 1 else branch for branch in branches for h in range(block.n_heads)
        )
        return {"attention": heads, "attention_softmax": heads, "attention_mean": tuple(branches)}


@register_model("trident_abmil")
class TridentABMIL(TridentModel):
    """The block alone: scores and pooled features, no prediction."""

    def __init__(
        self,
        in_dim: int = 1024,
        n_heads: int = 8,
        head_dim: int = 256,
        gated: bool = False,
        n_branches: int = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.model = TridentBlock(in_dim, head_dim, n_heads, n_branches, gated)

    @property
    def block(self) -> TridentBlock:  # type: ignore[override]
        """The attention block."""
        return self.model

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes."""
        return _block_config(shapes)


@register_model("trident_slide_encoder")
class TridentSlideEncoder(TridentModel):
    """TRIDENT's ABMILSlideEncoder alone: Linear and GELU, the block with one branch, Linear and GELU; no prediction."""

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int | None = None,
        out_dim: int | None = None,
        n_heads: int = 1,
        head_dim: int = 512,
        gated: bool = True,
        dropout: float = 0.0,
        num_classes: int = 0,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        embed_dim = embed_dim or in_dim
        out_dim = out_dim or embed_dim
        self.model = Parts(
            pre_attention_layers=nn.Sequential(nn.Linear(in_dim, embed_dim), nn.GELU(), nn.Dropout(dropout)),
            image_pooler=TridentBlock(embed_dim, head_dim, n_heads, 1, gated),
            post_attention_layers=nn.Sequential(nn.Linear(embed_dim, out_dim), nn.GELU(), nn.Dropout(dropout)),
        )

    @property
    def encoder(self) -> Parts:
        """The module with the weights before a classifier."""
        return self.model

    @property
    def block(self) -> TridentBlock:  # type: ignore[override]
        """The attention block."""
        return cast(TridentBlock, self.encoder.image_pooler)

    def before(self, x: Tensor) -> Tensor:
        """Embed."""
        return cast(Tensor, self.encoder.pre_attention_layers(x))

    def after(self, pooled: Tensor) -> Tensor:
        """Return slide vectors (..., E)."""
        return cast(Tensor, self.encoder.post_attention_layers(pooled[..., 0, :]))

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes."""
        return _encoder_config(shapes, "")


@register_model("trident_classifier")
class TridentClassifier(TridentSlideEncoder):
    """The slide encoder and the classifier of TRIDENT's third tutorial: Linear, ReLU, Linear."""

    key_prefix = ""
    classifies = True

    def __init__(
        self,
        in_dim: int = 768,
        embed_dim: int | None = None,
        out_dim: int | None = None,
        n_heads: int = 1,
        head_dim: int = 512,
        gated: bool = True,
        dropout: float = 0.0,
        hidden_dim: int = 256,
        num_classes: int = 1,
    ) -> None:
        super().__init__(in_dim, embed_dim, out_dim, n_heads, head_dim, gated, dropout, num_classes)
        self.feature_encoder = Parts(model=self.model)  # what the tutorial calls it
        del self.model
        width = self.encoder.post_attention_layers[0].out_features
        self.classifier = nn.Sequential(nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, num_classes))

    @property
    def encoder(self) -> Parts:
        """The module with the weights before the classifier."""
        return cast(Parts, self.feature_encoder.model)

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return cast(Tensor, self.classifier(slide_feats))

    def exact_form(self, rows: Rows) -> Form:
        """The logits of any part of the bag follow from the block's sums; the layers after it run once per part."""
        after = copy.deepcopy(self).to("cpu", torch.float64)
        (linear, *_), (wide_linear, *others) = self.encoder.post_attention_layers, after.encoder.post_attention_layers

        def head(pooled: Tensor) -> Tensor:
            return after.forward_head(after.after(after.block.condense(pooled)))

        def rest(pooled: Tensor) -> Tensor:
            return after.forward_head(nn.Sequential(*others)(pooled[..., 0, :]))

        first = Straight(linear, wide_linear, rest) if self.block.n_heads == 1 else None
        return VectorPooling(rows, self.before, self.block.scores, head, first=first)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes."""
        config = _encoder_config(shapes, "feature_encoder.model.")
        first, last = shapes.get("classifier.0.weight"), shapes.get("classifier.2.weight")
        if config is None or first is None or last is None:
            return None
        return config | {"hidden_dim": first[0], "num_classes": last[0]}


def _block_config(shapes: Shapes, prefix: str = "") -> dict[str, Any] | None:
    first = shapes.get(f"{prefix}attention_heads.0.0.weight")
    branch = shapes.get(f"{prefix}branching_layers.0.weight")
    if first is None or branch is None:
        return None
    return {
        "in_dim": first[1],
        "n_heads": count_layers(shapes, prefix + "attention_heads.{}.0.weight"),
        "head_dim": first[0],
        "gated": f"{prefix}gating_layers.0.0.weight" in shapes,
        "n_branches": branch[0],
        "num_classes": 0,
    }


def _encoder_config(shapes: Shapes, prefix: str) -> dict[str, Any] | None:
    before = shapes.get(f"{prefix}pre_attention_layers.0.weight")
    after = shapes.get(f"{prefix}post_attention_layers.0.weight")
    config = _block_config(shapes, f"{prefix}image_pooler.")
    if before is None or after is None or config is None:
        return None
    del config["n_branches"]
    return config | {"in_dim": before[1], "embed_dim": before[0], "out_dim": after[0]}
