"""Merge patches that touch into regions with exact outlines.

Everything is in level-0 pixels, with y downwards. The outline is that of the union of the patches' rectangles, for any
overlap: the plane is cut at all their edges, covered cells are marked, and the borders between marked and unmarked
cells are followed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.edge_cells import EdgeCells, Ints
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.points_in_contour import signed_area

MOST_CELLS = 1 << 24
"""Most cells of the plane; if scattered patches need more, their edges are rounded."""


@dataclass(frozen=True)
class Region:
    """Patches that touch along an edge.

    Attributes
    ----------
    rings_l0 : tuple of (n, 2) int64
        Closed rings (the first point is repeated at the end): the outline, then its holes.
    patches : (m,) int64
        Indices of its patches.
    area_px : int
        Area of the union without holes, in level-0 pixels.
    """

    rings_l0: tuple[Ints, ...]
    patches: Ints
    area_px: int


def merge_patches(
    grid: PatchGrid, chosen: npt.NDArray[np.bool_], *, most_cells: int = MOST_CELLS
) -> list[Region]:
    """Return the regions that the chosen patches form, the largest first.

    Patches that touch only at a corner are separate. Outlines are exact, unless the patches are so scattered that their
    edges would cut the plane into more than `most_cells` cells. Edges are then rounded to a 16th of a patch or more.
    """
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return []
    cells = _cut(grid.coords_l0[rows], np.asarray(grid.size_l0), most_cells)
    from scipy.ndimage import label

    marked, count = label(cells.covered())
    labels = np.asarray(marked, dtype=np.int32)
    rings = _rings(labels, cells.x_edges, cells.y_edges)
    owner = labels[cells.y0, cells.x0]
    order = np.argsort(owner, kind="stable")
    members = np.split(rows[order], np.searchsorted(owner[order], np.arange(2, count + 1)))
    found = []
    for number in range(1, count + 1):
        parts = sorted(rings.get(number, []), key=lambda part: -part[0])
        area = sum(part[0] for part in parts)
        found.append(Region(tuple(part[1] for part in parts), members[number - 1], area))
    return sorted(found, key=lambda region: (-region.area_px, tuple(region.rings_l0[0][0])))


def _cut(coords_l0: Ints, size_l0: Ints, most_cells: int) -> EdgeCells:
    """Return the cells of the patches, with edges rounded as far as `most_cells` requires."""
    unit = 1
    while True:
        first = (coords_l0 + unit // 2) // unit * unit
        last = np.maximum((coords_l0 + size_l0 + unit // 2) // unit * unit, first + unit)
        cells = EdgeCells.cut(*first.T, *last.T)
        if len(cells.x_edges) * len(cells.y_edges) <= most_cells:
            return cells
        unit = max(2 * unit, int(size_l0.min()) // 16)


def _rings(labels: npt.NDArray[np.int32], edges_x: Ints, edges_y: Ints) -> dict[int, list[tuple[int, Ints]]]:
    """Return every border ring, as (area, closed points), by the label inside; holes have negative area."""
    starts, ends, turns, owners = _border(labels)
    following = _next_edge(starts, ends, turns)
    width = labels.shape[1] + 1
    rings: dict[int, list[tuple[int, Ints]]] = {}
    waiting = np.ones(len(starts), dtype=bool)
    steps, headings = following.tolist(), turns.tolist()
    for first in range(len(starts)):
        if not waiting[first]:
            continue
        ring, edge = [], first
        while waiting[edge]:
            waiting[edge] = False
            after = steps[edge]
            if headings[after] != headings[edge]:
                ring.append(after)
            edge = after
        corners = starts[np.asarray(ring)]
        points = np.stack((edges_x[corners % width], edges_y[corners // width]), axis=1)
        closed = np.concatenate((points, points[:1]))
        rings.setdefault(int(owners[first]), []).append((int(signed_area(closed)), closed))
    return rings


def _border(labels: npt.NDArray[np.int32]) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the sides of marked cells that face unmarked cells, directed with the marked cell on the right.

    They come as (start, end, heading, label). Points are row * (columns + 1) + column; headings 0 to 3 are +x, +y, -x,
    -y.
    """
    rows, columns = labels.shape
    framed = np.zeros((rows + 2, columns + 2), dtype=bool)
    framed[1:-1, 1:-1] = labels > 0
    inside = framed[1:-1, 1:-1]
    facing = (
        inside & ~framed[:-2, 1:-1],  # top, walked to the right
        inside & ~framed[1:-1, 2:],  # right, down
        inside & ~framed[2:, 1:-1],  # bottom, to the left
        inside & ~framed[1:-1, :-2],  # left, up
    )
    from_to = (((0, 0), (0, 1)), ((0, 1), (1, 1)), ((1, 1), (1, 0)), ((1, 0), (0, 0)))
    parts = []
    for heading, (sides, (start, end)) in enumerate(zip(facing, from_to, strict=True)):
        row, column = np.nonzero(sides)
        points = [(row + dy) * (columns + 1) + column + dx for dy, dx in (start, end)]
        parts.append((*points, np.full(len(row), heading), labels[row, column]))
    starts, ends, turns, owners = (np.concatenate(part).astype(np.int64) for part in zip(*parts, strict=True))
    return starts, ends, turns, owners


def _next_edge(starts: Ints, ends: Ints, turns: Ints) -> Ints:
    """Return which edge follows each edge. Where two marked cells meet at a corner, turn right, to the same cell."""
    order = np.argsort(starts, kind="stable")
    ordered = starts[order]
    first = np.searchsorted(ordered, ends, side="left")
    forked = np.searchsorted(ordered, ends, side="right") - first > 1
    follower = order[first]
    other = order[np.minimum(first + 1, len(order) - 1)]
    wrong = forked & (turns[follower] != (turns + 1) % 4)
    return np.where(wrong, other, follower)
