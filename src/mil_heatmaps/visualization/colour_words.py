"""What the middle of a diverging map is, and what its two colours mean, in words under the colour bar."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mil_heatmaps.choices import TASKS_WITH_CHANCES, Task
from mil_heatmaps.errors import ScoreError
from mil_heatmaps.explain.sentences import quantity, sign_sentence
from mil_heatmaps.scores.patch_scores import (
    EXPLANATION_KINDS,
    FOR_AND_AGAINST,
    PREDICTION_KINDS,
    SIGNED_KINDS,
    PatchScores,
    Prediction,
)
from mil_heatmaps.visualization.palette import colour_table
from mil_heatmaps.words import number_words

TRAINING_MEDIAN = "the training median"
COHORT_MEDIAN = "the cohort's median"

_FLOAT32 = 1e-6
"""Numbers this close count as equal: the difference is rounding to float32."""

_HUES = (
    (15, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (200, "cyan"), (255, "blue"), (295, "purple"),
    (345, "magenta"), (360, "red"),
)  # fmt: skip
"""Hues up to each number of degrees, and what people call them."""


@dataclass(frozen=True)
class Centre:
    """The score in the middle of a diverging map, and its name; zero and numbers from the user have no name."""

    value: float
    name: str = ""

    @property
    def words(self) -> str:
        """The middle as the colour bar names it."""
        return f"{self.name} ({number_words(self.value)})" if self.name else number_words(self.value)


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a drawn column are.

    Attributes
    ----------
    kind, score : str
    target : str
        The column's name: a class, an output, ``risk``.
    task : Task
    output : str
        The model output that was explained; empty for the model's own scores.
    """

    kind: str
    score: str
    target: str
    task: Task = "classification"
    output: str = ""

    def words(self, cmap: str, centre: Centre | None) -> str:
        """Return what the two colours of a map mean around its middle; empty if there is nothing to say."""
        return self.said(*end_colours(cmap), centre)

    def said(self, down: str, up: str, centre: Centre | None) -> str:
        """Return `words` with `down` and `up` as the names of the two colours."""
        if centre is None or self.kind not in FOR_AND_AGAINST:
            return ""
        if self.kind in PREDICTION_KINDS and (centre.value or self.output not in ("", "log_odds", "logit")):
            return self._beside(up, down, centre)
        if centre.value:
            return f"{up}: above {centre.words}, {down}: below it"
        if self.kind in EXPLANATION_KINDS:
            return sign_sentence(self.score, self.target, self.task, self.output, up, down)
        if self.kind == "attention_gate":
            return f"{up}: weight above zero, {down}: below it"
        what = self._own_quantity
        if self.kind == "instance_logit":
            return f"{up}: the patch alone speaks for {what}, {down}: against it"
        return f"{up} raises {what}, {down} lowers it"

    @property
    def _own_quantity(self) -> str:
        """The quantity that one of the model's own signed scores speaks for or against."""
        if self.task in TASKS_WITH_CHANCES:
            return f"the logit of {self.target}" if self.kind == "class_contribution" else self.target
        return self.target if self.task == "regression" else f"the log-odds of the event in {self.target}"

    def _beside(self, up: str, down: str, centre: Centre) -> str:
        """Return the words of a map of predictions: what high and low are compared with."""
        risk = self.output == "risk"
        above, below = (": high risk", ": low risk") if risk else ("", "")
        named = centre.name or number_words(centre.value)
        what = "" if risk else f"{quantity(self.target, self.task, self.output)} "
        return f"{up}: {what}above {named}{above}; {down}: below{below}"


def end_colours(cmap: str) -> tuple[str, str]:
    """Return what people call the colours at the low and the high end of a colormap."""
    table = colour_table(cmap)
    # Not quite at the ends: the ends of some maps are so dark that their hue is not visible.
    inside = len(table) // 20
    low, high = (_colour_name([int(channel) for channel in table[i]]) for i in (inside, len(table) - 1 - inside))
    return (low, high) if low != high else ("the colours below", "the colours above")


