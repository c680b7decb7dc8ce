"""Verdicts on a map from its curves: better than random, no better, or worse; when the class changes, what suffices."""

from typing import Literal, TypeAlias

import numpy as np

from mil_heatmaps.explain.rows import Bools, Floats, Ints

Verdict: TypeAlias = Literal[
    "better than random",
    "no better than random",
    "worse than random",
    "too few patches",
    "constant map",
    "not measured",
]

FEWEST = 20
"""Minimum number of scored patches for a measurement."""

LEVEL = 0.05


def p_value(srg: float, random: Floats) -> float:
    """Return the share of chance orders that do at least as well, where each of `random` (R,) counts both ways."""
    return float((1 + (np.concatenate([random, -random]) >= srg).sum()) / (2 * len(random) + 1))


def verdict(srg: float, random: Floats) -> Verdict:
    """Return whether a map's SRG is beyond chance."""
    if p_value(srg, random) <= LEVEL:
        return "better than random"
    return "worse than random" if p_value(-srg, random) <= LEVEL else "no better than random"


def flip_at(morf: Ints, removed: Ints, n: int) -> float | None:
    """Return the smallest removed share at which the class `morf` (J,) changes, None if it never does."""
    turned = np.flatnonzero(morf != morf[0])
    return float(removed[turned[0]] / n) if len(turned) else None


def enough_at(lerf: Ints, removed: Ints, n: int) -> float:
    """Return the smallest kept share from which the class `lerf` (J,) stays the same up to the whole bag."""
    stays: Bools = lerf == lerf[0]
    last = len(stays) - 1 if stays.all() else int(stays.argmin()) - 1
    return float(1 - removed[last] / n)
