"""What goes into a model's pass over a slide, and what comes out of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.scores.patch_scores import PatchScores, ScoreKind
from mil_heatmaps.slides.patch_grid import PatchGrid

CHUNK_ROWS = 4096
"""Patches taken at a time: 24 MiB of 1536-wide float32, large enough for full matrix-product speed."""

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
        What the columns of the values are; they are named accordingly. A pass may name them itself instead
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
    """What one pass over a bag gave; prediction and scores therefore belong together.

    Attributes
    ----------
    logits : (C,) float32, or None
        None when the model has no classifier (a headless checkpoint): there is no prediction then.
    scores : dict
        By score name, in the order asked for.
    checks : dict
        By the name of each explanation: what travels with it, plain numbers and lists.
    outputs : Outputs or None
        What the explanations explain.
    full : (K,) float64 or None
        That output of the whole bag, one number a target.
    """

    logits: npt.NDArray[np.float32] | None
    scores: dict[str, PatchScores]
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
    """

    logits: Tensor | None
    scores: dict[str, Tensor]
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Bag:
    """The features of one slide, handed to a model in slices of its own dtype on its own device.

    Features stay where they are (float16 as stored, on the CPU or memory-mapped); only a slice is widened and
    moved.
    """

    def __init__(self, features: npt.NDArray[Any] | Tensor, *, device: torch.device, dtype: torch.dtype) -> None:
        self._features = features
        self.device = device
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self._features)

    @property
    def width(self) -> int:
        """Numbers in a patch's feature vector."""
        return int(self._features.shape[1])

    def rows(self, start: int, stop: int) -> Tensor:
        """Return patches `start` up to `stop` as a (stop - start, D) tensor, not to be written to.

        It may be the caller's own features: at 1536 numbers a patch copying costs a tenth of what ABMIL does with them.
        """
        return self._part(start, stop, copy=False)

    def _part(self, start: int, stop: int, *, copy: bool) -> Tensor:
        part = self._features[start:stop]
        if not isinstance(part, Tensor):
            part = torch.from_numpy(part if part.flags.writeable else np.array(part))  # torch asks for writable ones
        return part.to(device=self.device, dtype=self.dtype, copy=copy)

    def chunks(self, rows: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows covered, their features), `CHUNK_ROWS` at a time unless `rows` says otherwise."""
        rows = rows or CHUNK_ROWS
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield slice(start, stop), self.rows(start, stop)

    def all(self) -> Tensor:
        """Return the whole bag as one (N, D) tensor of its own, for models that need every patch at once."""
        return self._part(0, len(self), copy=True)


def grid_and_values(features: Features) -> tuple[PatchGrid | None, npt.NDArray[Any] | Tensor]:
    if isinstance(features, PatchFeatures):
        return features.grid, features.features
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    if features.ndim != 2:
        raise FeatureError(f"features of one slide must have shape (N, D), got {tuple(features.shape)}")
    return None, features
