"""The outcome of each slide in the two tables of a run: CLAM's results and the run's own process list."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mil_heatmaps.choices import CASE_COLUMNS, STATUSES
from mil_heatmaps.config.tissue_parameters import BLANKS
from mil_heatmaps.files.csv_tables import csv_text
from mil_heatmaps.notices import joined
from mil_heatmaps.records.float32_text import float32_text, numpy_text
from mil_heatmaps.records.rows import ProcessList, ProcessRow
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.words import one_line

STATUS_COLUMNS = ("status", "failed_stage", "error", "seconds", "bag_size")
NOTICE_COLUMNS = ("uncoloured", "unreadable", "notes")
"""Patches without colour and tiles that cannot be read, blank before they are counted; the words of all notices."""

CASE_COLUMN = CASE_COLUMNS[0]

_CONCENTRATION = (
    "effective_patches", "top_tenth_share", "weight_ratio", "attention_gini", "attention_entropy",
    "attention_top_1_percent", "attention_top_5_percent", "attention_clusters",
)  # fmt: skip
EFFECT, PATCHES = "effect_of_", "patches_of_"
"""Prefixes of columns for the inputs of a model that takes several: what an input adds to the explained output, and how
many patches a bag other than the first has."""
_MEASURE = re.compile(
    rf"^({'|'.join(_CONCENTRATION)}|({EFFECT}|{PATCHES}).+|qc_\w+_(tissue|attention|top|p_without))$"
)
"""Columns of measures: of the drawn scores, of a model's inputs, and of artefacts on the slide. They come last in a
run's lists."""
FAITHFULNESS_COLUMNS = ("faithfulness", "faithfulness_srg", "faithfulness_sentence")
"""Verdict, SRG and sentence of the drawn map; present if anything was measured. CLAM's table never has them."""

# The order in which CLAM adds the columns its table lacks.
_ADDED = (
    "process", "status", "seg_level", "sthresh", "mthresh", "close", "use_otsu", "keep_ids", "exclude_ids",
    "a_t", "a_h", "max_n_holes", "vis_level", "line_thickness", "use_padding", "contour_fn",
)  # fmt: skip
_INTEGER = re.compile(r"^[+-]?\d+$")
NUMBER_PREFIX = "predicted_"
"""Prefix of every number that a regression or survival model gives: ``predicted_risk``, ``predicted_Ki-67``."""

GROUP_COLUMN = f"{NUMBER_PREFIX}group"
"""Whether a risk or value is high or low."""

_OURS = re.compile(r"^(status|failed_stage|error|seconds|bag_size|Pred_\d+|p_\d+)$")
_BOOLS = {"true": "True", "false": "False"}


@dataclass(frozen=True)
class SlideOutcome:
    """The outcome of one slide.

    Attributes
    ----------
    status : str
        ``tbp``, ``running``, ``processed``, ``failed`` or ``skipped``.
    failed_stage, error : str
        Where and why, when it failed; one line.
    seconds : float or None
    bag_size : int or None
        Patches of the bag.
    classes, probabilities : tuples of equal length
        Names and probabilities in descending order of probability, of a classification.
    uncoloured, unreadable : int or None
        Patches whose score is not visible, and tiles of the slide that cannot be read; None before they are counted.
    notes : str
        The words of the slide's notices.
    measures : (column, value) pairs
        How concentrated the drawn scores are, and how much of them lies on artefacts; never in CLAM's table.
    faithfulness : three texts, or none
        The cells of `FAITHFULNESS_COLUMNS`.
    numbers : (column, value) pairs
        Outputs of a regression or survival model, by column of the lists.
    group : str
        Whether its risk or value is high or low; empty where there is nothing to compare it with.
    """

    status: str = "tbp"
    failed_stage: str = ""
    error: str = ""
    seconds: float | None = None
    bag_size: int | None = None
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    group: str = ""
    uncoloured: int | None = None
    unreadable: int | None = None
    notes: str = ""
    measures: tuple[tuple[str, float], ...] = ()
    faithfulness: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"unknown status {self.status!r}; choose from {', '.join(STATUSES)}")
        if len(self.classes) != len(self.probabilities):
            raise ValueError(f"{len(self.classes)} classes but {len(self.probabilities)} probabilities")


def outcome_of(record: SlideRecord) -> SlideOutcome:
    """Return a slide's outcome from its record, as the tables show it."""
    measures = record.summary.get("measures", {})
    return SlideOutcome(
        status=record.status if record.status in STATUSES else "tbp",
        failed_stage=record.failed_stage or "",
        error=record.error or "",
        seconds=record.seconds if record.stages else None,
        bag_size=record.summary.get("bag_size"),
        uncoloured=record.summary.get("uncoloured"),
        unreadable=record.summary.get("unreadable"),
        notes=joined(record.notices()),
        measures=tuple((name, float(measures[name])) for name in in_order(measures)),
        faithfulness=_faithfulness(record),
        **predicted(record.summary),
    )


