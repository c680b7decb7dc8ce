"""The step of a grid of patches, computed only from their coordinates (level-0 pixels, x and y)."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Size = tuple[int, int]
Ints = npt.NDArray[np.int64]

_SURE_SUPPORT = 0.8
"""Share of patches with a neighbour one step away from which rows and columns decide the step."""

_LEAST_SUPPORT = 0.25
"""Smallest such share; below it, coordinates show no grid at all."""

_SURE_COUNT = 16
"""Fewer patches may all be neighbours by chance."""

_MOST_SHARED = 0.5
"""Patches per cell beyond one from which a lattice counts as finer than its rows show."""

_LEAST_PHASE_STEP = 8
"""Below this step, lying on one lattice proves nothing: any coordinates lie on the lattice of step 1."""


@dataclass(frozen=True)
class SeenStep:
    """The step that coordinates show.

    Attributes
    ----------
    step_l0 : (x, y)
    is_sure : bool
        Nearly every patch has a neighbour at that distance, and there are enough patches.
    """

    step_l0: Size
    is_sure: bool


_last: tuple[bytes, SeenStep | None] | None = None
"""Digest of the last coordinates and their step: several stages of a slide read the same coordinates."""


def infer_step(coords_l0: Ints) -> SeenStep | None:
    """Return the distance of neighbouring patches along x and y, None when the coordinates show no grid.

    Along each row (equal y), the most frequent gap between neighbours is taken, the smaller in a tie; the same along
    columns. This is robust to holes in the tissue, the longer first step of old TRIDENT grids, and CLAM's separate grid
    for every contour, because a row rarely runs from one phase into another. An axis without neighbours, or with gaps
    at least twice those of the other axis (two thin columns far apart), takes the other's step: patches are squares.

    Two cases make this step too wide: a chequerboard (many patches share a cell) and a thin sample of a grid (few
    patches have a neighbour). The step is then the smallest gap between distinct coordinates, if all patches lie on
    that one lattice or have neighbours on it.
    """
    if len(coords_l0) < 2:
        return None
    global _last
    digest = hashlib.sha256(np.ascontiguousarray(coords_l0, np.int64).data).digest()
    if _last is None or _last[0] != digest:
        _last = digest, _infer_step(coords_l0)
    return _last[1]


def _infer_step(coords_l0: Ints) -> SeenStep | None:
    keys = _distinct_keys(coords_l0 - coords_l0.min(axis=0))
    x, y = keys >> 32, keys & 0xFFFFFFFF
    gaps = _modal_gap(np.sort((y << 32) + x)), _modal_gap(keys)
    by_rows, finest = _square(gaps), _square((_least_gap(x), _least_gap(y)))
    rows_support = 0.0
    if by_rows is not None and _shared_cells(x, y, by_rows) <= _MOST_SHARED:
        rows_support = _support(keys, by_rows)
        if rows_support >= _SURE_SUPPORT:
            return SeenStep(by_rows, len(keys) >= _SURE_COUNT)
    if finest is not None and _shared_cells(x, y, finest) <= _MOST_SHARED:
        support = _support(keys, finest)
        if support >= _SURE_SUPPORT or _one_phase(x, y, finest):
            return SeenStep(finest, support >= _SURE_SUPPORT and len(keys) >= _SURE_COUNT)
    return SeenStep(by_rows, False) if by_rows is not None and rows_support >= _LEAST_SUPPORT else None


def _distinct_keys(points: Ints) -> Ints:
    """Return x * 2^32 + y of each distinct point, sorted; the points are not negative."""
    keys = np.sort((points[:, 0] << 32) + points[:, 1])
    return keys[np.concatenate(([True], keys[1:] != keys[:-1]))]


def _modal_gap(keys: Ints) -> int | None:
    """Return the most frequent distance of neighbours on one line, the smaller in a tie.

    The upper 32 bits of a key are the line and the lower 32 the position; keys are sorted.
    """
    gaps = np.diff(keys)[np.diff(keys >> 32) == 0]
    if not len(gaps):
        return None
    values, counts = np.unique(gaps, return_counts=True)
    return int(values[counts.argmax()])


def _least_gap(along: Ints) -> int | None:
    distinct = np.unique(along)
    return int(np.diff(distinct).min()) if len(distinct) > 1 else None


def _square(gaps: tuple[int | None, int | None]) -> Size | None:
    x, y = gaps
    if x is None or y is None:
        one = x or y
        return None if one is None else (one, one)
    return (min(x, y),) * 2 if max(x, y) >= 2 * min(x, y) else (x, y)


def _shared_cells(x: Ints, y: Ints, step: Size) -> float:
    """Return patches per occupied cell, minus one: 0 on a lattice of this step, 1 on a chequerboard."""
    cells = _distinct_keys(np.stack((x // step[0], y // step[1]), axis=1))
    return len(x) / len(cells) - 1


def _support(keys: Ints, step: Size) -> float:
    """Return the share of patches with another patch exactly one step away, including diagonally."""
    found = np.zeros(len(keys), dtype=bool)
    for move in ((1, 0), (0, 1), (1, 1), (1, -1)):
        wanted = keys + ((move[0] * step[0]) << 32) + move[1] * step[1]
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = keys[places] == wanted
        found |= hit
        found[places[hit]] = True
    return float(found.mean())


def _one_phase(x: Ints, y: Ints, step: Size) -> bool:
    """Say whether all patches lie on one lattice of this step."""
    return min(step) >= _LEAST_PHASE_STEP and bool(
        (x % step[0] == x[0] % step[0]).all() and (y % step[1] == y[0] % step[1]).all()
    )
