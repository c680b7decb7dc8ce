"""Which points of a regular lattice lie inside a contour, exactly and all at once; the area of a contour.

The result equals OpenCV's `pointPolygonTest` for every point: the even-odd rule, with the border as a separate case.
OpenCV walks the whole contour for every point; this module walks it once for all points.

Coordinates are in half pixels, so that patch centres on half pixels are whole numbers. No step rounds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Inside = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


def signed_area(ring: npt.NDArray[Any]) -> float:
    """Return the area of a closed ring (n, 2); its sign tells which way round it runs."""
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


@dataclass(frozen=True)
class Axis:
    """`count` numbers, beginning at `start`, with distance `step`."""

    start: int
    step: int
    count: int

    def first_at_or_after(self, values: Integers) -> Integers:
        """Return the index, from 0 to `count`, of the first number not below each value."""
        return np.clip(-((self.start - values) // self.step), 0, self.count)

    def shifted(self, by: int) -> "Axis":
        """Return the axis moved by `by`."""
        return Axis(self.start + by, self.step, self.count)

    def index_of(self, values: Integers) -> Integers:
        """Return the index of each value; -1 for values that are not on the axis."""
        index, rest = np.divmod(values - self.start, self.step)
        return np.where((rest == 0) & (index >= 0) & (index < self.count), index, -1)


@dataclass(frozen=True)
class Edges:
    """The edges of a closed contour from (x0, y0) to (x1, y1), in half pixels."""

    x0: Integers
    y0: Integers
    x1: Integers
    y1: Integers

    @classmethod
    def of(cls, contour: npt.NDArray[np.int32]) -> "Edges":
        """Return the edges of an OpenCV contour (n, 1, 2), including the closing edge."""
        points = contour.reshape(-1, 2).astype(np.int64) * 2
        x1, y1 = points[:, 0], points[:, 1]
        return cls(np.roll(x1, 1), np.roll(y1, 1), x1, y1)


def classify_lattice(edges: Edges, xs: Axis, ys: Axis) -> tuple[Inside, Inside]:
    """Return (strictly inside, on the border), each (ys.count, xs.count), for the points of a lattice."""
    crossings, touching = _cross(edges, xs, ys)
    border = touching | _on_level_edges(edges, xs, ys)
    return crossings & ~border, border


def _cross(edges: Edges, xs: Axis, ys: Axis) -> tuple[Inside, Inside]:
    """Intersect edges with lattice rows; return (odd number of crossings to the right, an edge through the point)."""
    low, high = np.minimum(edges.y0, edges.y1), np.maximum(edges.y0, edges.y1)
    # An edge includes its lower end but not its upper end, so that a corner counts once.
    first, stop = ys.first_at_or_after(low), ys.first_at_or_after(high)
    counts = stop - first
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    x0, y0 = edges.x0[edge], edges.y0[edge]
    rise = edges.y1[edge] - y0
    run = (ys.start + row * ys.step - y0) * (edges.x1[edge] - x0)
    x_below, rest = np.divmod(run, rise)  # rounds down for any signs
    x_below += x0

    # A crossing flips all points to its left. Sums of flips wrap at 256, which does not change odd or even.
    first_unflipped = xs.first_at_or_after(x_below + (rest != 0))
    flips = np.bincount(row * (xs.count + 1) + first_unflipped, minlength=ys.count * (xs.count + 1))
    by_row = flips.astype(np.uint8).reshape(ys.count, xs.count + 1)
    left_of = np.cumsum(by_row[:, :0:-1], axis=1, dtype=np.uint8)[:, ::-1]
    odd = (left_of & 1).astype(bool)

    touching = np.zeros((ys.count, xs.count), bool)
    column = np.where(rest == 0, xs.index_of(x_below), -1)
    hit = column >= 0
    touching[row[hit], column[hit]] = True
    return odd, touching


def _on_level_edges(edges: Edges, xs: Axis, ys: Axis) -> Inside:
    """Mark the points on corners and horizontal edges, which `_cross` does not fully detect."""
    on = np.zeros((ys.count, xs.count), bool)
    row, column = ys.index_of(edges.y1), xs.index_of(edges.x1)
    corner = (row >= 0) & (column >= 0)
    on[row[corner], column[corner]] = True

    level = (row >= 0) & (edges.y0 == edges.y1)
    if level.any():
        left = xs.first_at_or_after(np.minimum(edges.x0, edges.x1)[level])
        right = xs.first_at_or_after(np.maximum(edges.x0, edges.x1)[level] + 1)
        starts_ends = np.zeros((ys.count, xs.count + 1), np.int32)
        np.add.at(starts_ends, (row[level], left), 1)
        np.add.at(starts_ends, (row[level], right), -1)
        on |= np.cumsum(starts_ends, axis=1)[:, :-1] > 0
    return on
