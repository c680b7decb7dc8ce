"""What a model says of each patch, and of the whole slide."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import TASKS, Task
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.words import number_words, percentage

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
    "leave_one_out",  # what the explained output loses without the patch
    "single",  # the explained output of the patch as a whole slide: no difference
    "gradient_x_input",  # gradient times features
    "integrated_gradients",  # adds up over the patches to what is explained, see its checks
    "occlusion",  # what the output loses without a square of patches
    "mask_regression",  # weight in a linear surrogate over random halves of the slide
    "consensus",  # of several models: mean rank, and which share of the models has the patch at the top; 0 to 1
    "consensus_spread",  # standard deviation of the ranks that several models give the patch; 0 to a half
    "cluster",  # number of a phenotype, from 0: a name, not an amount
    "external",  # from the user's own file
]

EXPLANATION_KINDS: frozenset[str] = frozenset(
    {"leave_one_out", "single", "gradient_x_input", "integrated_gradients", "occlusion", "mask_regression"}
)
"""Kinds that ask the model itself: positive speaks for the target."""

SIGNED_KINDS: frozenset[str] = EXPLANATION_KINDS | {
    "attention_gate",
    "nystrom_attention",
    "class_contribution",
    "instance_logit",
    "similarity",
}
"""Kinds for which zero is a middle, so that a diverging colormap makes sense."""

FOR_AND_AGAINST: frozenset[str] = EXPLANATION_KINDS | {"attention_gate", "class_contribution", "instance_logit"}
"""Signed kinds whose sign is the message: unless told otherwise they are drawn around zero, never by rank alone."""

SPREAD = "spread"
"""Column of a consensus that says how far the models' ranks lie apart."""

MIDDLES: Mapping[str, float] = {**dict.fromkeys(SIGNED_KINDS, 0.0), "consensus_spread": 0.25}
"""The middle of a diverging map, by kind. Ranks lie apart by half at most; independent ones by about a quarter."""

FIXED_RANGES: Mapping[str, tuple[float, float]] = {"consensus": (0.0, 1.0), "consensus_spread": (0.0, 0.5),
                                                       "cluster": (-0.5, 19.5)}  # fmt: skip
"""Kinds whose numbers mean the same on every slide, so that they are drawn as they are, between these ends."""


def kind_of_column(kind: ScoreKind, name: str) -> ScoreKind:
    """Return what one column of a score is: in a consensus the spread is another kind of number than the others."""
    return "consensus_spread" if kind == "consensus" and name == SPREAD else kind


PREDICTION_KINDS: frozenset[str] = frozenset({"single"})
"""Kinds whose numbers are predictions, in the units of the slide's own: a difference has no reference among them."""


@dataclass(frozen=True)
class Explained:
    """What an explanation explains, how it was made, and the checks that travel with it.

    Attributes
    ----------
    output : str
        ``log_odds``, ``logit``, ``probability``, ``value`` or ``risk``.
    task : Task
    settings : dict
        Those that the score depends on, plain JSON.
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
        Of the columns: class names, ``head 0``, or the score's own name when K is 1.
    kind : ScoreKind
        What the number is; "attention" means something else in every model.
    score : str
        Name by which the model offers it, as in `heatmap_arguments.score`.
    explained : Explained or None
        Of the explanations alone.
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
"""What is said beside probabilities that are no shares of one."""
LIKELY = 0.5
"""Chance from which a label of a multilabel model counts as predicted."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of the slide, from the same forward as the patch scores.

    Attributes
    ----------
    classes : C str
        Names of the outputs, in the model's order: classes, the quantities of a regression, the intervals of a
        survival model.
    probabilities : (C,) float32
        What the outputs mean: for a classification the softmax of the logits; of a multilabel model the sigmoid of
        each; for a regression the outputs as they are; for survival the probability of surviving each interval,
        S_t = prod_{k<=t} (1 - sigmoid(logit_k)). A survival model with a single output gives a log relative hazard
        (Cox), as it is.
    logits : (C,) float32
    task : str
        ``classification``, ``multilabel``, ``regression`` or ``survival``.
    independent : bool
        Of a classification: every class has a sigmoid of its own (DSMIL), so the probabilities are no shares of one;
        the predicted class is the largest.
    train_median : float or None
        Median over the training set of the risk, or of the only output of a regression, where the checkpoint knows it.
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
        """Of a survival model with intervals: chance of the event in each, sigmoid(logit), if it was reached."""
        return np.exp(-np.logaddexp(0, -self.logits.astype(np.float64))).astype(np.float32)

    @property
    def risk(self) -> float:
        """Of a survival model: minus the sum of the survival probabilities, or its only output; higher is worse."""
        if len(self.classes) == 1:
            return float(self.logits[0])
        return -float(self.probabilities.sum(dtype=np.float64))

    @property
    def numbers(self) -> dict[str, float]:
        """What tables show of any model but a classification, by name.

        A multilabel model: the chance of each label. A regression: each output by its name. Survival: ``risk``, then
        ``S_0``, ``S_1``, … or ``S_<name>`` of named intervals, the probability of surviving each; a model with a single
        output has its risk only.
        """
        if self.task != "survival":
            return dict(zip(self.classes, map(float, self.probabilities), strict=True))
        if len(self.classes) == 1:
            return {"risk": self.risk}
        names = (f"S_{name.removeprefix('interval ')}" for name in self.classes)
        return {"risk": self.risk, **dict(zip(names, map(float, self.probabilities), strict=True))}

    @property
    def level(self) -> float | None:
        """The one number that is high or low: the risk, or the only output of a regression; else None."""
        if self.task == "survival":
            return self.risk
        return float(self.probabilities[0]) if self.task == "regression" and len(self.classes) == 1 else None

    @property
    def headline(self) -> tuple[str, str]:
        """The prediction as (what it is, its value): a class with its probability, a risk, or values by name."""
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
        """The rest of the prediction: the other classes or labels by probability, or the chances behind a risk."""
        if self.task == "multilabel":
            others = [i for i in self.ranking if i not in self.likely]
            return [f"{self.classes[i]} {percentage(self.probabilities[i])}" for i in others]
        if self.task == "classification":
            rest = [f"{self.classes[i]} {percentage(self.probabilities[i])}" for i in self.ranking[1:]]
            return [EACH_ITS_OWN, *rest] if self.independent else rest  # first, as figures cut lists
        if self.task == "survival":
            return [f"{name} {percentage(value)}" for name, value in self.numbers.items() if name != "risk"]
        return []

    @property
    def summary(self) -> str:
        """The prediction in one line, as what it is: a class, values, or a risk."""
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
        """Of a multilabel model: the labels with a chance of at least a half, highest first; else the highest."""
        return [i for i in self.ranking if self.probabilities[i] >= LIKELY] or self.ranking[:1]

    @property
    def ranking(self) -> list[int]:
        """Class indices in descending order of logit or probability, which agree. Ties keep their order."""
        by = self.probabilities if self.independent else self.logits
        return [int(i) for i in np.argsort(-by, kind="stable")]

    @property
    def predicted(self) -> int:
        """Index of the most probable class or label. A regression or survival model has none: see `numbers`."""
        return self.ranking[0]
