"""From features and a model to the slide's prediction and its patch scores, in one pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import TASKS, TASKS_WITH_CHANCES, Task
from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.outputs import output_names
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.explain.watch import Watch
from mil_heatmaps.models.base import Features, MILModel
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction


def infer(
    model: MILModel,
    features: Features,
    *,
    scores: str | Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    task: Task = "classification",
    settings: Mapping[str, Any] | None = None,
    targets: Callable[[Prediction, Sequence[str]], Any] = lambda *_: "all",
    watch: Watch | None = None,
) -> tuple[Prediction | None, dict[str, PatchScores]]:
    """Return the prediction for the slide, None without a classifier, and the scores of its patches.

    Parameters
    ----------
    features : PatchFeatures, array or tensor of shape (N, D)
    scores : names, optional
        From ``model.score_names()``; the model's default when left out.
    class_names : C names, optional
        Names of the outputs: classes, quantities or intervals. A classification model with one output takes two names:
        the negative class's and the positive class's.
    task : str
        What the outputs are: logits of classes that exclude each other, logits of labels that do not, values as they
        are, or hazards of successive intervals.
    settings : dict, optional
        Settings of the explanations among the scores, without the task.
    targets : (prediction, names of the outputs) -> what they explain
        See `MILModel.explain`; every output when left out.
    watch : Watch, optional
        Follows the progress of explanations.

    Raises
    ------
    FeatureError
        Features of the wrong width, or no features.
    ModelError
        An unknown score or task, or outputs that are not finite.
    """
    if task not in TASKS:
        raise ModelError(f"unknown task {task!r}; choose from {list(TASKS)}")
    names = column_names(model, class_names, task)
    wanted = [model.default_score] if scores is None else [scores] if isinstance(scores, str) else list(scores)
    model.check_scores(wanted)
    explanation = model.explain(features, [name for name in wanted if name not in EXPLANATIONS], names)
    found = explanation.scores
    if explanation.logits is None:
        return None, found
    own = explanation.probabilities
    prediction = predict(explanation.logits, _named(model, class_names, task), task, own)
    if names is None and task != "classification":  # the user's model does not say how many outputs it has
        unnamed = output_names(len(prediction.classes), "classification")
        found = {
            name: replace(score, names=prediction.classes) if score.names == unnamed else score
            for name, score in found.items()
        }
    if asked := [name for name in wanted if name in EXPLANATIONS]:
        outputs = prediction.classes[-len(explanation.logits) :] if names is None else names
        explained = model.explain(
            features, asked, outputs, targets=targets(prediction, outputs), settings={**(settings or {}), "task": task},
            watch=watch,
        )  # fmt: skip
        found = {**found, **explained.scores}
    return prediction, {name: found[name] for name in dict.fromkeys(wanted)}


def column_names(model: MILModel, names: Sequence[str] | None, task: Task) -> Sequence[str] | None:
    """Return the column names that `infer` gives to scores with one column per output; None for ``class 0`` etc."""
    names = _named(model, names, task)
    if names is None:
        return output_names(model.num_classes, task) if task != "classification" and model.num_classes else None
    # one logit stands for the second of two classes
    return list(names[-1:]) if task == "classification" and model.num_classes == 1 else names


def _named(model: MILModel, names: Sequence[str] | None, task: Task) -> Sequence[str] | None:
    """Return the names given, else those in the checkpoint's file."""
    return model.class_names if names is None and task in TASKS_WITH_CHANCES else names


def predict(
    logits: npt.NDArray[np.float32],
    class_names: Sequence[str] | None = None,
    task: Task = "classification",
    chances: npt.NDArray[np.float32] | None = None,
) -> Prediction:
    """Return the prediction that follows from a model's outputs (C,).

    `chances` (C,) come from a model whose classes have independent probabilities. For classification and multilabel
    they replace the probabilities that follow from the logits.

    - classification: probabilities are softmax(logits). A single logit z means (0, z), a negative and a
      positive class, with probabilities (1 - sigmoid(z), sigmoid(z)).
    - multilabel: the chance of each label by itself, sigmoid(logit); chances need not sum to 1.
    - regression: the outputs themselves.
    - survival: hazards h_t = sigmoid(logit_t), survival S_t = prod_{k<=t} (1 - h_k), risk = -sum_t S_t, the
      discrete-time model of Zadeh and Schmid (2020) that Patch-GCN and MCAT use. A single output is the risk
      itself, the log relative hazard of a model trained with Cox's partial likelihood. Without a baseline it gives
      no probability.
    """
    class_logits = logits
    if task == "classification" and len(logits) == 1:
        logits = np.array([0, logits[0]], np.float32)
        chances = None if chances is None else np.array([1 - chances[0], chances[0]], np.float32)
    names = _names(len(logits), class_names, task)
    if chances is not None and task in TASKS_WITH_CHANCES:
        alone = task == "classification" and len(class_logits) > 1
        return Prediction(names, chances.astype(np.float32), logits, task, independent=alone)
    wide = logits.astype(np.float64)
    if task == "classification":
        shifted = np.exp(wide - wide.max())
        values = shifted / shifted.sum()
    elif task == "multilabel":
        values = np.exp(-np.logaddexp(0, -wide))  # sigmoid(x), which does not overflow
    elif task == "regression" or len(logits) == 1:
        values = wide
    else:
        values = np.cumprod(np.exp(-np.logaddexp(0, wide)))  # 1 - sigmoid(x), which does not overflow
    return Prediction(names, values.astype(np.float32), logits, task)


def _names(count: int, class_names: Sequence[str] | None, task: Task) -> tuple[str, ...]:
    if class_names is None:
        return output_names(count, task)
    if len(class_names) != count:
        raise ModelError(f"{len(class_names)} names ({', '.join(map(str, class_names))}) for {count} outputs")
    return tuple(map(str, class_names))
