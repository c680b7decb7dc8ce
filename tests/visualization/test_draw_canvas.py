"""The compressed grid and the tissue raster equal plain pixel-by-pixel drawing."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization import canvas as canvas_module
from mil_heatmaps.visualization.canvas import PatchCanvas
from mil_heatmaps.visualization.drawing import CellLayer
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.tissue_raster import TissueRaster


def _plain(canvas: PatchCanvas) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Add every patch to every pixel, as CLAM does."""
    width, height = canvas.picture_px
    total, count = np.zeros((height, width)), np.zeros((height, width))
    covered = np.zeros((height, width), bool)
    for (x, y), value in zip(canvas.corners_px, canvas.shades, strict=True):
        place = (
            slice(max(y, 0), max(y + canvas.size_px[1], 0)),
            slice(max(x, 0), max(x + canvas.size_px[0], 0)),
        )
        shown = value >= canvas.floor
        total[place] += (1.0 if canvas.binary else value) if shown else 0.0
        count[place] += 1
        covered[place] |= shown
    mean = np.divide(total, count, out=total, where=count > 0)
    return (np.rint(mean) if canvas.binary else mean), covered


def _expanded(canvas: PatchCanvas, rows: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    width, height = canvas.picture_px
    mean, covered = np.zeros((height, width)), np.zeros((height, width), bool)
    for y0 in range(0, height, rows):
        cells = canvas.cells(y0, min(y0 + rows, height))
        for i, top in enumerate(cells.y_edges[:-1]):
            for j, left in enumerate(cells.x_edges[:-1]):
                place = slice(top, cells.y_edges[i + 1]), slice(left, cells.x_edges[j + 1])
                mean[place], covered[place] = cells.mean[i, j], cells.covered[i, j]
    return mean, covered


@pytest.mark.parametrize("rows", [7, 16, 1000])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("lattice", [True, False])
def test_cells_equal_adding_every_patch_to_every_pixel(lattice: bool, binary: bool, rows: int) -> None:
    generator = np.random.default_rng(3)
    corners = generator.integers(-20, 90, (150, 2))
    if lattice:
        corners = corners // 6 * 6
    canvas = PatchCanvas(
        corners.astype(np.int64), (12, 17), generator.normal(0.4, 0.5, 150), (80, 70),
        floor=0.5 if binary else 0.0, binary=binary,
    )  # fmt: skip
    mean, covered = _expanded(canvas, rows)
    plain_mean, plain_covered = _plain(canvas)
    np.testing.assert_array_equal(mean, plain_mean)  # to the last bit: the same sums in the same order
    np.testing.assert_array_equal(covered, plain_covered)


def test_sums_do_not_depend_on_how_many_patches_are_added_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    corners = generator.permutation(np.stack(np.meshgrid(np.arange(0, 90, 6), np.arange(0, 90, 6)), -1).reshape(-1, 2))
    ends = corners + generator.integers(0, 3, corners.shape) * 6  # some hold no pixel
    canvas = PatchCanvas(corners, (12, 12), generator.normal(size=len(corners)), (80, 70), ends_px=ends, floor=-np.inf)
    whole = canvas.cells(3, 70)
    monkeypatch.setattr(canvas_module, "_PAIRS_AT_ONCE", 40)
    parts = canvas.cells(3, 70)
    np.testing.assert_array_equal(parts.mean, whole.mean)
    np.testing.assert_array_equal(parts.covered, whole.covered)
    seen = np.zeros((70, 80), np.int64)
    for (x0, y0), (x1, y1) in zip(corners, ends, strict=True):
        seen[y0:y1, x0:x1] += 1
    places = np.ix_(whole.y_edges[:-1], whole.x_edges[:-1])
    np.testing.assert_array_equal(whole.covered, seen[places] > 0)


@pytest.mark.parametrize(("y0", "y1"), [(0, 30), (4, 9), (11, 40)])
def test_rows_of_cells_become_the_pixels_between_their_edges(y0: int, y1: int) -> None:
    generator = np.random.default_rng(7)
    corners = generator.integers(-5, 50, (60, 2))
    canvas = PatchCanvas(corners, (7, 4), generator.random(60), (64, 40))
    table = generator.integers(0, 256, (510, 3), dtype=np.uint8)
    cells = canvas.cells(y0, y1)
    layer = CellLayer(cells, cells.covered, table, y0, y1, 64)
    mean, covered = _expanded(canvas, 40)
    covered = covered[y0:y1]
    for x0, x1 in [(0, 64), (0, 5), (30, 31), (50, 64)]:
        np.testing.assert_array_equal(layer.painted(x0, x1), covered[:, x0:x1])
        assert layer.covers(x0, x1) == covered[:, x0:x1].all()
        colours = table[np.minimum((mean[y0:y1] * 510).astype(int), 509)]
        where = covered[:, x0:x1]
        np.testing.assert_array_equal(layer.colours(x0, x1)[where], colours[:, x0:x1][where])


def test_only_columns_under_patches_are_covered() -> None:
    cells = PatchCanvas(np.array([[2, -1], [20, -1]]), (18, 32), np.ones(2), (64, 30)).cells(0, 30)
    layer = CellLayer(cells, cells.covered, np.zeros((256, 3), np.uint8), 0, 30, 64)
    assert all(layer.covers(*columns) for columns in [(2, 38), (5, 6)])
    assert not any(layer.covers(*columns) for columns in [(1, 38), (2, 39), (0, 64)])


def test_patches_outside_the_picture_cover_nothing() -> None:
    canvas = PatchCanvas(np.array([[-50, 3], [500, 3]]), (10, 10), np.ones(2), (40, 30))
    assert not canvas.cells(0, 30).covered.any()


def _random_mask(seed: int, long_edges: bool) -> TissueMask:
    generator = np.random.default_rng(seed)
    pieces, holes = [], []
    for _ in range(3):
        centre, radius = generator.integers(100, 700, 2), generator.integers(60, 300)
        angles = np.sort(generator.uniform(0, 2 * np.pi, 5 if long_edges else 300))
        circle = np.stack((np.cos(angles), np.sin(angles)), axis=1) * generator.uniform(
            0.4, 1, (len(angles), 1)
        )
        pieces.append((centre + circle * radius).astype(np.int32)[:, None])
        holes.append(((centre + circle * radius / 3).astype(np.int32)[:, None],))
    return TissueMask(tuple(pieces), tuple(holes))


@pytest.mark.parametrize("long_edges", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_tissue_bands_equal_the_whole_mask(seed: int, long_edges: bool) -> None:
    mask = _random_mask(seed, long_edges)
    frame = Frame(0, (700, 650), (1.25, 1.25), corner_l0=(40, 60), whole=False)
    raster = TissueRaster(mask, frame)
    whole = np.zeros((650, 700), np.uint8)
    scaled = mask.scaled(frame.scale)
    order = sorted(range(3), key=lambda i: cv2.contourArea(scaled.contours_l0[i]), reverse=True)
    for i in order:
        cv2.drawContours(whole, scaled.contours_l0[i : i + 1], 0, 1, cv2.FILLED, offset=(-32, -48))
        cv2.drawContours(whole, list(scaled.holes_l0[i]), -1, 0, cv2.FILLED, offset=(-32, -48))
    np.testing.assert_array_equal(raster.rows(0, 650), whole)
    for y0 in range(0, 650, 37):
        np.testing.assert_array_equal(raster.rows(y0, min(y0 + 37, 650)), whole[y0 : y0 + 37])
