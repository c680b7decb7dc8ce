"""Which columns are drawn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.select import column_of_target, of_head, select_columns

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
PREDICTION = Prediction(("A", "B", "C"), np.array([0.1, 0.2, 0.7], np.float32), np.log([0.1, 0.2, 0.7]))
CLASSES = PatchScores(None, VALUES[:, :3], ("A", "B", "C"), "class_contribution", "contribution")
SINGLE = PatchScores(None, VALUES[:, :1], ("attention",), "attention_logit")
HEADS = PatchScores(None, VALUES, ("head 0", "head 1", "head 2", "head 3"), "attention_softmax", "heads")
BOTH = PatchScores(None, VALUES, ("A head 0", "A head 1", "B head 0", "B head 1"), "attention_logit", "both")


def chosen(scores: PatchScores, **options: Any) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in select_columns(scores, **options)}


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"prediction": PREDICTION}, ["C"]),
        ({"prediction": PREDICTION, "label": "B", "classes": "label"}, ["B"]),
        ({"prediction": PREDICTION, "classes": "all"}, ["A", "B", "C"]),
        ({"prediction": PREDICTION, "classes": "A"}, ["A"]),
        ({"prediction": PREDICTION, "classes": ["B", "A", "B"]}, ["B", "A"]),
        ({"prediction": PREDICTION, "classes": ["predicted", "label"], "label": "A"}, ["C", "A"]),
        ({"prediction": PREDICTION, "classes": "2"}, ["C"]),
        ({"prediction": PREDICTION, "classes": [0, 1]}, ["A", "B"]),
        ({}, ["A", "B", "C"]),
    ],
)
def test_classes_are_chosen_by_what_they_are(options: dict[str, Any], columns: list[str]) -> None:
    got = chosen(CLASSES, **options)
    assert list(got) == columns
    for name, values in got.items():
        assert values == CLASSES.values[:, "ABC".index(name)].tolist()


@pytest.mark.parametrize("classes", ["predicted", "label", "all", ["predicted"], "attention"])
def test_one_column_serves_every_class(classes: Any) -> None:
    assert list(chosen(SINGLE, prediction=PREDICTION, classes=classes)) == ["attention"]


def test_one_column_is_not_passed_off_as_one_class() -> None:
    with pytest.raises(ScoreError, match="the same for every class, so there is none for 'B' alone"):
        select_columns(SINGLE, PREDICTION, classes="B")


def test_columns_named_otherwise_follow_the_models_order() -> None:
    scores = PatchScores(None, VALUES[:, :3], ("class 0", "class 1", "class 2"), "instance_logit", "instance")
    assert list(chosen(scores, prediction=PREDICTION)) == ["class 2"]


def test_heads_are_averaged_unless_asked_for() -> None:
    assert chosen(HEADS, prediction=PREDICTION) == {"mean of 4 heads": [1.5, 5.5, 9.5]}
    assert chosen(HEADS, head=2) == {"head 2": [2, 6, 10]}
    assert list(chosen(HEADS, head="all")) == list(HEADS.names)


def test_heads_of_classes_are_chosen_by_both() -> None:
    prediction = Prediction(("A", "B"), np.array([0.1, 0.9], np.float32), np.log([0.1, 0.9]))
    assert chosen(BOTH, prediction=prediction) == {"B mean of 2 heads": [2.5, 6.5, 10.5]}
    assert list(chosen(BOTH, prediction=prediction, classes="all", head=1)) == ["A head 1", "B head 1"]


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (
            CLASSES,
            {"classes": "D"},
            r"has no class 'D'; choose from \['A', 'B', 'C', 'predicted', 'label', 'all'\]",
        ),
        (CLASSES, {"classes": "3"}, "has no class '3'"),
        (CLASSES, {"classes": "label"}, "this slide has no label"),
        (CLASSES, {"classes": "label", "label": "Unspecified"}, "has no class 'Unspecified'"),
        (CLASSES, {"classes": []}, "empty list"),
        (CLASSES, {"head": 7}, r"has no heads, so there is no head 7"),
        (HEADS, {"head": 4}, r"has no head 4; choose from \['mean', 'all', 0, 1, 2, 3\]"),
        (HEADS, {"classes": "A"}, "the same for every class"),
    ],
)
def test_what_there_is_not_lists_what_there_is(
    scores: PatchScores, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        select_columns(scores, PREDICTION, **options)


def of_task(task: Any) -> Prediction:
    return Prediction(("A", "B", "C"), PREDICTION.probabilities, PREDICTION.logits, task)


def test_no_output_of_a_model_without_classes_is_the_predicted_one() -> None:
    assert chosen(CLASSES, prediction=of_task("survival")) == {"mean of 3 intervals": [1, 5, 9]}
    assert list(chosen(CLASSES, prediction=of_task("regression"))) == ["A", "B", "C"]
    assert list(chosen(CLASSES, prediction=of_task("survival"), classes=["B", "0"])) == ["B", "A"]
    assert list(chosen(SINGLE, prediction=of_task("survival"), classes="label")) == ["attention"]
    with pytest.raises(ScoreError, match="label chooses a class, but it is a survival model, which has none"):
        select_columns(CLASSES, of_task("survival"), label="A", classes="label")


def test_heads_of_intervals_are_averaged_head_by_head() -> None:
    prediction = Prediction(("A", "B"), np.array([0.9, 0.5], np.float32), np.zeros(2, np.float32), "survival")
    assert chosen(BOTH, prediction=prediction) == {"mean of 2 intervals mean of 2 heads": [1.5, 5.5, 9.5]}
    assert chosen(BOTH, prediction=prediction, head="all") == {
        "mean of 2 intervals head 0": [1, 5, 9],
        "mean of 2 intervals head 1": [2, 6, 10],
    }


def scores_of(names: tuple[str, ...], kind: Any = "attention_logit") -> PatchScores:
    values = np.arange(3 * len(names), dtype=np.float32).reshape(3, -1)
    return PatchScores(None, values, names, kind, "s")


def test_the_column_of_a_target_is_its_own_by_name_then_by_order_else_the_mean() -> None:
    targets = ("a", "b")
    assert column_of_target(scores_of(("s",)), targets, 1).tolist() == [0, 1, 2]
    assert column_of_target(scores_of(("b", "a")), targets, 1).tolist() == [0, 2, 4]
    assert column_of_target(scores_of(("x", "y")), targets, 1).tolist() == [1, 3, 5]
    assert column_of_target(scores_of(("head 0", "head 1")), targets, 1).tolist() == [0.5, 2.5, 4.5]
    heads = scores_of(("a head 0", "a head 1", "b head 0", "b head 1"))
    assert column_of_target(heads, targets, 1).tolist() == [2.5, 6.5, 10.5]
    assert column_of_target(of_head(heads, 1), targets, 1).tolist() == [3, 7, 11]
    assert of_head(heads, "mean") is heads


def test_an_explanation_of_one_class_is_not_taken_for_that_of_another() -> None:
    with pytest.raises(ScoreError, match="leave_one_out was made for a, not for b"):
        column_of_target(replace(scores_of(("a",), "leave_one_out"), score="leave_one_out"), ("a", "b"), 1)
