"""The choice of the columns of a score to draw, by class and head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from mil_heatmaps.choices import CONCEPT_SCORES
from mil_heatmaps.errors import ScoreError
from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.patch_scores import EXPLANATION_KINDS, PatchScores, Prediction
from mil_heatmaps.words import whole_number

if TYPE_CHECKING:
    import numpy.typing as npt

_MEAN = "\0mean"
"""Stands for the mean over all groups; no column can have this name."""

_HEAD = re.compile(r"(?:(?P<group>.+) )?head (?P<head>\d{1,9})")


class Column(NamedTuple):
    """One score per patch, (N,) float32, and its displayed name."""

    name: str
    scores: npt.NDArray[np.float32]


def select_columns(
    scores: PatchScores,
    prediction: Prediction | None = None,
    label: str | None = None,
    classes: str | int | Sequence[str | int] = "predicted",
    head: str | int = "mean",
) -> list[Column]:
    """Return the columns to draw, in the requested order and each once.

    Parameters
    ----------
    scores : PatchScores
        A score with one column serves every class: any general choice of `classes` returns it.
    prediction : Prediction, optional
        Decides which class ``predicted`` is. Without one (scores from elsewhere), ``predicted`` means all
        columns.
    label : str, optional
        The slide's own class, for ``label``.
    classes : ``predicted``, ``label``, ``all``, a class (name or number), or a list of classes
        For a multilabel model, ``predicted`` means every label with a probability of at least 0.5, else the highest;
        for a regression every output; for a survival model the mean over the intervals.
    head : ``mean``, ``all``, or a number from 0
        For scores with one column per head, named ``head 0`` or ``<class> head 0``.

    Raises
    ------
    ScoreError
        There is no such class or head; the message lists those there are.
    """
    groups = _groups(scores.names)
    chosen: dict[str, Column] = {}
    for group in _chosen_groups(scores, list(groups), prediction, label, classes):
        found = _mean(scores, groups, head) if group == _MEAN else _heads(scores, group, groups[group], head)
        for column in found:
            chosen.setdefault(column.name, column)
    return list(chosen.values())


def column_of_target(scores: PatchScores, targets: Sequence[str], index: int) -> npt.NDArray[np.float32]:
    """Return the column (N,) of one of the model's targets; the mean if it has several heads.

    A score with one column serves every target; a score whose columns are not targets gives the mean of all columns.

    Raises
    ------
    ScoreError
        The explanation was computed for other targets.
    """
    groups = _groups(scores.names)
    if scores.kind in EXPLANATION_KINDS and targets[index] not in groups and len(groups) != len(targets):
        raise ScoreError(f"{scores.score} was made for {', '.join(groups)}, not for {targets[index]}")
    columns = [column for group in groups.values() for column, _ in group]
    if targets[index] in groups:
        columns = [column for column, _ in groups[targets[index]]]
    elif len(groups) == len(targets):  # other names; the order is the model's
        columns = [column for column, _ in list(groups.values())[index]]
    if len(columns) == 1:
        return scores.values[:, columns[0]]
    return np.asarray(scores.values[:, columns].mean(axis=1))


def of_head(scores: PatchScores, head: str | int) -> PatchScores:
    """Return the columns of one head, by its number; all columns for ``mean`` and ``all``, or without heads."""
    heads = [(column, match) for column, name in enumerate(scores.names) if (match := _HEAD.fullmatch(name))]
    chosen = [column for column, match in heads if match["head"] == str(head)]
    if not chosen:
        return scores
    return replace(scores, values=scores.values[:, chosen], names=tuple(scores.names[column] for column in chosen))


def wanted_targets(
    prediction: Prediction, outputs: Sequence[str], label: str | None, classes: str | int | Sequence[str | int]
) -> list[str] | Literal["all"]:
    """Return the outputs that `select_columns` would draw of an explanation, by name, or ``all``.

    Parameters
    ----------
    outputs : C str
        Names of the model's outputs; a classification by one logit has one output and two classes.
    """
    found: list[str] = []
    for want in [classes] if isinstance(classes, str | int) else classes:
        text = str(want)
        if text in outputs:
            found.append(text)
        elif text == "label" and label in outputs:
            found.append(str(label))
        elif text in ("all", "label") or len(outputs) == 1:
            return "all"
        elif text != "predicted":
            number = whole_number(text)
            found.append(text if number is None or number >= len(outputs) else outputs[number])
        elif prediction.task == "multilabel":
            found += [prediction.classes[i] for i in prediction.likely]
        elif prediction.task == "classification":
            found.append(prediction.classes[prediction.predicted])
        else:
            return "all"
    return list(dict.fromkeys(found))


def _groups(names: tuple[str, ...]) -> dict[str, list[tuple[int, int | None]]]:
    """Return the columns of each class as (column, head); the empty name stands for heads without classes."""
    groups: dict[str, list[tuple[int, int | None]]] = {}
    for column, name in enumerate(names):
        match = _HEAD.fullmatch(name)
        if match:
            groups.setdefault(match["group"] or "", []).append((column, int(match["head"])))
        else:
            groups.setdefault(name, []).append((column, None))
    return groups


def _chosen_groups(
    scores: PatchScores,
    groups: list[str],
    prediction: Prediction | None,
    label: str | None,
    classes: str | int | Sequence[str | int],
) -> list[str]:
    wanted = [classes] if isinstance(classes, str | int) else list(classes)
    if not wanted:
        raise ScoreError("classes is an empty list: name a class, or say predicted, label or all")
    found: list[str] = []
    for want in wanted:
        one = len(groups) == 1 or scores.score in CONCEPT_SCORES  # their columns are not outputs
        serves_all = want in ("predicted", "label") and one
        if scores.kind == "consensus" and want in ("predicted", "label"):  # its columns are not classes
            found.append(groups[0])
        elif want == "all" or serves_all or (want == "predicted" and prediction is None):
            found += groups
        elif want == "predicted" and prediction is not None and prediction.task == "multilabel":
            found += [_group(scores, groups, prediction.classes[i], prediction) for i in prediction.likely]
        elif want == "predicted" and prediction is not None and prediction.task != "classification":
            found += [_MEAN] if prediction.task == "survival" else groups
        elif want == "predicted" and prediction is not None:
            found.append(_group(scores, groups, prediction.classes[prediction.predicted], prediction))
        elif want == "label":
            if prediction is not None and prediction.task != "classification":
                raise ScoreError(
                    f"classes: label chooses a class, but it is a {prediction.task} model, which has none; "
                    f"choose from {[*groups, 'predicted', 'all']}"
                )
            if label is None:
                raise ScoreError(f"classes: label, but this slide has no label; {_choices(groups)}")
            found.append(_group(scores, groups, label, prediction))
        else:
            found.append(_group(scores, groups, want, prediction))
    return found


def _group(scores: PatchScores, groups: list[str], want: str | int, prediction: Prediction | None) -> str:
    """Return the class of that name, or else of that number."""
    text = str(want)
    if text in groups:
        return text
    classes = () if prediction is None else prediction.classes
    # The column names of a score may differ from the class names of the prediction; the order is the model's.
    if text in classes and len(groups) == len(classes):
        return groups[classes.index(text)]
    number = whole_number(text)
    if number is not None and number < len(classes) and classes[number] in groups:  # only some of the classes
        return classes[number]
    if number is not None and number < len(groups) and groups != [""]:
        return groups[number]
    if len(groups) == 1 and (text in classes or groups == [""]):
        raise ScoreError(
            f"score {scores.score!r} is the same for every class, so there is none for {text!r} alone;"
            " choose predicted, or another score"
        )
    raise ScoreError(f"score {scores.score!r} has no class {text!r}; {_choices(groups)}")


def _choices(groups: list[str]) -> str:
    named = [group for group in groups if group]
    return f"choose from {[*named, 'predicted', 'label', 'all']}"


def _mean(scores: PatchScores, groups: dict[str, list[tuple[int, int | None]]], head: str | int) -> list[Column]:
    """Return the mean over the groups, for each chosen head."""
    each = [_heads(scores, group, columns, head) for group, columns in groups.items()]
    means = []
    for parts in zip(*each, strict=True):
        of_head = parts[0].name.removeprefix(next(iter(groups)))
        mean = np.stack([part.scores for part in parts]).mean(axis=0, dtype=np.float32)
        means.append(Column(f"mean of {len(each)} intervals{of_head}", mean))
    return means


def _heads(
    scores: PatchScores, group: str, columns: list[tuple[int, int | None]], head: str | int
) -> list[Column]:
    heads = [(column, number) for column, number in columns if number is not None]
    if not heads:
        if head not in ("mean", "all"):
            raise ScoreError(f"score {scores.score!r} has no heads, so there is no head {head!r}: leave head out")
        return [Column(group, scores.values[:, column]) for column, _ in columns]
    if head == "all":
        return [Column(scores.names[column], scores.values[:, column]) for column, _ in heads]
    if head == "mean":
        mean = scores.values[:, [column for column, _ in heads]].mean(axis=1, dtype=np.float32)
        name = f"mean of {len(heads)} heads" if len(heads) > 1 else f"head {heads[0][1]}"
        return [Column(f"{group} {name}".strip(), mean)]
    for column, number in heads:
        if str(head) == str(number):
            return [Column(scores.names[column], scores.values[:, column])]
    numbers = [number for _, number in heads]
    raise ScoreError(f"score {scores.score!r} has no head {head!r}; choose from {['mean', 'all', *numbers]}")


def most_relevant_first(values: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return the patches with a score, largest first, ties in file order; patches with NaN are left out."""
    scored = np.flatnonzero(~np.isnan(values))
    return scored[np.argsort(-values[scored], kind="stable")]
