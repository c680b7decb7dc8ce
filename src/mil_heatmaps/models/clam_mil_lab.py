"""MIL-Lab's CLAM: ABMIL with one instance classifier per class, which only training uses; see `clam` for CLAM's own."""

from typing import Any

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.attention import RowFunction
from mil_heatmaps.layers.instance_loss import INSTANCE_LOSSES, instance_loss
from mil_heatmaps.layers.shapes import count_layers
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.models.base import ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model

INSTANCE_LOGIT = ScoreSpec(
    "instance_logit",
    "log-odds of each class by the model's own instance classifier, trained beside it",
    "class",
    alone=True,
)


def instance_classifiers(width: int, classes: int) -> nn.ModuleList:
    """Return CLAM's instance classifiers: for each class, evidence against (0) and for it (1)."""
    return nn.ModuleList(nn.Linear(width, 2) for _ in range(classes))


def instance_log_odds(classifiers: nn.ModuleList, embedded: Tensor) -> Tensor:
    """Return (n, C): for minus against, by each class's instance classifier."""
    pairs = [classifier(embedded) for classifier in classifiers]
    return torch.stack([pair[:, 1] - pair[:, 0] for pair in pairs], dim=1)


@register_model("clam")
class CLAMInMILLab(ABMIL):
    """h = mlp(x); a = G(h); s = sum_i softmax(a)_i h_i; logits = classifier(s), as ABMIL's."""

    training_only = frozenset({"k_sample", "subtyping", "instance_loss_fn", "bag_weight", "dropout"})

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        attention_dim: int = 384,
        n_fc_layers: int = 1,
        dropout: float = 0.25,
        gate: bool = True,
        num_classes: int = 2,
        instance_classes: int | None = None,
        k_sample: int = 8,
        subtyping: bool = False,
        instance_loss_fn: str = "svm",
        bag_weight: float = 0.7,
    ) -> None:
        super().__init__(
            in_dim=in_dim,
            embed_dim=embed_dim,
            attn_dim=attention_dim,
            num_fc_layers=n_fc_layers,
            dropout=dropout,
            gate=gate,
            num_classes=num_classes,
        )
        if instance_loss_fn not in INSTANCE_LOSSES:
            raise ModelError(f"unknown instance_loss_fn {instance_loss_fn!r}; choose from {list(INSTANCE_LOSSES)}")
        self.instance_classes = num_classes if instance_classes is None else instance_classes
        self.model.instance_classifiers = instance_classifiers(embed_dim, self.instance_classes)
        self.k_sample, self.subtyping = k_sample, subtyping
        self.instance_loss_fn, self.bag_weight = instance_loss_fn, bag_weight

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; None without instance classifiers, because the model is then an ABMIL."""
        count = count_layers(shapes, "instance_classifiers.{}.weight")
        config = super().config_from_shapes(shapes) if count else None
        if config is None:
            return None
        config |= {"attention_dim": config.pop("attn_dim"), "n_fc_layers": config.pop("num_fc_layers")}
        return config | {"instance_classes": count}

    @classmethod
    def canonical_key(cls, key: str) -> str | None:
        """Drop the buffer of the SVM loss."""
        return None if key.startswith("instance_loss_fn.") else key

    def score_specs(self) -> dict[str, ScoreSpec]:
        """ABMIL's, and the instance classifiers'."""
        specs = super().score_specs()
        return specs | {"instance_logit": INSTANCE_LOGIT} if self.instance_classes == self.num_classes else specs

    def row_scores(self, wanted: frozenset[str]) -> dict[str, RowFunction]:
        """ABMIL's, and the instance classifiers'."""
        functions = super().row_scores(wanted)
        if "instance_logit" in wanted:
            classifiers: nn.ModuleList = self.model.instance_classifiers
            functions["instance_logit"] = lambda h: instance_log_odds(classifiers, h)
        return functions

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = True
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E) and raw attention (B, N)."""
        slide_feats, log = super().forward_features(h, attn_mask, return_attention)
        if return_attention:
            log["attention"] = log["attention"].squeeze(1)
        return slide_feats, log

    def add_loss(self, h: Tensor, loss_fn: Any, label: Tensor, results: dict[str, Any], log: dict[str, Any]) -> None:
        """Weigh the loss of the bag against the instance loss."""
        bag_loss = loss_fn(results["logits"], label)
        extra = instance_loss(
            self.model.patch_embed(h),
            log["attention"],
            label,
            self.model.instance_classifiers,
            count=self.k_sample,
            subtyping=self.subtyping,
            kind=self.instance_loss_fn,
        )
        log["cls_loss"], log["instance_loss"] = bag_loss.item(), extra.item()
        results["loss"] = self.bag_weight * bag_loss + (1 - self.bag_weight) * extra
        results["instance_loss"] = extra

    def forward(
        self,
        h: Tensor,
        loss_fn: Any = None,
        label: Tensor | None = None,
        attn_mask: Tensor | None = None,
        return_attention: bool = False,
        return_slide_feats: bool = False,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in every model, but the attention is always computed, because the instance loss needs it."""
        results, log = super().forward(h, loss_fn, label, attn_mask, True, return_slide_feats)
        if not return_attention:
            log["attention"] = None
        return results, log
