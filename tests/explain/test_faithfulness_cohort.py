"""Over a cohort: rows, means with intervals, and the recommendation in words."""

from typing import Any

import numpy as np
import pytest

from mil_heatmaps.explain.faithfulness_cohort import (
    COLUMNS,
    bootstrap_interval,
    csv_rows,
    one_a_case,
    recommendation,
    summarise,
)
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.words import alike
from tests.helpers.mil_lab_checks import random_features


def row(score: str, srg: float | None, drawn: bool = False, status: str = "measured") -> dict[str, Any]:
    verdict = status if srg is None else "better than random" if srg > 1 else "no better than random"
    return {"score": score, "srg": srg, "drawn": drawn, "status": status, "verdict": verdict, "evidence_patches": 3}


def test_a_document_gives_a_row_a_map() -> None:
    model = ABMIL(12, 16, 8, num_classes=2).eval()
    maps = {"attention": random_features(30, 1)[:, 0], "flat": np.ones(30)}
    document = model.faithfulness(random_features(30, 12), maps).as_dict()
    rows = csv_rows("S1", document)
    assert [tuple(made) for made in rows] == [COLUMNS, COLUMNS]
    assert [(made["score"], made["status"], made["drawn"]) for made in rows] == [
        ("attention", "measured", True), ("flat", "constant map", False),
    ]  # fmt: skip
    top = document["maps"]["attention"]["top5"]
    assert (rows[0]["top5"], rows[0]["random_top5_high"]) == (top["value"], top["random_high"])
    assert rows[0]["evidence_patches"] == document["maps"]["attention"]["evidence"]["p90_of_full"]["patches"]
    assert rows[1]["srg"] is rows[1]["error"] is None


def test_slides_that_were_not_measured_are_counted_apart_never_as_zero() -> None:
    rows = [row("attention", value, drawn=True) for value in (0.0, 0.5, 2.0, 0.25, 0.25)]
    rows += [row("attention", None, status="too few patches"), row("single", 3.0), row("single", None, status="failed")]
    attention, single = summarise(rows)
    assert (attention.mean, attention.median, attention.measured, attention.better) == (0.6, 0.25, 5, 1)
    assert attention.apart == {"too few patches": 1}
    assert attention.evidence_patches == 3
    assert (single.mean, single.measured, single.better, single.apart) == (None, 1, 1, {"failed": 1})


def test_the_recommendation_names_the_best_map_beside_the_drawn_one() -> None:
    rows = [row("attention", value, drawn=True) for value in (0.0, 0.5, 2.0, 0.25, 0.25)]
    assert recommendation(summarise(rows[:4])) is None
    rows += [row("integrated_gradients", value) for value in (1.5, 2.0, 2.0, 2.5, 1.0)]
    low, high = bootstrap_interval(np.array([1.5, 2.0, 2.0, 2.5, 1.0]), 0)
    words = recommendation(summarise(rows))
    assert words is not None
    assert words.startswith(
        f"integrated_gradients explains this model best: mean SRG 1.8 [{low:.1f}, {high:.1f}], better than random on "
        "4 of 5 slides; the drawn attention 0.6 [0.1, "
    )
    assert words.endswith("], on 1 of 5. Draw it with --score integrated_gradients.")
    drawn = [made | {"drawn": made["score"] != "attention"} for made in rows]
    assert (recommendation(summarise(drawn)) or "").endswith("5 slides. It is the map that is drawn.")
    weak = [row("attention", 0.1, drawn=True) for _ in range(6)]
    assert (recommendation(summarise(weak)) or "").startswith("No map is better than random on any of 6 slides")


def test_intervals_come_from_ten_thousand_draws_of_slides() -> None:
    low, high = bootstrap_interval(np.array([0.0, 1.0] * 50), 0)
    assert low == pytest.approx(0.40, abs=0.02)
    assert high == pytest.approx(0.60, abs=0.02)
    assert bootstrap_interval(np.array([2.0, 2.0, 2.0]), 1) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((21.16, -4.1, 4.1), ["21.2", "−4.1", "4.1"]),
        ((0.034, -0.002), ["0.034", "−0.002"]),
        ((-0.001, 2.0), ["0.0", "2.0"]),
        ((0.0, 0.0), ["0.0", "0.0"]),
    ],
)
def test_numbers_beside_one_another_have_the_decimals_that_tell_them_apart(
    values: tuple[float, ...], words: list[str]
) -> None:
    assert alike(*values) == words


def test_slides_of_a_case_are_drawn_together_and_a_case_that_was_measured_as_one_counts_once() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    cases = {f"S{number}": f"P{number // 2}" for number in range(6)}
    alone = bootstrap_interval(values, 0)
    together = bootstrap_interval(values, 0, list(cases.values()))
    assert together == (0.0, 2.0)  # of three cases, one may be drawn three times
    assert alone[0] > together[0]
    rows = [row("attention", value) | {"slide_id": slide} for value, slide in zip(values, cases, strict=True)]
    (by_slide,) = summarise(rows, cases=cases)
    assert (by_slide.measured, by_slide.low, by_slide.high) == (6, *together)
    assert [made["slide_id"] for made in one_a_case(rows, cases)] == ["S0", "S2", "S4"]
    (of_cases,) = summarise(one_a_case(rows, cases), noun="case")
    assert (of_cases.measured, of_cases.noun) == (3, "case")
