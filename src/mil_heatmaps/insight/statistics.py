"""Means with bootstrap intervals: computed only here, so that every interval states its method and n.

Slides of one patient are not independent. Where the patients are known, patients are drawn, each with all of their
slides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.words import counted, number_words

PATIENT_COLUMNS = ("case_id", "patient_id", "patient")
"""Columns of a process list that name the patient; the first one present counts."""

LEAST = 10
"""Minimum number of slides (or patients, where known) for an interval."""

DRAWS, LEVEL, SEED = 2000, 0.95, 1

Statistic = Callable[[npt.NDArray[np.intp]], float]


@dataclass(frozen=True)
class Estimate:
    """A number over a cohort, with its interval where there are enough slides.

    Attributes
    ----------
    value : float
    low, high : float
        NaN where no interval is given.
    slides : int
        Number of slides behind the value, n.
    patients : int or None
        Number of patients drawn; None where patients are unknown and slides were drawn.
    method : str
        How the interval was computed, or why there is none.
    """

    value: float
    low: float
    high: float
    slides: int
    patients: int | None
    method: str

    @property
    def words(self) -> str:
        """``0.81 (95 % 0.74 to 0.88, n = 24)``."""
        value = number_words(self.value, 3)
        if math.isnan(self.low):
            return f"{value} (n = {self.slides})"
        return f"{value} (95 % {number_words(self.low, 3)} to {number_words(self.high, 3)}, n = {self.slides})"

    def cells(self, name: str) -> dict[str, Any]:
        """Return the estimate as cells of a table: ``<name>``, ``_low``, ``_high``, ``_n`` and ``_interval``."""
        return {
            name: self.value, f"{name}_low": self.low, f"{name}_high": self.high, f"{name}_n": self.slides,
            f"{name}_interval": self.method,
        }  # fmt: skip


def patients_of(rows: Mapping[str, Mapping[str, str]]) -> dict[str, str] | None:
    """Return the patient of each slide, by slide_id, from the rows of a process list; None without such a column.

    A slide whose cell is empty counts as a separate patient.
    """
    for column in PATIENT_COLUMNS:
        if any(cells.get(column, "").strip() for cells in rows.values()):
            return {slide: cells.get(column, "").strip() or f"slide {slide}" for slide, cells in rows.items()}
    return None


def bootstrap(
    statistic: Statistic, groups: Sequence[Any], *, by_patient: bool, draws: int = DRAWS, seed: int = SEED
) -> Estimate:
    """Return a statistic of slides with its percentile interval.

    Parameters
    ----------
    statistic : function of the numbers of the chosen slides, with repeats
        May return NaN for a draw, for example without a second class; such draws are left out.
    groups : one value per slide
        The patient of each slide; slides with equal values are drawn together.
    by_patient : bool
        Whether the groups are patients; changes only the words.
    """
    names, owner = np.unique(np.asarray([str(group) for group in groups], dtype=object), return_inverse=True)
    slides, many = len(owner), len(names)
    value = statistic(np.arange(slides)) if slides else math.nan
    unit = "patient" if by_patient else "slide"
    patients = many if by_patient else None
    if many < LEAST:
        why = f"no interval: {counted(many, unit)}, fewer than {LEAST}"
        return Estimate(value, math.nan, math.nan, slides, patients, why)
    members = [np.flatnonzero(owner == number) for number in range(many)]
    rng = np.random.default_rng(seed)
    single = many == slides
    found = []
    for _ in range(draws):
        drawn = rng.integers(0, many, many)
        found.append(statistic(drawn if single else np.concatenate([members[i] for i in drawn])))
    numbers = np.array(found)
    numbers = numbers[np.isfinite(numbers)]
    if math.isnan(value) or len(numbers) < draws // 2:
        why = "no interval: most draws lack a class" if not math.isnan(value) else "no value"
        return Estimate(value, math.nan, math.nan, slides, patients, why)
    low, high = np.quantile(numbers, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    drawn_words = f"{many} patients with all their slides" if by_patient else f"{many} slides"
    method = f"95 % percentile bootstrap, {draws} draws of {drawn_words}"
    return Estimate(value, float(low), float(high), slides, patients, method)


def mean_of(values: npt.ArrayLike, slides: Sequence[str], patients: Mapping[str, str] | None = None) -> Estimate:
    """Return the mean of one number per slide with its interval; slides without a number are left out."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    kept = np.isfinite(numbers)
    numbers = numbers[kept]
    names = [name for name, keep in zip(slides, kept, strict=True) if keep]
    groups = names if patients is None else [patients.get(name, f"slide {name}") for name in names]
    return bootstrap(lambda chosen: float(numbers[chosen].mean()), groups, by_patient=patients is not None)


def resampling_words(patients: Mapping[str, str] | None) -> str:
    """Say whether slides of one patient were drawn together, for the foot of a sheet."""
    if patients is None:
        columns = ", ".join(PATIENT_COLUMNS)
        return f"slides are drawn one by one: the process list has no patient column ({columns})"
    return "slides of one patient are drawn together"
