"""What a model says of each patch, and of the whole slide."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from src.slides.patch_grid import PatchGrid

ScoreKind = Literal[
    "attention_logit",  # before the softmax: any real number, meaningful up to a constant
    "attention_softmax",  # pooling weight: at least 0, sums to 1 over the patches
    "attention_gate",  # unnormalised pooling weight: signed, not a share (dftd)
    "attention_mean",  # mean of softmaxed heads
    "attention_rollout",  # attention multiplied through the layers
    "nystrom_attention",  # approximate attention of the class token: signed, need not sum to 1
    "class_contribution",  # adds up over the patches to the class logit less its bias
    "instance_logit",  # the model's own per-patch classifier
    "instance_probability",  # the same as probabilities
    "similarity",  # dot product with a summary vector; not used by the network as a weight
    "external",  # from the user's own file
]

SIGNED_KINDS: frozenset[str] = frozenset(
    {"attention_gate", "nystrom_attention", "class_contribution", "instance_logit", "similarity"}
)
"""Kinds for which zero is a middle, so that a diverging colormap makes sense."""

FOR_AND_AGAINST: frozenset[str] = frozenset({"attention_gate", "class_contribution", "instance_logit"})
"""Signed kinds whose sign is the message: unless told otherwise they are drawn around zero, never by rank alone."""


@dataclass(frozen=True, repr=False)
class PatchScores:
    """One row a patch, one column a class or head.

    Attributes
    ----------
    grid : PatchGrid or None
        None when the scores were computed from bare features.
    values : (N, K) float32
        May hold NaN for patches without a score (drawn as uncovered).
    names : K str
        Of the columns: class names, ``head 0``, or the score's own name when K is 1.
    kind : ScoreKind
        What the number is; "attention" means something else in every model.
    score : str
        Name by which the model offers it, as in `heatmap_arguments.score`.
    """

    grid: PatchGrid | None
    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    kind: ScoreKind
    score: str = "attention"

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(f"values must have shape (N, {len(self.names)}), got {self.values.shape}")
        if self.grid is not None and len(self.values) != len(self.grid):
            raise ValueError(f"{len(self.grid)} patches but {len(self.values)} scores")
        if self.kind not in get_args(ScoreKind):
            raise ValueError(f"unknown kind {self.kind!r}; choose from {list(get_args(ScoreKind))}")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"PatchScores(n={len(self)}, score={self.score!r}, kind={self.kind!r}, names={list(self.names)})"


@dataclass(frozen=True)
class Prediction:
    """What the model says of the slide, from the same forward as the patch scores.

    Attributes
    ----------
    classes : C str
        Names, in the model's order.
    probabilities : (C,) float32
        What the outputs mean: for a classification the softmax of the logits; for a regression the outputs as
        they are; for survival the probability of surviving each interval, S_t = prod_{k<=t} (1 -
        sigmoid(logit_k)).
    logits : (C,) float32
    task : str
        ``classification``, ``regression`` or ``survival``.
    """

    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    task: Literal["classification", "regression", "survival"] = "classification"

    @property
    def hazards(self) -> npt.NDArray[np.float32]:
        """Of a survival model: chance of the event in each interval, sigmoid(logit), if it was reached."""
        return np.exp(-np.logaddexp(0, -self.logits.astype(np.float64))).astype(np.float32)

    @property
    def risk(self) -> float:
        """Of a survival model: minus the sum of the survival probabilities; higher is worse."""
        return -float(self.probabilities.sum(dtype=np.float64))

    @property
    def summary(self) -> str:
        """The prediction in one line, as what it is: a class, values, or a risk."""
        if self.task == "survival":
            return f"risk {self.risk:.3f} (minus the sum of {len(self.classes)} survival probabilities)"
        if self.task == "regression":
            return ", ".join(f"{name} {value:.4g}" for name, value in zip(self.classes, self.logits, strict=True))
        return f"{self.classes[self.predicted]} (p {self.probabilities[self.predicted]:.3f})"

    @property
    def ranking(self) -> list[int]:
        """Class indices by falling logit; for a classification that is falling probability. Ties keep their
        order.
        """
        return [int(i) for i in np.argsort(-self.logits, kind="stable")]

    @property
    def predicted(self) -> int:
        """Index of the most probable class; for other tasks of the highest output."""
        return self.ranking[0]
