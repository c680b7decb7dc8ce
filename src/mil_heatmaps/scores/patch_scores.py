"""A model's output for each patch, and for the whole slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from mil_heatmaps.choices import TASKS, Task
from mil_heatmaps.numpy_later import np
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.words import number_words, percentage

if TYPE_CHECKING:
    import numpy.typing as npt

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
    "leave_one_out",  # loss of the explained output without the patch
    "single",  # the explained output of the patch as a whole slide, not a difference
    "gradient_x_input",  # gradient times features
    "integrated_gradients",  # adds up over the patches to the explained output, see its checks
    "occlusion",  # loss of the output without a square of patches
    "mask_regression",  # weight in a linear surrogate over random halves of the slide
    "consensus",  # of several models: mean rank, and the share of models with the patch in their top; 0 to 1
    "consensus_spread",  # standard deviation of a patch's ranks over several models; 0 to a half
    "cluster",  # number of a phenotype, from 0: a label, not an amount
    "external",  # from the user's own file
]

EXPLANATION_KINDS: frozenset[str] = frozenset(
    {"leave_one_out", "single", "gradient_x_input", "integrated_gradients", "occlusion", "mask_regression"}
)
"""Kinds computed by querying the model itself: positive means for the target."""

SIGNED_KINDS: frozenset[str] = EXPLANATION_KINDS | {
    "attention_gate",
    "nystrom_attention",
    "class_contribution",
    "instance_logit",
    "similarity",
}
"""Kinds with zero as the middle, so that a diverging colormap makes sense."""

FOR_AND_AGAINST: frozenset[str] = EXPLANATION_KINDS | {"attention_gate", "class_contribution", "instance_logit"}
"""Signed kinds whose sign matters: by default they are drawn around zero, never only by rank."""

SHARE_KINDS: frozenset[str] = frozenset({"attention_softmax", "attention_mean"})
"""Kinds whose numbers are shares of 1 over the bag."""

SPREAD = "spread"
"""Column of a consensus with the spread of the models' ranks."""

MIDDLES: Mapping[str, float] = {**dict.fromkeys(SIGNED_KINDS, 0.0), "consensus_spread": 0.25}
"""The middle of a diverging map, by kind. The spread of ranks is at most 0.5; about 0.25 if independent."""

FIXED_RANGES: Mapping[str, tuple[float, float]] = {"consensus": (0.0, 1.0), "consensus_spread": (0.0, 0.5),
                                                       "cluster": (-0.5, 19.5)}  # fmt: skip
"""Kinds whose numbers mean the same on every slide; they are drawn unchanged, between these ends."""


def kind_of_column(kind: ScoreKind, name: str) -> ScoreKind:
    """Return the kind of one column of a score: in a consensus, the spread is of another kind than the others."""
    return "consensus_spread" if kind == "consensus" and name == SPREAD else kind


PREDICTION_KINDS: frozenset[str] = frozenset({"single"})
"""Kinds whose numbers are predictions, in the units of the slide's own prediction, and not differences from it."""


@dataclass(frozen=True)
class Explained:
    """The subject of an explanation, its settings, and the checks stored with it.

    Attributes
    ----------
    output : str
        ``log_odds``, ``logit``, ``probability``, ``value`` or ``risk``.
    task : Task
    settings : dict
        The settings that the score depends on, plain JSON.
    checks : dict
        Plain numbers and lists, one per column where they are lists.
    full : K floats
        The output of the whole slide, one per column.
    """

    output: str
    task: Task
    settings: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    full: tuple[float, ...] = ()


@dataclass(frozen=True, repr=False)
class PatchScores:
    """One row per patch, one column per class or head.

    Attributes
    ----------
    grid : PatchGrid or None
        None when the scores were computed from bare features.
    values : (N, K) float32
        May hold NaN for patches without a score (drawn as uncovered).
    names : K str
        Names of the columns: class names, ``head 0``, or the score's own name when K is 1.
    kind : ScoreKind
        What the numbers are; "attention" means something different in every model.
    score : str
        The model's name for the score, as in `heatmap_arguments.score`.
    explained : Explained or None
        Only for explanations.
    """

    grid: PatchGrid | None
    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    kind: ScoreKind
    score: str = "attention"
    explained: Explained | None = None

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


