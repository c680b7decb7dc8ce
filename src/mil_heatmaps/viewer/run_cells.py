"""What the cells of a run's list say about a slide."""

import math
from collections.abc import Mapping, Sequence

from mil_heatmaps.cohort.process_list import ROI_KEYS
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.outcome_tables import NUMBER_PREFIX
from mil_heatmaps.slides.resolution import MPP_BELIEVED
from mil_heatmaps.words import number_words

Cells = dict[str, str]


def box_of(cells: Mapping[str, str]) -> tuple[float, ...] | None:
    """Return the box x1, y1, x2, y2 in a slide's row; None where one of them is missing."""
    corners = [number_of(cells.get(key, "")) for key in ROI_KEYS]
    return None if None in corners else tuple(value for value in corners if value is not None)


def prediction_of(cells: Mapping[str, str]) -> tuple[str, float | None, float | None]:
    """Return the prediction, its probability if it is a class, and otherwise the number to sort by.

    From CLAM's columns, from generate_heatmaps.py's, or from the numbers of a regression or survival model.
    """
    named = {name[len(NUMBER_PREFIX) :]: text for name, text in cells.items() if name.startswith(NUMBER_PREFIX)}
    values = {name: value for name, text in named.items() if (value := number_of(text)) is not None}
    if values:
        shown = {"risk": values["risk"]} if "risk" in values else values
        words = ", ".join(f"{name} {number_words(value)}" for name, value in shown.items())
        return words, None, next(iter(shown.values()))
    name = cells.get("Pred_0") or cells.get("prediction") or ""
    text = cells.get("p_0") or ""
    if not text and (several := cells.get("probabilities")):
        numbers = [number_of(part.rpartition(":")[2]) for part in several.strip("[]").replace(";", ",").split(",")]
        known = [number for number in numbers if number is not None]
        return name, max(known) if known else None, None
    return name, number_of(text), None


def number_of(text: str) -> float | None:
    """Return the number in a cell; None for text that is no number, or not finite."""
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def believed_mpp(text: str) -> float | None:
    """Return a resolution given by hand; None for a value that the run cannot have used."""
    mpp = number_of(text.replace(",", "."))
    return mpp if mpp is not None and MPP_BELIEVED[0] <= mpp <= MPP_BELIEVED[1] else None


def lists_of(runs: Sequence[FinishedRun]) -> tuple[list[str], dict[str, Cells]]:
    """Return the columns and rows of the first list found, rows by slide_id."""
    for run in runs:
        if not run.columns:
            continue
        rows: dict[str, Cells] = {}
        for row in run.rows:  # the second row of a slide only says that it is a duplicate; the first one counts
            rows.setdefault(row.slide_id, row.cells)
        shown = [column for column in run.columns if any(cells[column] for cells in rows.values())]
        return [column for column in shown if column != "slide_id"], rows
    return [], {}
