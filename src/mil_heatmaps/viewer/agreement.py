"""How far readers agree: Cohen's kappa of every pair, Fleiss' kappa of all, and where they differ most.

Cohen, Educ. Psychol. Meas. 20 (1960) 37; Fleiss, Psychol. Bull. 76 (1971) 378. Intervals are percentiles of a
bootstrap over slides; where cases are known, over cases, each with all of its slides.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

DRAWS = 2000
VERDICTS = ("plausible", "not plausible", "unsure")
MOST_NAMED = 20

Counts = npt.NDArray[np.float64]
"""(slides, verdicts): how many readers gave each verdict."""


def cohen_kappa(pairs: npt.NDArray[np.intp], kinds: int) -> float | None:
    """Return Cohen's kappa of (n, 2) verdicts; None where chance alone would agree always, or without slides."""
    if not len(pairs):
        return None
    table = np.zeros((kinds, kinds))
    np.add.at(table, (pairs[:, 0], pairs[:, 1]), 1)
    table /= len(pairs)
    return _beyond_chance(float(np.trace(table)), float(table.sum(1) @ table.sum(0)))


def fleiss_kappa(counts: Counts) -> float | None:
    """Return Fleiss' kappa; every slide must have the same number of readers, two or more."""
    if not len(counts):
        return None
    readers = float(counts[0].sum())
    if readers < 2:
        return None
    agreed = ((counts**2).sum(1) - readers) / (readers * (readers - 1))
    shares = counts.sum(0) / counts.sum()
    return _beyond_chance(float(agreed.mean()), float((shares**2).sum()))


def _beyond_chance(agreed: float, by_chance: float) -> float | None:
    return None if by_chance > 1 - 1e-12 else (agreed - by_chance) / (1 - by_chance)


def _interval(
    measure: Any, rows: npt.NDArray[Any], slides: Sequence[str], cases: Mapping[str, str], seed: int = 0
) -> list[float] | None:
    """Return the 2.5th and 97.5th percentile of a measure over bootstrap draws of rows, those of a case together."""
    together: dict[str, list[int]] = {}
    for place, slide in enumerate(slides):
        together.setdefault(cases.get(slide) or f"/{slide}", []).append(place)
    if len(together) < 5:
        return None
    members, rng = [np.array(places) for places in together.values()], np.random.default_rng(seed)
    draws = (rng.integers(0, len(members), len(members)) for _ in range(DRAWS))
    drawn = [measure(rows[np.concatenate([members[number] for number in draw])]) for draw in draws]
    known = [value for value in drawn if value is not None]
    if len(known) < DRAWS / 2:
        return None
    return [float(value) for value in np.percentile(known, [2.5, 97.5])]


def agreement(
    verdicts: Mapping[str, Mapping[str, str]], kinds: Sequence[str] = VERDICTS, cases: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what readers agree on.

    Parameters
    ----------
    verdicts : reader to slide_id to verdict; other words than `kinds` do not count
    cases : slide_id to case, where cases are known

    Returns
    -------
    dict
        ``readers`` with the number of slides each judged; ``pairs`` with ``kappa`` and ``interval`` (None where they
        cannot be told); ``fleiss`` over the slides that all judged; ``resampled``: what the draws are of;
        ``disagreed``: slides by the share of pairs of readers that differ, most first.
    """
    number, cases = {word: place for place, word in enumerate(kinds)}, cases or {}
    given = {
        reader: {slide: number[word] for slide, word in told.items() if word in number}
        for reader, told in verdicts.items()
    }
    pairs = []
    for first, second in combinations(given, 2):
        common = [slide for slide in given[first] if slide in given[second]]
        rows = np.array([[given[first][slide], given[second][slide]] for slide in common], np.intp).reshape(-1, 2)
        pairs.append(
            {
                "readers": [first, second],
                "slides": len(rows),
                "agreed": float((rows[:, 0] == rows[:, 1]).mean()) if len(rows) else None,
                "kappa": cohen_kappa(rows, len(kinds)),
                "interval": _interval(lambda part: cohen_kappa(part, len(kinds)), rows, common, cases),
            }
        )
    everywhere = [slide for slide in next(iter(given.values()), {}) if all(slide in told for told in given.values())]
    counts = np.array(
        [np.bincount([told[slide] for told in given.values()], minlength=len(kinds)) for slide in everywhere], float
    ).reshape(-1, len(kinds))
    return {
        "readers": {reader: len(told) for reader, told in given.items()},
        "pairs": pairs,
        "fleiss": {
            "slides": len(counts), "kappa": fleiss_kappa(counts),
            "interval": _interval(fleiss_kappa, counts, everywhere, cases),
        },
        "resampled": "case" if cases else "slide",
        "disagreed": _disagreed(given, kinds)[:MOST_NAMED],
    }  # fmt: skip


def _disagreed(given: Mapping[str, Mapping[str, int]], kinds: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for slide in dict.fromkeys(slide for told in given.values() for slide in told):
        words = {reader: told[slide] for reader, told in given.items() if slide in told}
        couples = list(combinations(words.values(), 2))
        differ = sum(a != b for a, b in couples)
        if differ:
            told = {reader: kinds[word] for reader, word in words.items()}
            found.append({"slide": slide, "share": differ / len(couples), "verdicts": told})
    return sorted(found, key=lambda item: (-item["share"], item["slide"]))


def agreement_words(told: Mapping[str, Any]) -> list[str]:
    """Return `agreement` as lines for a terminal."""
    lines = [f"{reader}: {slides} slides" for reader, slides in told["readers"].items()]
    for pair in told["pairs"]:
        lines.append(f"{' and '.join(pair['readers'])}: Cohen's kappa {_kappa_words(pair)}")
    if len(told["readers"]) > 2:
        lines.append(f"all: Fleiss' kappa {_kappa_words(told['fleiss'])}")
    if any(pair["interval"] for pair in told["pairs"]) and told["resampled"] == "case":
        lines.append("intervals are over cases: the slides of a case are drawn together")
    for item in told["disagreed"]:
        said = ", ".join(f"{reader} {word}" for reader, word in item["verdicts"].items())
        lines.append(f"differ on {item['slide']}: {said}")
    return lines


def _kappa_words(about: Mapping[str, Any]) -> str:
    if about["kappa"] is None:
        return f"cannot be computed ({about['slides']} slides in common)"
    ends = about["interval"]
    interval = f", 95 % interval {ends[0]:.2f} to {ends[1]:.2f}" if ends else ""
    return f"{about['kappa']:.2f}{interval} ({about['slides']} slides)"
