"""Scores that are not seen: which patches have no coloured pixel, why, and what is said of them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.canvas import PatchCanvas, patch_pixels
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.coverage import Coverage, Uncoloured
from mil_heatmaps.visualization.drawing import Drawing, Painter
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.heatmap_utils import draw_heatmap, plan_heatmap
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.tissue_raster import TissueRaster
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View


def ring(x: int, y: int, width: int, height: int) -> npt.NDArray[np.int32]:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.int32)[:, None]


def blob(x: int, y: int, radius: int, points: int) -> npt.NDArray[np.int32]:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    reach = radius * (1 + 0.3 * np.sin(7 * angle))
    return np.stack((x + reach * np.cos(angle), y + reach * np.sin(angle)), axis=1).astype(np.int32)[:, None]


# A large piece with a hole in which a small piece lies, a speck smaller than a pixel of a coarse level, a corner.
TISSUE = TissueMask(
    (blob(900, 700, 500, 4000), blob(900, 700, 60, 40), ring(1801, 103, 3, 2), ring(0, 1400, 130, 130)),
    ((ring(700, 450, 400, 500),), (), (), ()),
)


def drawn(slide: Slide, coords: Any, size: int, view: View, colours: ColourRule | None = None) -> Drawing:
    """Return a drawing of the patches with scores from 0 to 1 over TISSUE."""
    grid = PatchGrid(np.asarray(coords, np.int64).reshape(-1, 2), (size, size), (size, size))
    wsi = TissueSlide(slide)
    wsi.tissue = TISSUE
    return plan_heatmap(np.linspace(0, 1, len(grid)), grid, wsi, view, colours or ColourRule("none"))


def watched(drawing: Drawing) -> Uncoloured:
    """Return what painting saw, which must be what looking without painting sees."""
    painting, looking = Painter(drawing, watch=True), Painter(drawing, watch=True)
    draw(drawing, painter=painting, threads=3)
    looking.look()
    assert painting.uncoloured() == looking.uncoloured()
    return painting.uncoloured()


def seen_by_pixels(drawing: Drawing) -> npt.NDArray[np.bool_]:
    """Return (N,) which patches have a coloured pixel, pixel by pixel."""
    painter, (width, height) = Painter(drawing), drawing.size_px
    band = painter.band(0, height)
    painted = None if band is None else band.painted(0, width)
    corners, ends = patch_pixels(drawing.grid, drawing.frame)
    if painted is None:
        return np.zeros(len(corners), np.bool_)
    boxes = np.maximum(np.hstack([corners, ends]), 0).tolist()
    return np.array([painted[y0:y1, x0:x1].any() for x0, y0, x1, y1 in boxes])


@pytest.mark.parametrize(
    ("view", "colours"),
    [
        (View(0), ColourRule("none")),
        (View(2), ColourRule("none", smooth="bilinear")),
        (View(2), ColourRule("none", blur=True, compat="clam")),
        (View(downsample=50.0), ColourRule("none")),
        (View(1, use_holes=False), ColourRule("none")),
        (View(1, segment=False), ColourRule("none")),
        (View(1, top_left=(300, 200), bot_right=(1500, 1300), reaching=True), ColourRule("none")),
    ],
    ids=["level 0", "smooth", "blurred", "averaged", "no holes", "whole patches", "region"],
)
@pytest.mark.parametrize("size", [9, 40, 250])
def test_patches_are_counted_as_the_pixels_show_them(
    tiny_slide: Path, size: int, view: View, colours: ColourRule
) -> None:
    coords = np.random.default_rng(size).integers(-300, 2400, (600, 2))  # overlapping, and beyond the slide
    with open_slide(tiny_slide) as slide:
        drawing = drawn(slide, coords, size, view, colours)
        found = watched(drawing)
        assert found.patches == len(drawing.grid)
        assert found.total == (~seen_by_pixels(drawing)).sum()


def test_each_patch_counts_for_one_reason(tiny_slide: Path) -> None:
    coords = [
        [900, 250],  # on tissue
        [720, 470],  # in the hole
        [1500, 1100],  # on glass
        [-100, 1400],  # on the slide by 28 pixels, which are tissue
        [-500, 0], [9000, 700], [2048, 0],  # beside the slide
    ]  # fmt: skip
    with open_slide(tiny_slide) as slide:
        found = watched(drawn(slide, coords, 128, View(0)))
        assert slide.dimensions_l0 == (2048, 1536)
    assert found == Uncoloured(7, outside_tissue=2, outside_slide=3, outside_picture=0)
    notice = found.notice()
    assert notice is not None
    assert notice.startswith("5 of 7 patches are not coloured: 2 outside the tissue, 3 outside the slide (possible ")
    assert dict(notice.counts) == {"uncoloured": 5, "patches": 7, "outside_tissue": 2, "outside_slide": 3}


def test_a_patch_that_rounding_moves_off_the_picture_is_on_the_slide(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        found = watched(drawn(slide, [[2047, 0], [0, 1400]], 20, View(downsample=16.0)))
    assert found == Uncoloured(2, outside_picture=1)


def test_patches_left_out_on_purpose_are_not_counted(tiny_slide: Path) -> None:
    coords = np.array([[1500, 1100]] * 10 + [[900, 250]])  # ten on glass, scores from 0 to 1
    with open_slide(tiny_slide) as slide:
        assert watched(drawn(slide, coords, 128, View(0))).total == 10
        assert watched(drawn(slide, coords, 128, View(0), ColourRule("none", threshold=0.75))).total == 2
        assert watched(drawn(slide, coords, 128, View(0), ColourRule("none", binarize=True, thresh=0.85))).total == 1
        assert watched(drawn(slide, coords, 128, View(0), ColourRule("none", alpha=0.0))).total == 0
        region = View(0, top_left=(800, 200), bot_right=(1000, 400))
        assert watched(drawn(slide, coords, 128, region)) == Uncoloured(1)


def test_a_score_whose_mean_stays_below_the_threshold_is_not_outside_the_tissue(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        drawing = drawn(slide, [[900, 250], [900, 250], [900, 250]], 128, View(0), ColourRule("none", threshold=0.9))
        assert not seen_by_pixels(drawing).any()
        assert watched(drawing).total == 0


def test_scores_that_are_no_numbers_are_no_uncoloured_patches(tiny_slide: Path) -> None:
    wsi = TissueSlide(tiny_slide)
    wsi.tissue = TISSUE
    coords = [[1500, 1100], [900, 250], [900, 380]]
    notes = draw_heatmap([np.nan, 1.0, 2.0], coords, wsi_object=wsi, patch_size=128, vis_level=0).info["notes"]
    wsi.close()
    assert notes == ["1 of 3 scores are NaN or infinite and drawn as uncovered"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Uncoloured(6, 2), "2 of 6 patches are not coloured: 2 outside the tissue"),
        (Uncoloured(6, 0, 0, 1), "1 of 6 patches is not coloured: 1 outside the picture"),
        (Uncoloured(7, 1, 1, 1), "3 of 7 patches are not coloured: 1 outside the tissue, 1 outside the slide, "
                                 "1 outside the picture"),
        (Uncoloured(4, 2), "2 of 4 patches are not coloured: 2 outside the tissue (possible causes: the segmentation, "
                           "the patch size, the frame or the units of the coordinates)"),
        (Uncoloured(4), None),
    ],
)  # fmt: skip
def test_the_notice_says_how_many_and_why(found: Uncoloured, words: str | None) -> None:
    assert found.notice() == words


@pytest.mark.parametrize("seed", range(10))
def test_every_patch_with_a_pixel_of_tissue_is_seen_whatever_the_bands(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(100, 1500, 2))
    downsample = float(rng.choice([1, 2, 3.7, 8, 16]))
    size_px = max(1, int(width / downsample)), max(1, int(height / downsample))
    frame = Frame(0, size_px, (width / size_px[0], height / size_px[1]), by_centres=bool(seed % 2))
    outlines = [
        blob(*rng.integers(0, 1500, 2).tolist(), int(rng.integers(5, 500)), int(rng.choice([3, 40, 300])))
        for _ in range(3)
    ]
    raster = TissueRaster(TissueMask(tuple(outlines), ((ring(300, 300, 200, 90),), (), ())), frame)
    size = int(rng.choice([8, 20, 64, 200, 512]))
    count = int(rng.integers(1, 60))
    coords = rng.integers(-2 * size, 1500, (count, 2))
    corners, ends = patch_pixels(PatchGrid(coords, (size, size), (size, size)), frame)
    wide, high = (ends - corners).max(axis=0).tolist()
    coverage = Coverage(
        PatchCanvas(corners, (wide, high), np.ones(count), size_px, ends_px=ends), np.ones(count, np.bool_), raster
    )
    bands = [(y0, min(y0 + 16, size_px[1])) for y0 in range(0, size_px[1], 16)]
    for y0, y1 in rng.permutation(bands).tolist():
        if coverage.waits(y0, y1):
            coverage.look(raster.rows(y0, y1), y0)
    whole = np.vstack([raster.rows(*band) for band in bands])
    boxes = np.hstack([np.maximum(corners, 0), np.minimum(ends, size_px)]).tolist()
    unseen = sum(x0 < x1 and y0 < y1 and not whole[y0:y1, x0:x1].any() for x0, y0, x1, y1 in boxes)
    grid = PatchGrid(coords, (size, size), (size, size))
    assert coverage.uncoloured(grid, (width, height), whole=True).outside_tissue == unseen


@pytest.mark.parametrize("seed", range(12))
def test_outlines_that_cross_themselves_and_patches_at_the_border_are_decided_as_by_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(5, 900, 2))
    frame = Frame(0, (width, height), (1.0, 1.0), corner_l0=tuple(rng.integers(-40, 40, 2).tolist()))

    def outline() -> npt.NDArray[np.int32]:
        walk = rng.integers(-1, 2, (300, 2)).cumsum(axis=0) * int(rng.choice([1, 4, 32]))
        knot = rng.integers(-900, 900, (int(rng.integers(1, 12)), 2))
        return np.asarray((walk, knot)[rng.integers(2)] + rng.integers(0, 900, 2), np.int32)[:, None]

    outlines = tuple(outline() for _ in range(rng.integers(6)))
    raster = TissueRaster(TissueMask(outlines, tuple((outline(),) for _ in outlines)), frame)
    size = rng.choice([1, 2, 5, 33, 200], 2)
    corners = rng.integers(-size - 3, (width + 4, height + 4), (300, 2))
    ends = corners + size - rng.integers(0, 2, (300, 2))  # sizes differ by a pixel, as by rounding
    canvas = PatchCanvas(corners, (int(size[0]), int(size[1])), np.ones(300), (width, height), ends_px=ends)
    coverage, whole = Coverage(canvas, np.ones(300, np.bool_), raster), raster.rows(0, height)
    for y0 in range(0, height, 16):
        coverage.look(raster.rows(y0, min(y0 + 16, height)), y0)
    boxes = np.hstack([np.maximum(corners, 0), np.minimum(ends, (width, height))]).tolist()
    shown = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes if x0 < x1 and y0 < y1]
    found = coverage.uncoloured(PatchGrid(corners, (1, 1), (1, 1)), (width, height), whole=True)
    assert found.outside_tissue == sum(not whole[y0:y1, x0:x1].any() for x0, y0, x1, y1 in shown)
    assert found.total == found.outside_tissue + 300 - len(shown)


def test_a_look_that_is_late_takes_nothing_back() -> None:
    frame = Frame(0, (100, 100), (1.0, 1.0))
    raster = TissueRaster(TissueMask((ring(0, 0, 100, 9),), ((),)), frame)
    corners = np.array([[x, 0] for x in range(0, 90, 10)])
    coverage = Coverage(PatchCanvas(corners, (10, 40), np.ones(9), (100, 100)), np.ones(9, np.bool_), raster)
    for y0, y1 in ((0, 20), (20, 40)):  # the second band holds none of the tissue that the first one shows
        coverage.look(raster.rows(y0, y1), y0)
    assert not coverage.waits(0, 100)
    assert coverage.uncoloured(PatchGrid(corners, (10, 40), (10, 40)), (100, 100), whole=True).total == 0


def test_a_patch_that_ends_where_a_band_begins_is_not_looked_at_there() -> None:
    frame = Frame(0, (100, 100), (1.0, 1.0))
    raster = TissueRaster(TissueMask((ring(32, 5, 30, 40),), ((),)), frame)
    corners, ends = np.array([[20, 10], [40, 10]]), np.array([[29, 19], [50, 20]])  # a pixel apart in height
    coverage = Coverage(PatchCanvas(corners, (10, 10), np.ones(2), (100, 100), ends_px=ends), np.ones(2, bool), raster)
    for y0, y1 in ((0, 19), (19, 60), (60, 100)):
        coverage.look(raster.rows(y0, y1), y0)
    grid = PatchGrid(corners, (10, 10), (10, 10))
    assert coverage.uncoloured(grid, (100, 100), whole=True) == Uncoloured(2, outside_tissue=1)
