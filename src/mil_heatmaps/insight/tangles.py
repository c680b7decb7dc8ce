"""Outlines that cross so often that correcting or joining them would take hours, or all the memory.

Nobody draws such outlines, but a file of a few kB can hold them. Crossings are counted first, and only up to the
limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError

MOST_OF_ONE = 1_000
"""Crossings of one outline with itself: correcting 4,000 takes 4 s, and four times as many a minute."""

MOST_OF_ALL = 200_000
"""Crossings of all outlines of a file: joining outlines that cross 500,000 times takes 7 s and 340 MB."""

_PAIRS_AT_ONCE = 1_000_000


def refuse_tangle(shapely: Any, rings: Iterable[npt.NDArray[np.float64]], most: int, where: str) -> None:
    """Raise a TissueError where the lines of rings, each (n, 2), cross more than `most` times."""
    lines = [np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings if len(ring) > 1]
    if not lines:
        return
    ends = np.concatenate(lines)
    boxes = shapely.box(*ends.min(axis=1).T, *ends.max(axis=1).T)
    tree, step, found = shapely.STRtree(boxes), max(8, _PAIRS_AT_ONCE // len(ends)), 0
    for start in range(0, len(ends), step):
        one, other = tree.query(boxes[start : start + step])  # two lines can only cross where their boxes meet
        found += _crossings(ends[start : start + step][one], ends[other])
        if found > 2 * most:  # each crossing is found from both sides
            raise TissueError(f"{where} more than {most:,} times: nobody draws like that, and it was not read further")


def _crossings(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> int:
    """Return how many pairs of lines (M, 2, 2) cross between their ends; lines that touch or share a part do not."""

    def sides(line: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Product of the sides of a line on which its two points lie: negative when the sides differ."""
        (x, y), (dx, dy) = line[:, 0].T[:, :, None], (line[:, 1] - line[:, 0]).T[:, :, None]
        side = np.sign(dx * (points[..., 1] - y) - dy * (points[..., 0] - x))
        return np.asarray(side[:, 0] * side[:, 1])

    return int(((sides(one, other) < 0) & (sides(other, one) < 0)).sum())