def is_measure(column: str) -> bool:
    """Whether a column of a run's list holds a measure."""
    return _MEASURE.match(column) is not None


def measure_columns(outcomes: Iterable[SlideOutcome]) -> list[str]:
    """Return the columns of all measures."""
    return in_order(name for outcome in outcomes for name, _ in outcome.measures)


def in_order(measures: Iterable[str]) -> list[str]:
    """Return columns of measures, each once: concentration first, then artefacts by name. A record keeps no order."""
    return sorted(set(measures), key=lambda n: (_CONCENTRATION.index(n) if n in _CONCENTRATION else 99, n))


def measure_cells(outcome: SlideOutcome, columns: Sequence[str]) -> list[str]:
    """Return one text per column, blank where nothing was measured."""
    known = dict(outcome.measures)
    return [f"{known[name]:.6g}" if name in known else "" for name in columns]


def _faithfulness(record: SlideRecord) -> tuple[str, ...]:
    """Return the faithfulness of the drawn map, empty if the run does not measure it."""
    found = record.summary.get("faithfulness")
    if "faithfulness" not in record.stages or not found:
        return ()
    srg = found.get("srg")
    return str(found.get("verdict", "")), "" if srg is None else f"{srg:.6g}", one_line(found.get("sentence", ""))


def faithfulness_columns(outcomes: Iterable[SlideOutcome]) -> tuple[str, ...]:
    """Return `FAITHFULNESS_COLUMNS` where any slide has them."""
    return FAITHFULNESS_COLUMNS if any(outcome.faithfulness for outcome in outcomes) else ()


