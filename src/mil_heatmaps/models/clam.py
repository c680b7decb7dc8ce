"""CLAM's own networks (Lu et al. 2021): CLAM_SB pools with one attention branch, CLAM_MB with one per class."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from mil_heatmaps.explain.additive import Additive
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows, wide
from mil_heatmaps.layers.attention import RowFunction, attention, mask_scores, pool_bag
from mil_heatmaps.layers.shapes import count_layers
from mil_heatmaps.models.abmil import CONTRIBUTION, RAW, SOFTMAX, attention_scores
from mil_heatmaps.models.base import Bag, BagResult, MILModel, ScoreSpec, Shapes
from mil_heatmaps.models.clam_mil_lab import INSTANCE_LOGIT, instance_classifiers, instance_log_odds
from mil_heatmaps.models.registry import register_model

_PARALLEL = re.compile(r"^attention_net\.module\.(?=\d)")
_BEFORE_DROPOUT = re.compile(r"^attention_net\.2\.")


class CLAM(MILModel):
    """h = ReLU(W1 x + b1); A = G(h), K columns; M = softmax(A)^T h; the subclasses classify M."""

    key_prefix = ""
    branches_per_class = False

    def __init__(
        self,
        in_dim: int = 1024,
        hidden_dim: int = 512,
        attn_dim: int = 256,
        gate: bool = True,
        dropout: float = 0.25,
        num_classes: int = 2,
        instance_classes: int | None = None,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        heads = max(num_classes, 1) if self.branches_per_class else 1
        self.attention_net = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            attention(hidden_dim, attn_dim, heads=heads, gate=gate, dropout=dropout),
        )
        self.instance_classes = num_classes if instance_classes is None else instance_classes
        self.classifiers: Any = self._classifiers(hidden_dim) if num_classes else None
        self.instance_classifiers = instance_classifiers(hidden_dim, self.instance_classes)

    def _classifiers(self, hidden_dim: int) -> nn.Module:
        raise NotImplementedError

    def class_weights(self) -> Tensor:
        """Return the classifier's weight, (C, hidden_dim)."""
        raise NotImplementedError

    def class_biases(self) -> Tensor:
        """Return the classifier's bias, (C,)."""
        raise NotImplementedError

    @classmethod
    def canonical_key(cls, key: str) -> str | None:
        """Remove DataParallel's ``module.`` inside the network, and renumber the attention of networks without dropout.

        The ungated attention's own ``module.`` stays.
        """
        if key.startswith("instance_loss_fn."):
            return None
        key = _PARALLEL.sub("attention_net.", key)
        key = _BEFORE_DROPOUT.sub("attention_net.3.", key)
        return key.replace("attention_net.3.module.2.", "attention_net.3.module.3.")

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; the classifiers' keys tell CLAM_SB from CLAM_MB."""
        gate = "attention_net.3.attention_c.weight" in shapes
        first = shapes.get("attention_net.3.attention_a.0.weight" if gate else "attention_net.3.module.0.weight")
        classes = cls._classes_from_shapes(shapes)
        if first is None or classes is None or "attention_net.0.weight" not in shapes:
            return None
        return {
            "in_dim": shapes["attention_net.0.weight"][1],
            "hidden_dim": first[1],
            "attn_dim": first[0],
            "gate": gate,
            "num_classes": classes,
            "instance_classes": count_layers(shapes, "instance_classifiers.{}.weight"),
        }

    @classmethod
    def _classes_from_shapes(cls, shapes: Shapes) -> int | None:
        raise NotImplementedError

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Raw attention is the default: CLAM's block maps hold it."""
        specs = {"attention": RAW, "attention_softmax": SOFTMAX}
        if self.num_classes:
            specs["class_contribution"] = CONTRIBUTION
        if self.instance_classes and self.instance_classes == self.num_classes:
            specs["instance_logit"] = INSTANCE_LOGIT
        return specs

    def refused_own_scores(self) -> dict[str, str]:
        """Without instance classifiers there are no instance logits."""
        reasons = {"class_contribution": "the checkpoint has no classifier"} if not self.num_classes else {}
        if "instance_logit" not in self.score_specs():
            reasons["instance_logit"] = "the checkpoint has no instance classifiers"
        return reasons

    def _embed(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.attention_net[:3](x)
        return embedded

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return pooled vectors (B, K, hidden_dim) and raw attention (B, K, N), CLAM's A_raw for each bag."""
        embedded = self._embed(h)
        raw = mask_scores(self.attention_net[3](embedded).transpose(-2, -1), attn_mask)
        return torch.softmax(raw, dim=-1) @ embedded, {"attention": raw if return_attention else None}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Embed, weigh and pool chunk by chunk."""
        per_row: dict[str, RowFunction] = {}
        if "class_contribution" in wanted:
            weights = self.class_weights()
            per_row["class_contribution"] = lambda h: h @ weights.T
        if "instance_logit" in wanted:
            per_row["instance_logit"] = lambda h: instance_log_odds(self.instance_classifiers, h)
        raw, pooled, rows = pool_bag(bag, self._embed, self.attention_net[3], per_row)
        return BagResult(self.slide_logits(pooled[None]), attention_scores(raw, rows, wanted))

    def exact_form(self, rows: Rows) -> Form:
        """The logits are sums over the patches; each branch's softmax weights the sum of its own class."""

        def votes(x: Tensor) -> tuple[Tensor, Tensor]:
            h = self._embed(x)
            return h @ self.class_weights().T, self.attention_net[3](h)

        return Additive(rows, votes, wide(self.class_biases()))


@register_model("clam_sb")
class ClamSB(CLAM):
    """One attention branch; logits = Linear(hidden_dim, C)(M)."""

    def _classifiers(self, hidden_dim: int) -> nn.Module:
        return nn.Linear(hidden_dim, self.num_classes)

    def class_weights(self) -> Tensor:
        """Return the classifier's weight, (C, hidden_dim)."""
        weight: Tensor = self.classifiers.weight
        return weight

    def class_biases(self) -> Tensor:
        """Return the classifier's bias, (C,)."""
        bias: Tensor = self.classifiers.bias
        return bias

    @classmethod
    def _classes_from_shapes(cls, shapes: Shapes) -> int | None:
        if "classifiers.weight" in shapes:
            return shapes["classifiers.weight"][0]
        return None if any(key.startswith("classifiers.") for key in shapes) or _heads(shapes) != 1 else 0

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C) of pooled vectors (B, 1, hidden_dim)."""
        self.require_classifier()
        logits: Tensor = self.classifiers(slide_feats[:, 0])
        return logits


@register_model("clam_mb")
class ClamMB(CLAM):
    """One attention branch per class; logit c = Linear_c(hidden_dim, 1)(M_c)."""

    branches_per_class = True

    def _classifiers(self, hidden_dim: int) -> nn.Module:
        return nn.ModuleList(nn.Linear(hidden_dim, 1) for _ in range(self.num_classes))

    def class_weights(self) -> Tensor:
        """Return the classifiers' weights, (C, hidden_dim)."""
        return torch.cat([classifier.weight for classifier in self.classifiers])

    def class_biases(self) -> Tensor:
        """Return the classifiers' biases, (C,)."""
        return torch.cat([classifier.bias for classifier in self.classifiers])

    @classmethod
    def _classes_from_shapes(cls, shapes: Shapes) -> int | None:
        return count_layers(shapes, "classifiers.{}.weight") or None

    def score_specs(self) -> dict[str, ScoreSpec]:
        """As CLAM_SB's, with one column per class for attention too."""
        specs = super().score_specs()
        specs["attention"] = ScoreSpec(
            RAW.kind, "raw attention of each class's branch, before the softmax", "class", alone=True
        )
        specs["attention_softmax"] = ScoreSpec(
            SOFTMAX.kind, "share of the class's slide vector that comes from the patch; sums to 1", "class"
        )
        return specs

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C) of pooled vectors (B, C, hidden_dim)."""
        self.require_classifier()
        return torch.cat([classify(slide_feats[:, i]) for i, classify in enumerate(self.classifiers)], dim=1)


def _heads(shapes: Shapes) -> int:
    """Return how many attention branches the last attention layer has."""
    last = next((key for key in shapes if re.search(r"attention_net\.3\.(attention_c|module\.3)\.weight$", key)), "")
    return shapes[last][0] if last else 0