def _colour_name(rgb: Sequence[int]) -> str:
    hue, light, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in rgb))
    if light < 0.1 or light > 0.9 or saturation < 0.15:
        return "black" if light < 0.3 else "white" if light > 0.7 else "grey"
    name = next(name for upto, name in _HUES if hue * 360 <= upto)
    if name == "cyan" and light < 0.5:
        return "teal"
    return "brown" if name == "orange" and light < 0.4 else name


def centre_of(
    scores: PatchScores,
    column: str,
    asked: str | float,
    prediction: Prediction | None,
    cohort_median: float | None = None,
) -> Centre | None:
    """Return the middle of a column's diverging map; None for kinds of score without a middle.

    Parameters
    ----------
    scores : PatchScores
        Scores of the bag.
    asked : "auto", "cohort_median" or a number
        ``auto`` is zero for differences and for scores whose sign has a meaning. For predictions it is the median over
        the training set if the checkpoint holds it, else the slide's own prediction.
    prediction : Prediction, optional
        Holds the median over the training set.
    cohort_median : float, optional
        Cohort median of this column.

    Raises
    ------
    ScoreError
        A middle was requested, but this kind of score has none.
    """
    if scores.kind not in SIGNED_KINDS:
        if asked == "auto":
            return None
        raise ScoreError(
            f"heatmap_arguments.center: {scores.score} has no sign ({scores.kind}), so its map has no middle; choose "
            "auto, or draw a score that speaks for and against"
        )
    if asked == "cohort_median":
        return None if cohort_median is None else Centre(cohort_median, COHORT_MEDIAN)
    if asked != "auto":
        return Centre(float(asked))
    explained = scores.explained
    if scores.kind not in PREDICTION_KINDS or explained is None or explained.output in ("log_odds", "logit"):
        return Centre(0.0)
    if prediction is not None and prediction.train_median is not None and explained.output in ("value", "risk"):
        return Centre(prediction.train_median, TRAINING_MEDIAN)
    own = explained.full[scores.names.index(column) if column in scores.names else 0]
    return Centre(own, f"the slide's own {'risk' if explained.output == 'risk' else explained.output}")


def group_of(
    scores: PatchScores,
    column: str,
    asked: str | float,
    prediction: Prediction | None,
    cohort_median: float | None = None,
) -> tuple[str, str] | None:
    """Return whether the slide's risk or value is high or low, and compared with what: ("high risk", "above ...").

    A map of risks or values compares with its middle, unless that is the slide's own prediction. Any other map compares
    with the median over the training set. Without either, the result is None.
    """
    level = None if prediction is None else prediction.level
    if prediction is None or level is None:
        return None
    explained = scores.explained
    centre = None if prediction.train_median is None else Centre(prediction.train_median, TRAINING_MEDIAN)
    if asked != "auto" and explained is not None and scores.kind in PREDICTION_KINDS:
        drawn = centre_of(scores, column, asked, prediction, cohort_median)
        centre = drawn if explained.output in ("value", "risk") else centre
    if centre is None:
        return None
    noun = " risk" if prediction.task == "survival" else ""
    if math.isclose(level, centre.value, rel_tol=_FLOAT32):
        return f"median{noun}", f"at {centre.words}"
    return f"{'high' if level > centre.value else 'low'}{noun}", (
        f"{'above' if level > centre.value else 'below'} {centre.words}"
    )


def meaning_of(scores: PatchScores, column: str, prediction: Prediction | None) -> Meaning:
    """Return the `Meaning` of a column's scores."""
    explained = scores.explained
    if explained is not None:
        return Meaning(scores.kind, scores.score, column, explained.task, explained.output)
    task: Task = "classification" if prediction is None else prediction.task
    return Meaning(scores.kind, scores.score, column, task)