def predicted(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `SlideOutcome` for the prediction in a record's summary."""
    prediction = summary.get("prediction") or {}
    if prediction.get("task", "classification") != "classification":
        numbers = prediction.get("numbers") or ()
        told = tuple((NUMBER_PREFIX + name, float(value)) for name, value in numbers)
        return {"numbers": told, "group": str(summary.get("group", ""))}
    return {
        "classes": tuple(prediction.get("classes", ())),
        "probabilities": tuple(prediction.get("values", ())),
    }


def input_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns of a list that no run wrote; ``predicted_...`` counts as a run's only beside bag_size."""
    from_run = "bag_size" in columns
    ours: tuple[str, ...] = NOTICE_COLUMNS if set(NOTICE_COLUMNS) <= set(columns) else ()
    if from_run and set(FAITHFULNESS_COLUMNS) <= set(columns):
        ours += FAITHFULNESS_COLUMNS

    def told_by_run(name: str) -> bool:
        return from_run and (name.startswith(NUMBER_PREFIX) or is_measure(name))

    return [name for name in columns if not (_OURS.match(name) or name in ours or told_by_run(name))]


def process_list_text(
    rows: ProcessList, outcomes: Mapping[str, SlideOutcome]) -> str:
    """Return the run's own process list: the input columns as they were, then the outcome of each slide.

    Parameters
    ----------
    rows : ProcessList
    outcomes : mapping from slide_id to outcome
        A slide without one is ``tbp``; a row with a problem is ``failed`` whatever the mapping says.
    """
    predictions, faithful = Predictions(outcomes.values()), faithfulness_columns(outcomes.values())
    measures = measure_columns(outcomes.values())
    # A list that a run wrote can be run again: the columns of that run give way to this run's.
    columns = input_columns(rows.columns)
    of_case = [CASE_COLUMN] if CASE_COLUMN not in columns and any(row.case_id for row in rows) else []
    lines = []
    for row in rows:
        outcome = outcome_of_row(row, outcomes)
        seconds = "" if outcome.seconds is None else f"{outcome.seconds:.3f}"
        bag = "" if outcome.bag_size is None else str(outcome.bag_size)
        error = one_line(outcome.error)
        cells = [row.case_id if name == CASE_COLUMN and row.case_id else row.cells.get(name, "")
                 for name in (*columns, *of_case)]  # fmt: skip
        told = [*cells, outcome.status, outcome.failed_stage, error, seconds, bag, *notice_cells(row, outcome)]
        of_map = (outcome.faithfulness or ("",) * len(faithful))[: len(faithful)]
        lines.append([*told, *predictions.cells(outcome), *of_map, *measure_cells(outcome, measures)])
    added = (*STATUS_COLUMNS, *NOTICE_COLUMNS, *predictions.columns, *faithful, *measures)
    return csv_text([*columns, *of_case, *added], lines)


def results_csv_text(
    rows: ProcessList, outcomes: Mapping[str, SlideOutcome]) -> str:
    """Return CLAM's table of results: the input columns, every parameter, bag_size, the ranked predictions.

    For regression and survival, which CLAM does not know, the numbers replace the predictions.

    Numbers are written as CLAM writes them: a column with a blank cell becomes a column of floats (``1.0``), and blanks
    take the slide's own parameter.
    """
    predictions = Predictions(outcomes.values())
    own = set(input_columns(rows.columns))
    kept = [name for name in rows.columns if name == "status" or name in own]
    columns = [*kept, *(name for name in _ADDED if name not in kept)]
    kinds = {name: _kind(rows.column_texts.get(name, ())) for name in columns}
    lines = []
    as_written = [kinds[name] not in ("bool", "float") for name in kept]
    blanks: dict[int, list[str]] = {}  # most rows share their parameters, which are formatted only once
    for row in rows:
        blank = blanks.get(id(row.params))
        if blank is None:
            blank = blanks[id(row.params)] = [_blank(row, name, kinds[name]) for name in columns]
        cells = [
            default if text in BLANKS else text if plain else _spelt(text, kinds[name])
            for name, plain, default in zip(kept, as_written, blank, strict=False)
            for text in (row.cells.get(name, ""),)
        ]
        outcome = outcome_of_row(row, outcomes)
        bag = "" if outcome.bag_size is None else str(float(outcome.bag_size))
        lines.append([*cells, *blank[len(kept) :], bag, *predictions.cells(outcome)])
    return csv_text([*columns, "bag_size", *predictions.columns], lines)


def notice_cells(row: ProcessRow, outcome: SlideOutcome) -> list[str]:
    """Return the cells of `NOTICE_COLUMNS`."""
    counts = ["" if count is None else str(count) for count in (outcome.uncoloured, outcome.unreadable)]
    return [*counts, "; ".join(text for text in (joined(row.notes), outcome.notes) if text)]


def outcome_of_row(row: ProcessRow, outcomes: Mapping[str, SlideOutcome]) -> SlideOutcome:
    """Return the outcome of a row: a row with a problem has failed, whatever the slide's other row did."""
    if row.problem is not None:
        return SlideOutcome("failed", "process_list", row.problem)
    return outcomes.get(row.slide_id) or SlideOutcome()


_LONG = 2000
"""Slides for whose predictions loading numpy pays off."""


class Predictions:
    """The columns of predictions, and their cells for one slide."""

    def __init__(self, outcomes: Collection[SlideOutcome]) -> None:
        pairs, numbers, grouped = 0, dict[str, None](), False
        for outcome in outcomes:
            grouped = grouped or bool(outcome.group)
            numbers |= dict.fromkeys(name for name, _ in outcome.numbers)
            pairs = max(pairs, len(outcome.classes))
        self._pairs, self._numbers, self._groups = pairs, list(numbers), grouped
        self._text = float32_text if len(outcomes) < _LONG else numpy_text

    @property
    def columns(self) -> list[str]:
        """``Pred_0``, ``p_0``, ... for classes; ``predicted_...`` for numbers and for their group."""
        classes = (name for c in range(self._pairs) for name in (f"Pred_{c}", f"p_{c}"))
        return [*classes, *self._numbers, *([GROUP_COLUMN] if self._groups else [])]

    def cells(self, outcome: SlideOutcome) -> list[str]:
        """Return one text per column, blank where the slide has no value."""
        pairs = [
            text
            for name, p in zip(outcome.classes, outcome.probabilities, strict=True)
            for text in (name, self._text(p))
        ]
        cells = [*pairs, *[""] * (2 * self._pairs - len(pairs))]
        if self._numbers:
            known = dict(outcome.numbers)
            cells += [self._text(known[name]) if name in known else "" for name in self._numbers]
        return [*cells, outcome.group] if self._groups else cells


def _kind(texts: Sequence[str]) -> str:
    """Return how pandas would hold a column of these cells: ``int``, ``float``, ``bool`` or ``text``."""
    filled = [text for text in texts if text not in BLANKS]
    if not filled:
        return "float" if texts else "added"
    if all(_INTEGER.match(text) for text in filled):
        return "int" if len(filled) == len(texts) else "float"
    if all(text.lower() in _BOOLS for text in filled):
        return "bool"
    try:
        for text in filled:
            float(text)
    except ValueError:
        return "text"
    return "float"


def _blank(row: ProcessRow, name: str, kind: str) -> str:
    """Return the text of a cell that is blank in the list: the parameter the slide was given."""
    if name == "process":
        return _spelt(1, kind)
    if name == "status":
        return _spelt("tbp", kind)
    return _spelt(row.params.value(name), kind) if name in _ADDED else ""


def _spelt(value: object, kind: str) -> str:
    """Return a value as pandas writes it in a column of that kind."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, str) and kind == "bool":
        return _BOOLS[value.lower()]
    if kind == "float" and not isinstance(value, bool):
        try:
            return str(float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return str(value)
    return str(value)
