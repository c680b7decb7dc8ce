"""A run's predictions compared with its labels: one row per slide, confusion, ROC curves, AUROC with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from mil_heatmaps.config.labels import class_names_by_number
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.insight.packages import needed
from mil_heatmaps.insight.runs import StudyRun
from mil_heatmaps.insight.statistics import Estimate, bootstrap
from mil_heatmaps.scores.quick_read import read_quickly
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Curve:
    """The ROC curve of one class against the others, and the area under it."""

    name: str
    false_positive: npt.NDArray[np.float64]
    true_positive: npt.NDArray[np.float64]
    auroc: Estimate


def class_of_label(label: str, classes: Sequence[str], label_dict: Mapping[str, int] | None = None) -> str | None:
    """Return the class that a label of the list stands for, None where it stands for none.

    Labels that share a number in `label_dict` are one class, named by all of them joined with ``/``. Each of these
    labels, and the joined name, stands for the class. Without `label_dict` the parts of the class names are the labels.
    """
    label = label.strip()
    if not label:
        return None
    if label_dict:
        if label in label_dict:
            number = label_dict[label]
            return classes[number] if 0 <= number < len(classes) else None
        names = class_names_by_number(label_dict)
        number = next((number for number, name in names.items() if name == label), -1)
        return classes[number] if 0 <= number < len(classes) else None
    for name in classes:
        if label == name or label in name.split("/"):
            return name
    return None


def outcome_table(run: StudyRun, label_dict: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Return one row per slide: label, its class, the predicted class, ``p_<class>``, and whether it is right.

    Slides without a prediction of classes have their reason in ``error``.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for slide in run.slides.values():
        row: dict[str, Any] = {"slide_id": slide.slide_id, "label": slide.label, "error": ""}
        try:
            prediction = read_quickly(slide.scores).prediction
            if prediction is None:
                row["error"] = "no prediction"
            elif prediction.task == "classification":
                chances = dict(zip(prediction.classes, map(float, prediction.probabilities), strict=True))
                meant = class_of_label(slide.label, prediction.classes, label_dict)
                predicted = prediction.classes[prediction.predicted]
                row |= {"class": meant, "predicted": predicted, "p": chances[predicted]}
                row |= {f"p_{name}": p for name, p in chances.items()}
                row["right"] = None if meant is None else predicted == meant
                if meant is None and slide.label:
                    row["error"] = f"label {slide.label!r} is none of the classes {', '.join(prediction.classes)}"
            else:
                row |= {"predicted": prediction.summary, "p": next(iter(prediction.numbers.values()))}
        except (HeatmapError, OSError) as error:
            row["error"] = reason_of(error)
        rows.append(row)
    first = ["slide_id", "label", "class", "predicted", "p", "right"]
    table = pd.DataFrame(rows)
    return table.reindex(columns=[*first, *(name for name in table.columns if name not in (*first, "error")), "error"])


def classes_of(table: pd.DataFrame) -> list[str]:
    """Return the classes of a table of outcomes, in the model's order."""
    return [str(name).removeprefix("p_") for name in table.columns if str(name).startswith("p_")]


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many slides of each class (rows) are predicted as each (columns), without slides that lack a class."""
    import pandas as pd

    classes, known = classes_of(table), table.dropna(subset=["class", "predicted"])
    counts = pd.crosstab(known["class"], known["predicted"]).reindex(index=classes, columns=classes, fill_value=0)
    counts.index.name, counts.columns.name = "class", None
    return counts


def roc_curves(table: pd.DataFrame, patients: Mapping[str, str] | None = None) -> list[Curve]:
    """Return the ROC curve of each class against the others; with two classes, of the second only.

    A class that no labelled slide has, or every one has, gets no curve.
    """
    metrics = needed("sklearn.metrics", "ROC curves")
    classes, known = classes_of(table), table.dropna(subset=["class", "p"])
    slides = known["slide_id"].tolist()
    groups = slides if patients is None else [patients.get(name, f"slide {name}") for name in slides]
    curves = []
    for name in classes[1:] if len(classes) == 2 else classes:
        truth = (known["class"] == name).to_numpy(bool)
        chances = known[f"p_{name}"].to_numpy(float)
        if not 0 < truth.sum() < len(truth):
            continue

        def area(chosen: npt.NDArray[np.intp], truth: Any = truth, chances: Any = chances) -> float:
            # By rank sum (Mann-Whitney): the same number as scikit-learn's, in a tenth of the time.
            some = truth[chosen]
            positive = int(some.sum())
            pairs = positive * (len(some) - positive)
            above = rankdata(chances[chosen])[some].sum() - positive * (positive + 1) / 2
            return float(above / pairs) if pairs else math.nan

        false_positive, true_positive, _ = metrics.roc_curve(truth, chances)
        auroc = bootstrap(area, groups, by_patient=patients is not None)
        curves.append(Curve(name, false_positive, true_positive, auroc))
    return curves


def metrics_table(table: pd.DataFrame, curves: Sequence[Curve], patients: Mapping[str, str] | None) -> pd.DataFrame:
    """Return accuracy and the AUROC of each curve, each with its interval, n and method."""
    import pandas as pd

    known = table.dropna(subset=["class", "predicted"])
    slides = known["slide_id"].tolist()
    groups = slides if patients is None else [patients.get(name, f"slide {name}") for name in slides]
    right = (known["class"] == known["predicted"]).to_numpy(float)
    accuracy = bootstrap(lambda chosen: float(right[chosen].mean()), groups, by_patient=patients is not None)
    rows = [("accuracy", "", accuracy), *(("auroc", curve.name, curve.auroc) for curve in curves)]
    return pd.DataFrame([
        {"measure": measure, "class": name, "value": e.value, "low": e.low, "high": e.high, "slides": e.slides,
         "patients": e.patients, "interval": e.method}
        for measure, name, e in rows if e.slides
    ], columns=["measure", "class", "value", "low", "high", "slides", "patients", "interval"])  # fmt: skip


def sorted_by_probability(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in sheet order: by probability of the second of two classes, else by class and its own."""
    classes = classes_of(table)
    if len(classes) == 2:
        return table.sort_values(f"p_{classes[1]}", ascending=False, na_position="last", kind="stable")
    order = {name: number for number, name in enumerate(classes)}
    ranked = table.assign(_class=table["predicted"].map(order))
    ranked = ranked.sort_values(["_class", "p"], ascending=[True, False], na_position="last", kind="stable")
    return ranked.drop(columns="_class")
