"""Facts on the training that a checkpoint states and a reader of its predictions needs."""

import math
import os
from typing import Any

from mil_heatmaps.checkpoints.load import load_checkpoint
from mil_heatmaps.errors import CheckpointError

_MEDIAN = "train_pred_median"
"""STAMP's name for the median."""


def training_median(path: str | os.PathLike[str]) -> float | None:
    """Return the median of the model's predictions over its training set, None if the checkpoint does not say."""
    try:
        value: Any = load_checkpoint(path).said.settings.get(_MEDIAN)
    except CheckpointError:  # reported when the model is built
        return None
    told = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if told else None
