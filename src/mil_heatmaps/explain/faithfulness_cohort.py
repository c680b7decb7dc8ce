"""Faithfulness over a cohort: one row per slide and map, means with intervals, and the recommended map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import alike

COLUMNS = (
    "slide_id", "score", "target", "drawn", "verdict", "p_value", "srg", "srg_probability", "auc_morf", "auc_lerf",
    "full", "full_probability", "top5", "top5_probability", "random_top5", "random_top5_low", "random_top5_high",
    "random_top5_probability", "flip_at", "enough_at", "num_patches", "steps", "random_orders", "seed", "forwards",
    "seconds", "evidence_patches", "evidence_mm2", "evidence_complement", "status", "error",
)  # fmt: skip
"""Columns of ``faithfulness.csv``."""

FEWEST_SLIDES = 5
"""A cohort of fewer slides has counts only."""

DRAWS = 10_000


def csv_rows(slide_id: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per map of one slide's document; a missing number is None."""
    return [_row(slide_id, name, entry, document) for name, entry in document["maps"].items()]


def _row(slide_id: str, name: str, entry: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    top, full = entry.get("top5", {}), document["full"]
    evidence = (entry.get("evidence") or {}).get("p90_of_full") or {}
    same = ("verdict", "p_value", "srg", "srg_probability", "auc_morf", "auc_lerf", "flip_at", "enough_at", "status")
    found: dict[str, Any] = {key: entry.get(key) for key in (*same, "drawn", "error")}
    whole = ("num_patches", "steps", "random_orders", "seed", "forwards", "seconds")
    found |= {key: document.get(key) for key in whole}
    found |= {
        "slide_id": slide_id,
        "score": name,
        "target": document["target"]["name"],
        "full": full.get(document["output"]),
        "full_probability": full.get("probability"),
        "top5": top.get("value"),
        "top5_probability": top.get("probability"),
        "random_top5": top.get("random"),
        "random_top5_low": top.get("random_low"),
        "random_top5_high": top.get("random_high"),
        "random_top5_probability": top.get("random_probability"),
        "evidence_patches": evidence.get("patches"),
        "evidence_mm2": evidence.get("mm2"),
        "evidence_complement": evidence.get("complement_probability"),
    }
    return {column: found[column] for column in COLUMNS}


@dataclass(frozen=True)
class MapSummary:
    """One map over a cohort.

    Attributes
    ----------
    score : str
    measured, better : int
        Number of slides measured, and of those better than random; of cases, where a bag is a case.
    apart : dict
        Status -> number of slides that were not measured.
    drawn : bool
        Whether it is drawn on any slide.
    mean, low, high, median : float or None
        Mean and median SRG, with the 95 % interval of the mean; None with fewer than `FEWEST_SLIDES`.
    evidence_patches : float or None
        Median size of the set that keeps 0.9 of the probability.
    noun : str
        The unit of measurement: slide or case.
    """

    score: str
    measured: int
    better: int
    apart: dict[str, int]
    drawn: bool
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    median: float | None = None
    evidence_patches: float | None = None
    noun: str = "slide"


def one_a_case(rows: Iterable[Mapping[str, Any]], cases: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Return the rows of one slide per case: where a bag is a case, all its slides have the same numbers."""
    kept: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for row in rows:
        kept.setdefault((cases.get(row["slide_id"], f"/{row['slide_id']}"), row["score"]), row)
    return list(kept.values())


def summarise(
    rows: Iterable[Mapping[str, Any]], seed: int = 0, *, cases: Mapping[str, str] | None = None, noun: str = "slide"
) -> list[MapSummary]:
    """Return each map's numbers over the cohort, largest mean SRG first.

    Slides of one case in `cases` are drawn together for intervals; `noun` says what a row stands for.
    """
    by_map: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("score"):
            by_map.setdefault(row["score"], []).append(row)
    made = [_summary(name, mine, seed, cases or {}, noun) for name, mine in by_map.items()]
    return sorted(made, key=lambda one: -np.inf if one.mean is None else one.mean, reverse=True)


def _summary(
    name: str, rows: Sequence[Mapping[str, Any]], seed: int, cases: Mapping[str, str], noun: str
) -> MapSummary:
    measured = [row for row in rows if row["status"] == "measured"]
    apart: dict[str, int] = {}
    for row in rows:
        if row["status"] != "measured":
            apart[row["status"]] = apart.get(row["status"], 0) + 1
    better = sum(row["verdict"] == "better than random" for row in measured)
    counts = MapSummary(name, len(measured), better, apart, any(row["drawn"] for row in rows), noun=noun)
    if len(measured) < FEWEST_SLIDES:
        return counts
    srg = np.array([row["srg"] for row in measured], np.float64)
    together = [cases.get(row["slide_id"], f"/{row['slide_id']}") for row in measured] if cases else None
    low, high = bootstrap_interval(srg, seed, together)
    sizes = [row["evidence_patches"] for row in measured if row.get("evidence_patches") is not None]
    return MapSummary(
        name, len(measured), better, apart, counts.drawn, float(srg.mean()), low, high, float(np.median(srg)),
        float(np.median(sizes)) if sizes else None, noun,
    )  # fmt: skip


def bootstrap_interval(
    values: np.typing.NDArray[np.float64], seed: int, together: Sequence[str] | None = None
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over `DRAWS` draws of as many slides as there are.

    With the case of each slide in `together`, cases are drawn, each with all of its slides.
    """
    rng = np.random.default_rng(seed)
    if together is None:
        means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    else:
        _, owner = np.unique(np.asarray(together, dtype=object).astype(str), return_inverse=True)
        sums, counts = np.bincount(owner, values), np.bincount(owner)
        drawn = rng.integers(0, len(sums), (DRAWS, len(sums)))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def recommendation(summaries: Sequence[MapSummary], *, drawable: bool = True) -> str | None:
    """Return which map explains the model best, compared with the drawn one; None where too little was measured.

    With `drawable` it also says how to draw it.
    """
    known = [one for one in summaries if one.mean is not None]
    if not known:
        return None
    best = known[0]
    if best.better == 0:
        nowhere = f"No map is better than random on any of {best.measured} {best.noun}s"
        return f"{nowhere}: none shows what drives the prediction."
    said = f"{best.score} explains this model best: {_words(best)}"
    if best.drawn:
        return f"{said}. It is the map that is drawn."
    drawn = next((one for one in known if one.drawn), None)
    beside = f"; the drawn {drawn.score} {_words(drawn, short=True)}" if drawn else ""
    return f"{said}{beside}." + (f" Draw it with --score {best.score}." if drawable else "")


def _words(one: MapSummary, *, short: bool = False) -> str:
    mean, low, high = alike(*(value for value in (one.mean, one.low, one.high) if value is not None), small=0.1)
    if short:
        return f"{mean} [{low}, {high}], on {one.better} of {one.measured}"
    return f"mean SRG {mean} [{low}, {high}], better than random on {one.better} of {one.measured} {one.noun}s"