EACH_ITS_OWN = "each class a chance of its own"
"""Text beside probabilities that do not sum to one."""
LIKELY = 0.5
"""Probability from which a label of a multilabel model counts as predicted."""


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for the slide, from the same forward as the patch scores.

    Attributes
    ----------
    classes : C str
        Names of the outputs, in the model's order: classes, the quantities of a regression, the intervals of a
        survival model.
    probabilities : (C,) float32
        The meaning of the outputs: for a classification the softmax of the logits; for a multilabel model the sigmoid
        of each; for a regression the outputs unchanged; for survival the probability of surviving each interval,
        S_t = prod_{k<=t} (1 - sigmoid(logit_k)). A survival model with a single output returns a log relative hazard
        (Cox), unchanged.
    logits : (C,) float32
    task : str
        ``classification``, ``multilabel``, ``regression`` or ``survival``.
    independent : bool
        For a classification: every class has a sigmoid of its own (DSMIL), so the probabilities do not sum to one;
        the class with the largest is predicted.
    train_median : float or None
        Median over the training set of the risk, or of the only output of a regression, if the checkpoint has it.
    """

    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    task: Task = "classification"
    independent: bool = False
    train_median: float | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"unknown task {self.task!r}; choose from {list(TASKS)}")

    @property
    def hazards(self) -> npt.NDArray[np.float32]:
        """For a survival model with intervals: probability of the event in each, sigmoid(logit), if it was reached."""
        return np.exp(-np.logaddexp(0, -self.logits.astype(np.float64))).astype(np.float32)

    @property
    def risk(self) -> float:
        """For a survival model: minus the sum of the survival probabilities, or its only output; higher is worse."""
        if len(self.classes) == 1:
            return float(self.logits[0])
        return -float(self.probabilities.sum(dtype=np.float64))

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers in tables for any model except a classification, by name.

        A multilabel model: the probability of each label. A regression: each output by its name. Survival: ``risk``,
        then ``S_0``, ``S_1``, … or ``S_<name>`` of named intervals, the probability of surviving each; a model with a
        single output has only its risk.
        """
        if self.task != "survival":
            return dict(zip(self.classes, map(float, self.probabilities), strict=True))
        if len(self.classes) == 1:
            return {"risk": self.risk}
        names = (f"S_{name.removeprefix('interval ')}" for name in self.classes)
        return {"risk": self.risk, **dict(zip(names, map(float, self.probabilities), strict=True))}

    @property
    def level(self) -> float | None:
        """The single number that is high or low: the risk, or the only output of a regression; else None."""
        if self.task == "survival":
            return self.risk
        return float(self.probabilities[0]) if self.task == "regression" and len(self.classes) == 1 else None

    @property
    def headline(self) -> tuple[str, str]:
        """The prediction as (name, value): a class with its probability, a risk, or values by name."""
        if self.task == "survival":
            return "survival", f"risk {number_words(self.risk)}"
        if self.task == "multilabel":
            chances = [f"{self.classes[i]} {percentage(self.probabilities[i])}" for i in self.likely]
            if self.probabilities[self.predicted] < LIKELY:
                if len(self.classes) == 1:
                    return "predicted", f"not {self.classes[0]} ({percentage(self.probabilities[0])})"
                return "predicted", f"none of {len(self.classes)}, highest {chances[0]}"
            return "predicted", ", ".join(chances)
        if self.task == "regression":
            return "predicted", ", ".join(f"{name} {number_words(value)}" for name, value in self.numbers.items())
        return "predicted", f"{self.classes[self.predicted]} {percentage(self.probabilities[self.predicted])}"

    @property
    def details(self) -> list[str]:
        """The rest of the prediction: the other classes or labels by probability, or what is behind a risk."""
        if self.task == "multilabel":
            others = [i for i in self.ranking if i not in self.likely]
            return [f"{self.classes[i]} {percentage(self.probabilities[i])}" for i in others]
        if self.task == "classification":
            rest = [f"{self.classes[i]} {percentage(self.probabilities[i])}" for i in self.ranking[1:]]
            return [EACH_ITS_OWN, *rest] if self.independent else rest  # first, because figures truncate lists
        if self.task == "survival":
            return [f"{name} {percentage(value)}" for name, value in self.numbers.items() if name != "risk"]
        return []

    @property
    def summary(self) -> str:
        """The prediction in one line: a class, values, or a risk."""
        _, value = self.headline
        if self.task == "classification":
            chance = float(self.probabilities[self.predicted])
            said = f"p {chance:.3f}" if chance < 0.9995 else percentage(chance)
            return f"{self.classes[self.predicted]} ({said}{f', {EACH_ITS_OWN}' if self.independent else ''})"
        if self.task in ("regression", "multilabel"):
            return value
        behind = f"minus the sum of {len(self.classes)} survival probabilities"
        return f"{value} ({behind if len(self.classes) > 1 else 'log relative hazard'})"

    @property
    def likely(self) -> list[int]:
        """For a multilabel model: the labels with a probability of at least 0.5, highest first; else the highest."""
        return [i for i in self.ranking if self.probabilities[i] >= LIKELY] or self.ranking[:1]

    @property
    def ranking(self) -> list[int]:
        """Class indices in descending order of logit or probability (the order is the same). Ties keep their order."""
        by = self.probabilities if self.independent else self.logits
        return [int(i) for i in np.argsort(-by, kind="stable")]

    @property
    def predicted(self) -> int:
        """Index of the most probable class or label. A regression or survival model has none: see `numbers`."""
        return self.ranking[0]
