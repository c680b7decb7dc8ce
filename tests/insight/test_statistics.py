"""Means with bootstrap intervals, patients drawn together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mil_heatmaps.insight.statistics import mean_of, patients_of


def test_fewer_than_ten_slides_have_a_value_and_no_interval() -> None:
    found = mean_of([1.0, 2, 3, np.nan], list("abcd"))
    assert (found.value, found.slides) == (2, 3)
    assert math.isnan(found.low)
    assert found.method == "no interval: 3 slides, fewer than 10"


def test_an_interval_names_its_method_and_n_and_comes_again_with_its_seed() -> None:
    values = np.random.default_rng(0).normal(size=40)
    names = [f"s{k}" for k in range(40)]
    found = mean_of(values, names)
    assert found == mean_of(values, names)
    assert found.low < found.value < found.high
    assert found.method == "95 % percentile bootstrap, 2000 draws of 40 slides"
    expected = 1.96 * values.std() / math.sqrt(40)
    assert found.high - found.low == pytest.approx(2 * expected, rel=0.1)


def test_slides_of_one_patient_are_drawn_together() -> None:
    names = [f"s{k}" for k in range(40)]
    values = np.repeat(np.random.default_rng(1).normal(size=10), 4)  # four equal slides a patient
    patients = {name: f"p{k // 4}" for k, name in enumerate(names)}
    apart, together = mean_of(values, names), mean_of(values, names, patients)
    assert together.high - together.low > 1.6 * (apart.high - apart.low)
    assert (together.slides, together.patients) == (40, 10)
    assert "10 patients with all their slides" in together.method
    few = mean_of(values, names, {name: f"p{k // 8}" for k, name in enumerate(names)})
    assert few.method == "no interval: 5 patients, fewer than 10"


def test_the_first_patient_column_counts_and_an_empty_cell_is_a_patient_of_its_own() -> None:
    rows = {"a": {"patient": "1", "case_id": "x"}, "b": {"patient": "1", "case_id": ""}}
    assert patients_of(rows) == {"a": "x", "b": "slide b"}
    assert patients_of({"a": {"label": "1"}}) is None
