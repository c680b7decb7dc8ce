"""What squares say of a patch without its pixels is what its pixels say."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.tissue_raster import TissueRaster

Ints = npt.NDArray[np.int64]


def rectangle(left: int, top: int, right: int, bottom: int) -> npt.NDArray[np.int32]:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)[:, None]


def outline(rng: np.random.Generator, reach: int) -> npt.NDArray[np.int32]:
    """Return a walk from pixel to pixel, or a few points anywhere, whose edges may cross one another."""
    if rng.random() < 0.3:
        points = rng.integers(-1, 2, (300, 2)).cumsum(axis=0)
    else:
        points = rng.integers(-1, 2, (int(rng.choice([1, 2, 3, 6, 40])), 2)) * int(rng.choice([1, 5, 40, 300, 700]))
        points += rng.integers(-3, 4, points.shape)
    return np.asarray(points + rng.integers(-20, reach + 20, 2), np.int32)[:, None]


@pytest.mark.parametrize("seed", range(4))
def test_what_the_squares_decide_is_what_the_pixels_show(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        width, height = (int(side) for side in rng.integers(20, 900, 2))
        pieces = [outline(rng, max(width, height)) for _ in range(rng.integers(1, 6))]
        holes = [tuple(outline(rng, max(width, height)) for _ in range(rng.integers(3))) for _ in pieces]
        corner = tuple(rng.integers(-30, 60, 2).tolist()) if rng.random() < 0.4 else (0, 0)
        raster = TissueRaster(
            TissueMask(tuple(pieces), tuple(holes)), Frame(0, (width, height), (1.0, 1.0), corner_l0=corner)
        )
        count, side = int(rng.choice([30, 400, 3000])), int(rng.choice([1, 2, 5, 16, 64, 200]))
        x0, y0 = rng.integers(0, (width, height), (count, 2)).T
        x1, y1 = np.minimum(np.stack([x0, y0]) + rng.integers(1, side + 1, (2, count)), [[width], [height]])
        squares, pixels = raster.squares(count, side), raster.rows(0, height)
        sums = cv2.integral(pixels)
        has_tissue = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0

        middles = squares.tissue_at(x0 + x1, y0 + y1)
        assert (pixels[(y0 + y1 >> 1)[middles], (x0 + x1 >> 1)[middles]] == 1).all()
        undecided, without = squares.undecided(x0, y0, x1, y1)
        decided = np.ones(count, np.bool_)
        decided[undecided] = False
        assert without == (decided & ~has_tissue).sum()


@pytest.mark.parametrize("corner", [(40, 40), (40, 99), (99, 40), (99, 99)])
def test_a_corner_that_a_hole_empties_again_is_no_tissue(corner: tuple[int, int]) -> None:
    piece, hole = rectangle(40, 40, 99, 99), rectangle(39, 39, 100, 100)
    frame = Frame(0, (200, 200), (1.0, 1.0))
    x, y = (np.array([at]) for at in corner)
    for holes in ((), (hole,)):
        squares = TissueRaster(TissueMask((piece,), (holes,)), frame).squares(1, 4)
        undecided, without = squares.undecided(x, y, x + 1, y + 1)
        assert without == 0
        assert len(undecided) == len(holes), "with the hole, its pixel decides"
