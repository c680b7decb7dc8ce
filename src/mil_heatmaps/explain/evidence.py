"""The evidence set: the fewest patches, most relevant first, that alone keep the class or the probability."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mil_heatmaps.explain.answers import Answers, others
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.rows import Floats, Ints

MOST_FORWARDS = 12
"""Maximum number of forwards of a bisection between two points of the ladder."""

ENOUGH = 0.9

AreaOf = Callable[[Ints], float | None]
"""Patches -> the area in mm² that they cover, None where it is unknown."""


@dataclass(frozen=True)
class Found:
    """An evidence set.

    Attributes
    ----------
    patches : ints, most relevant first
    numbers : dict
        As in the JSON document.
    """

    patches: Ints
    numbers: dict[str, Any]


def evidence_sets(
    answers: Answers,
    probability: Outputs,
    order: Ints,
    counts: Ints,
    logits: Floats,
    area: AreaOf,
) -> dict[str, Found | None]:
    """Return the sets ``class``, ``p90`` and ``p90_of_full`` of one map.

    Parameters
    ----------
    probability : Outputs
        The target's probability, one column.
    order : (n,) ints
        Scored patches, most relevant first.
    counts : (J,) rising ints
        Points of the ladder: how many of the first patches are kept.
    logits : (J, C)
        Logits of the first `counts` patches alone.
    """
    full = answers.full()
    p_full = float(probability.of(full)[0])
    holds: dict[str, Callable[[Floats], bool]] = {
        "class": lambda z: bool(probability.decided(z) == probability.decided(full)),
        "p90": lambda z: float(probability.of(z)[0]) >= ENOUGH,
        "p90_of_full": lambda z: float(probability.of(z)[0]) >= ENOUGH * p_full,
    }
    known = {int(k): z for k, z in zip(counts, logits, strict=True)}

    def first(k: int) -> Floats:
        if k not in known:
            known[k] = answers.of(np.sort(order[:k]))
        return np.asarray(known[k])

    found: dict[str, Found | None] = {}
    for name, good in holds.items():
        k = least_that_holds(counts, [good(z) for z in logits], lambda k, good=good: good(first(k)))  # type: ignore[misc]
        if k is None or not good(full):
            found[name] = None
            continue
        chosen, rest = order[:k], others(len(answers), order[:k])
        left = float(probability.of(answers.of(rest))[0]) if len(rest) else None
        numbers = {
            "patches": k,
            "share": k / len(order),
            "mm2": area(chosen),
            "probability": float(probability.of(first(k))[0]),
            "complement_probability": left,
        }
        found[name] = Found(chosen, numbers)
    return found


def least_that_holds(counts: Ints, good: list[bool], holds: Callable[[int], bool]) -> int | None:
    """Return the smallest k from which `holds` is true at every point of the ladder, refined by bisection.

    Bisects between the last point that fails, if any, and the first that holds: at most `MOST_FORWARDS` calls.
    """
    if not good or not good[-1]:
        return None
    bad = np.flatnonzero(~np.array(good))
    place = int(bad[-1]) + 1 if len(bad) else 0
    high, low = int(counts[place]), int(counts[place - 1]) if place else 0
    for _ in range(MOST_FORWARDS):
        if high - low < 2:
            break
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def area_mm2(corners_l0: Ints, size_l0: tuple[int, int], mpp: float) -> float:
    """Return the area in mm² that patches of `size_l0` (width, height) cover; overlaps count once.

    Parameters
    ----------
    corners_l0 : (n, 2) ints
        x, y in level-0 pixels.
    mpp : float
        Micrometres per level-0 pixel.
    """
    width, height = size_l0
    order = np.argsort(corners_l0[:, 1], kind="stable")
    x, y = corners_l0[order, 0], corners_l0[order, 1]
    edges = np.unique(np.concatenate([y, y + height]))
    pixels = 0.0
    for top, bottom in pairwise(edges):  # strips within which no patch begins or ends
        inside = np.sort(x[np.searchsorted(y, top - height, "right") : np.searchsorted(y, top, "right")])
        if len(inside):
            pixels += float(bottom - top) * (width + np.minimum(width, np.diff(inside)).sum())
    return pixels * mpp**2 / 1e6
