"""The linear classifier on a slide's vector, which most models end with."""

from typing import Any, cast

from torch import Tensor

from mil_heatmaps.errors import ModelError
from mil_heatmaps.models.base import MILModel


def classify(model: MILModel, slide_feats: Tensor) -> Tensor:
    """Return the logits (B, C) of slide vectors (B, E) by ``model.model.classifier``; refuse without one."""
    if not model.num_classes:
        raise ModelError(f"this {model.title} has no classifier (num_classes 0), so it gives no logits")
    return cast(Tensor, cast(Any, model.model).classifier(slide_feats))


def logits_or_none(model: MILModel, slide_feats: Tensor) -> Tensor | None:
    """Return the logits (C,) of one slide's vector (1, E), None for a headless model."""
    return classify(model, slide_feats)[0] if model.num_classes else None
