"""Labels beside predictions: classes that share a number, confusion, ROC, AUROC with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mil_heatmaps.insight.outcomes import class_of_label, confusion, metrics_table, roc_curves, sorted_by_probability


def _table(count: int = 40, classes: tuple[str, ...] = ("a", "b")) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, len(classes), count)
    logits = rng.normal(size=(count, len(classes))) + 1.2 * np.eye(len(classes))[truth]
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predicted = chances.argmax(1)
    return pd.DataFrame({
        "slide_id": [f"s{k}" for k in range(count)], "label": [classes[t] for t in truth],
        "class": [classes[t] for t in truth], "predicted": [classes[p] for p in predicted],
        "p": chances.max(1), "right": truth == predicted, **{f"p_{c}": chances[:, k] for k, c in enumerate(classes)},
        "error": "",
    })  # fmt: skip


def test_labels_that_share_a_number_are_one_class_and_each_is_a_label_of_it() -> None:
    labels, classes = {"benign": 0, "normal": 0, "tumour": 1}, ("benign/normal", "tumour")
    given = ("normal", "benign", "benign/normal", "tumour", "x", "")
    said = [class_of_label(label, classes, labels) for label in given]
    assert said == ["benign/normal"] * 3 + ["tumour", None, None]
    assert class_of_label("normal", classes) == "benign/normal"


def test_confusion_counts_by_label_and_prediction_in_the_models_order() -> None:
    table = _table()
    counts = confusion(table)
    assert list(counts.index) == list(counts.columns) == ["a", "b"]
    assert counts.to_numpy().sum() == 40
    assert counts.loc["a", "b"] == ((table["class"] == "a") & (table["predicted"] == "b")).sum()


def test_auroc_equals_scikit_learn_and_its_interval_says_how_it_was_made() -> None:
    table = _table()
    (curve,) = roc_curves(table)
    assert curve.name == "b"
    assert abs(curve.auroc.value - roc_auc_score(table["class"] == "b", table["p_b"])) < 1e-12
    assert curve.auroc.low < curve.auroc.value < curve.auroc.high
    told = metrics_table(table, [curve], None)
    assert told["measure"].tolist() == ["accuracy", "auroc"]
    assert set(told["interval"]) == {"95 % percentile bootstrap, 2000 draws of 40 slides"}


def test_a_class_without_a_slide_has_no_curve_and_the_rest_goes_on() -> None:
    table = _table(classes=("a", "b", "c"))
    table = table[table["class"] != "c"]
    assert [curve.name for curve in roc_curves(table)] == ["a", "b"]


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_a_sheet_is_sorted_by_probability(classes: tuple[str, ...]) -> None:
    table = sorted_by_probability(_table(classes=classes))
    if len(classes) == 2:
        assert table["p_b"].is_monotonic_decreasing
    else:
        assert table["predicted"].is_monotonic_increasing
        assert table[table["predicted"] == "b"]["p"].is_monotonic_decreasing
