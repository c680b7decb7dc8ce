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


def classes_of(logits: Floats) -> Ints:
    """Return the class (...,) of logits (..., C): the largest, or the side of 0 of a single one."""
    return np.asarray(logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1), np.int64)


def flip_at(morf: Floats, removed: Ints, n: int) -> float | None:
    """Return the least removed share at which the class of `morf` (J, C) is another, None if it never is."""
    turned = np.flatnonzero(classes_of(morf) != classes_of(morf[0]))
    return float(removed[turned[0]] / n) if len(turned) else None


def enough_at(lerf: Floats, removed: Ints, n: int) -> float:
    """Return the least kept share from which on, up to the whole bag, the class of `lerf` (J, C) stays."""
    stays: Bools = classes_of(lerf) == classes_of(lerf[0])
    last = len(stays) - 1 if stays.all() else int(stays.argmin()) - 1
    return float(1 - removed[last] / n)
