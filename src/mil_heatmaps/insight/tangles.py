"""Outlines that cross one another so often that to correct or join them would take hours, or all the memory.

Nobody draws such outlines; a file of a few kB can hold them. How often lines cross is counted first, and only as far as
the limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError

MOST_OF_ONE = 1_000
"""Crossings of one outline with itself: to correct 4,000 takes 4 s, and four times as many a minute."""

MOST_OF_ALL = 200_000
"""Crossings of all outlines of a file: to join outlines that cross 500,000 times takes 7 s and 340 MB."""

_PAIRS_AT_ONCE = 4_000_000


def refuse_tangle(shapely: Any, rings: Iterable[npt.NDArray[np.float64]], most: int, where: str) -> None:
    """Raise a TissueError where the lines of rings, each (n, 2), cross more than `most` times."""
    lines = [np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings if len(ring) > 1]
    if not lines:
        return
    segments = shapely.linestrings(np.concatenate(lines))
    tree, step = shapely.STRtree(segments), max(1, _PAIRS_AT_ONCE // len(segments))
    chunks = [segments[start : start + step] for start in range(0, len(segments), step)]
    # Two lines can only cross where their boxes overlap; a line's box overlaps its own and those of its neighbours.
    for predicate, own in ((None, 3), ("crosses", 0)):
        found = 0
        for chunk in chunks:
            found += tree.query(chunk, predicate=predicate).shape[1] - own * len(chunk)
            if found > 2 * most:
                break
        else:
            return
    raise TissueError(f"{where} more than {most:,} times: nobody draws like that, and it was not read further")
