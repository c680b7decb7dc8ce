"""What curves say of a map: better than random, no better, or worse; when the class turns, and what suffices for it."""

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
"""Patches with a score below which nothing is measured."""

LEVEL = 0.05


def p_value(srg: float, random: Floats) -> float:
    """Return the share of chance orders that do at least as well, those of `random` (R,) both ways."""
    return float((1 + (np.concatenate([random, -random]) >= srg).sum()) / (2 * len(random) + 1))


def verdict(srg: float, random: Floats) -> Verdict:
    """Return whether a map's SRG is beyond what chance gives."""
    if p_value(srg, random) <= LEVEL:
        return "better than random"
    return "worse than random" if p_value(-srg, random) <= LEVEL else "no better than random"


def flip_at(morf: Ints, removed: Ints, n: int) -> float | None:
    """Return the least removed share at which the class `morf` (J,) is another, None if it never is."""
    turned = np.flatnonzero(morf != morf[0])
    return float(removed[turned[0]] / n) if len(turned) else None


def enough_at(lerf: Ints, removed: Ints, n: int) -> float:
    """Return the least kept share from which on, up to the whole bag, the class `lerf` (J,) stays."""
    stays: Bools = lerf == lerf[0]
    last = len(stays) - 1 if stays.all() else int(stays.argmin()) - 1
    return float(1 - removed[last] / n)
