"""Which outputs an explanation is made of follows from the classes that are drawn."""

from typing import Any

import numpy as np
import pytest

from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.select import select_columns, wanted_targets

NAMES = ("a", "b", "c")


def prediction(task: Any = "classification") -> Prediction:
    logits = np.array([0.2, 2.0, -1.0], np.float32)
    chances = np.array([0.55, 0.88, 0.27], np.float32)
    return Prediction(NAMES, chances, logits, task)


@pytest.mark.parametrize(
    ("task", "classes", "targets"),
    [
        ("classification", "predicted", ["b"]), ("classification", "label", ["c"]), ("classification", "all", "all"),
        ("classification", ["c", "predicted", "0"], ["c", "b", "a"]), ("classification", 2, ["c"]),
        ("multilabel", "predicted", ["b", "a"]), ("regression", "predicted", "all"), ("survival", "predicted", "all"),
        ("classification", "unknown", ["unknown"]),
    ],
)  # fmt: skip
def test_targets(task: str, classes: Any, targets: Any) -> None:
    assert wanted_targets(prediction(task), NAMES, "c", classes) == targets


def test_two_classes_told_apart_by_one_output_have_that_target() -> None:
    two = Prediction(("no", "yes"), np.array([0.7, 0.3], np.float32), np.array([0, -0.8], np.float32))
    assert wanted_targets(two, ["yes"], None, "predicted") == "all"


@pytest.mark.parametrize("classes", ["2", "c", ["c"]])
def test_a_class_is_found_among_some_of_the_classes(classes: Any) -> None:
    some = PatchScores(None, np.arange(4, dtype=np.float32).reshape(2, 2), ("a", "c"), "single", "single")
    (column,) = select_columns(some, prediction(), classes=classes)
    assert column.name == "c"
    assert column.scores.tolist() == [1, 3]
