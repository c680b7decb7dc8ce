"""The cells between all edges hold what pixels would."""

import numpy as np
import pytest

from mil_heatmaps.slides.edge_cells import EdgeCells


@pytest.mark.parametrize("seed", range(4))
def test_covered_cells_are_the_painted_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, top = rng.integers(0, 60, (2, 25))
    right, bottom = left + rng.integers(1, 15, 25), top + rng.integers(1, 15, 25)
    pixels = np.zeros((80, 80), bool)
    for x0, y0, x1, y1 in zip(left, top, right, bottom, strict=True):
        pixels[y0:y1, x0:x1] = True
    cells = EdgeCells.cut(left, top, right, bottom)
    painted = np.zeros_like(pixels)
    widths, heights = np.diff(cells.x_edges), np.diff(cells.y_edges)
    inside = np.ix_(range(cells.y_edges[0], cells.y_edges[-1]), range(cells.x_edges[0], cells.x_edges[-1]))
    painted[inside] = np.repeat(np.repeat(cells.covered(), heights, axis=0), widths, axis=1)
    np.testing.assert_array_equal(painted, pixels)
    np.testing.assert_array_equal(cells.x_edges[cells.x0], left)
    np.testing.assert_array_equal(cells.y_edges[cells.y1], bottom)


def test_rectangles_far_apart_are_cut_as_those_close_together() -> None:
    left, top = np.random.default_rng(5).integers(0, 60, (2, 25))
    near = EdgeCells.cut(left, top, left + 9, top + 7)
    left[7] += 10**12  # no memory is taken for what lies between
    far = EdgeCells.cut(left, top, left + 9, top + 7)
    for side in ("y_edges", "y0", "y1"):
        np.testing.assert_array_equal(getattr(far, side), getattr(near, side))
    np.testing.assert_array_equal(far.x_edges[far.x0], left)
    np.testing.assert_array_equal(far.x_edges[far.x1], left + 9)


def test_no_rectangles_make_no_cells() -> None:
    none = np.empty(0, np.int64)
    cells = EdgeCells.cut(none, none, none, none)
    assert cells.shape == (0, 0)
    assert cells.covered().shape == (0, 0)
