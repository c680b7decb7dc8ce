"""The scores a model offers for each patch, and the results of a pass over a slide."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.scores.patch_scores import PatchScores, ScoreKind
from mil_heatmaps.slides.patch_grid import PatchGrid

Features: TypeAlias = "PatchFeatures | npt.NDArray[Any] | Tensor"


@dataclass(frozen=True)
class ScoreSpec:
    """One patch score a model offers.

    Attributes
    ----------
    kind : ScoreKind
    about : str
        One phrase for people, without a full stop.
    columns : "one", "class" or "head"
        What the columns of the values are, and so how they are named. A pass may give other names
        (`BagResult.columns`).
    alone : bool
        Whether a patch's score depends on that patch alone, so that it means the same in any bag.
    """

    kind: ScoreKind
    about: str
    columns: Literal["one", "class", "head"] = "one"
    alone: bool = False


@dataclass(frozen=True)
class Explanation:
    """The result of one pass over a bag, so that prediction and scores belong together.

    Attributes
    ----------
    logits : (C,) float32, or None
        None when the model has no classifier (a headless checkpoint) and so gives no prediction.
    scores : dict
        By score name, in the order asked for.
    probabilities : (C,) float32, or None
        For a model whose classes have independent probabilities, which need not sum to 1.
    checks : dict
        By the name of each explanation: its checks, as plain numbers and lists.
    outputs : Outputs or None
        What the explanations explain.
    full : (K,) float64 or None
        These outputs for the whole bag, one number per target.
    """

    logits: npt.NDArray[np.float32] | None
    scores: dict[str, PatchScores]
    probabilities: npt.NDArray[np.float32] | None = None
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: Outputs | None = None
    full: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class BagResult:
    """What a model's own pass returns to `MILModel.explain`.

    Attributes
    ----------
    logits : (C,) tensor or None
    scores : dict of (N,) or (N, K) tensors
        At least the scores asked for, by name.
    columns : dict
        Column names of scores whose columns are neither one, classes nor heads.
    probabilities : (C,) tensor or None
        For a model whose classes have independent probabilities. None: they follow from the logits and the task.
    """

    logits: Tensor | None
    scores: dict[str, Tensor]
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    probabilities: Tensor | None = None


def grid_and_values(features: Features) -> tuple[PatchGrid | None, npt.NDArray[Any] | Tensor]:
    if isinstance(features, PatchFeatures):
        return features.grid, features.features
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    if features.ndim != 2:
        raise FeatureError(f"features of one slide must have shape (N, D), got {tuple(features.shape)}")
    return None, features
