"""CLAM's baseline: every patch is classified alone, and the most convincing one decides (max pooling)."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.deciding import Deciding
from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.layers.attention import map_rows
from mil_heatmaps.models.base import Bag, BagResult, MILModel, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model


@register_model("mil_fc")
class MILFC(MILModel):
    """h = ReLU(W1 x + b1); z = classifier(h); logits = z of the patch with the highest probability of class 1."""

    key_prefix = ""
    classifier_name = "classifier"

    def __init__(self, in_dim: int = 1024, hidden_dim: int = 512, dropout: float = 0.25, num_classes: int = 2) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self._check_classes()
        self.fc = nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout))
        self.add_module(self.classifier_name, nn.Linear(hidden_dim, num_classes))

    def _check_classes(self) -> None:
        if self.num_classes != 2:
            raise ModelError(f"mil_fc has two classes, got {self.num_classes}; mil_fc_mc is for more")

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; the classifier's name tells the two kinds apart."""
        first, last = shapes.get("fc.0.weight"), shapes.get(f"{cls.classifier_name}.weight")
        if first is None or last is None:
            return None
        return {"in_dim": first[1], "hidden_dim": first[0], "num_classes": last[0]}

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Probabilities are the default: CLAM returns them in the place of attention."""
        return {
            "instance_probability": ScoreSpec(
                "instance_probability", "probability of each class for the patch alone", "class", alone=True
            ),
            "instance_logit": ScoreSpec(
                "instance_logit", "logit of each class for the patch alone", "class", alone=True
            ),
        }

    def refused_own_scores(self) -> dict[str, str]:
        """The model has no attention."""
        return {"attention": "it classifies patches one by one and has no attention"}

    def _instance_logits(self, x: Tensor) -> Tensor:
        return cast(Tensor, getattr(self, self.classifier_name)(self.fc(x)))

    def _deciding_patch(self, probabilities: Tensor) -> Tensor:
        """Return the index of the deciding patch, from probabilities (..., N, C)."""
        return self._conviction(probabilities).argmax(dim=-1)

    def _conviction(self, probabilities: Tensor) -> Tensor:
        """Return the probability that decides (..., N), from probabilities (..., N, C)."""
        return probabilities[..., 1]

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the deciding patches' embeddings (B, hidden_dim); `attention` has the probabilities (B, N, C)."""
        embedded = self.fc(h)
        probabilities = torch.softmax(getattr(self, self.classifier_name)(embedded), dim=-1)
        candidates = probabilities
        if attn_mask is not None:
            candidates = probabilities.masked_fill(attn_mask.reshape(*h.shape[:2], 1) == 0, -1)
        deciding = embedded[torch.arange(len(h), device=h.device), self._deciding_patch(candidates)]
        return deciding, {"attention": probabilities if return_attention else None}

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return cast(Tensor, getattr(self, self.classifier_name)(slide_feats))

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Classify chunk by chunk."""
        logits = map_rows(bag, self._instance_logits)
        probabilities = torch.softmax(logits, dim=1)
        return BagResult(
            logits[self._deciding_patch(probabilities)],
            {"instance_probability": probabilities, "instance_logit": logits},
        )

    def exact_form(self, rows: Rows) -> Form:
        """The logits are the deciding patch's."""
        return Deciding(rows, self._instance_logits, lambda z: self._conviction(torch.softmax(z, dim=1)))


@register_model("mil_fc_mc")
class MILFCMultiClass(MILFC):
    """As `MILFC` for more than two classes; the patch with the highest probability of any class decides."""

    classifier_name = "classifiers"

    def __init__(self, in_dim: int = 1024, hidden_dim: int = 512, dropout: float = 0.25, num_classes: int = 3) -> None:
        super().__init__(in_dim, hidden_dim, dropout, num_classes)

    def _check_classes(self) -> None:
        if self.num_classes < 3:
            raise ModelError(f"mil_fc_mc has more than two classes, got {self.num_classes}; mil_fc is for two")

    def _conviction(self, probabilities: Tensor) -> Tensor:
        return probabilities.amax(dim=-1)
