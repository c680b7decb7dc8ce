"""What a figure shows is true: colours on the map and on its bar, pixels of one patch, uncoloured places."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.slides.write_pyramid import write_pyramid
from mil_heatmaps.visualization.canvas import patch_pixels
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.figure import compose_figure
from mil_heatmaps.visualization.figure_ground import draw_panels, panel_frame, shown_colours, shown_extent, swatches
from mil_heatmaps.visualization.figure_words import FigureText, slide_title
from mil_heatmaps.visualization.heatmap_utils import draw_heatmap, plan_heatmap
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View


@pytest.fixture(scope="module")
def tissue_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 3200 x 3200 px of textured pink."""
    path = tmp_path_factory.mktemp("slides") / "pink.tif"
    noise = np.random.default_rng(0).integers(-12, 12, (3200, 3200, 1))
    write_pyramid(path, (np.array([214, 150, 200]) + noise).astype(np.uint8), downsamples=(1, 4), mpp=0.5)
    return path


def _grid(side: int, count: int) -> PatchGrid:
    y, x = np.mgrid[:count, :count] * side
    return PatchGrid(np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.int64), (side, side), (side, side))


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("rule", [ColourRule("minmax"), ColourRule("minmax", cmap="BrBG_r", center=0.0)])
def test_a_colour_looked_up_on_the_bar_gives_the_score_of_the_patch(
    tissue_slide: Path, rule: ColourRule, blank: bool
) -> None:
    grid = _grid(200, 15)
    scores = np.random.default_rng(1).normal(size=len(grid))
    with open_slide(tissue_slide) as slide:
        drawing = plan_heatmap(scores, grid, slide, View(segment=False, blank_canvas=blank), rule)
        panels = draw_panels(drawing, 640)
    bar = shown_colours(drawing, (np.arange(512) + 0.5) / 512, panels.ground, panels.plain).astype(float)
    first, end = patch_pixels(grid, panels.drawing.frame)
    errors = []
    for (x0, y0), (x1, y1), shade in list(zip(first, end, drawing.shades, strict=True))[:200]:
        colour = panels.heatmap[y0:y1, x0:x1].reshape(-1, 3).mean(axis=0)
        errors.append(abs((np.argmin(((bar - colour) ** 2).sum(axis=1)) + 0.5) / 512 - shade))
    assert np.median(errors) <= 0.02


@pytest.mark.parametrize("downsample", [8.0, 20.0, 37.3, 60.0, 75.0])
def test_a_checkerboard_has_no_mixed_pixel_at_any_downsample(tmp_path: Path, downsample: float) -> None:
    path = tmp_path / "white.tif"
    write_pyramid(path, np.full((2560, 2560, 3), 255, np.uint8), downsamples=(1, 8), mpp=0.5)
    grid = _grid(256, 10)
    scores = ((grid.coords_l0 // 256).sum(axis=1) % 2).astype(float)
    picture = np.asarray(
        draw_heatmap(scores, grid, path, cmap="gray", normalize="minmax", alpha=1, segment=False, downsample=downsample)
    )
    assert np.isin(picture, (0, 255)).all()
    x = ((np.arange(picture.shape[1]) + 0.5) * 2560 / picture.shape[1] // 256).astype(int)
    np.testing.assert_array_equal(picture[0, :, 0] == 255, x % 2 == 1)


def test_a_region_is_averaged_to_any_scale_as_the_whole_slide_is(tissue_slide: Path) -> None:
    grid = _grid(200, 16)
    with open_slide(tissue_slide) as slide:
        view = View(0, segment=False, top_left=(400, 800), bot_right=(2000, 2400))
        drawing = plan_heatmap(np.arange(256.0), grid, slide, view)
        frame = panel_frame(drawing, 320)
        assert (frame.size_px, frame.corner_l0, frame.by_centres) == ((320, 320), (400, 800), True)
        region = draw_panels(drawing, 320).slide
        whole = draw_panels(replace(drawing, frame=View(segment=False).frame(slide)), 640).slide
    np.testing.assert_allclose(region, whole[160:480, 80:400], atol=1)


def test_every_uncoloured_place_is_named_and_counted(tissue_slide: Path) -> None:
    grid = _grid(200, 8)  # a quarter of the slide
    scores = np.arange(64.0)
    scores[5] = np.nan
    ring = np.array([[0, 0], [3199, 0], [3199, 3199], [0, 3199]], np.int32)[:, None]
    with TissueSlide(tissue_slide) as slide:
        slide.tissue = TissueMask((ring,), ((),))
        drawing = plan_heatmap(scores, grid, slide, View(), ColourRule("minmax", threshold=0.5))
        words = [said for _, said in swatches(draw_panels(drawing, 320), unreadable=2)]
    assert words == [
        "tissue without a patch (75% of the tissue)", "score not finite (1 of 64 patches)",
        "below the threshold of 31.5 (31 of 64 patches)", "tile unreadable (2 tiles)",
    ]  # fmt: skip


def test_what_lies_outside_an_outline_is_told_from_tissue_without_a_patch(tissue_slide: Path) -> None:
    grid = _grid(200, 16)
    ring = np.array([[0, 0], [3199, 0], [3199, 3199], [0, 3199]], np.int32)[:, None]
    half = np.array([[0, 0], [1600, 0], [1600, 3200], [0, 3200]], np.int32)[:, None]
    with TissueSlide(tissue_slide) as slide:
        slide.tissue = TissueMask((ring,), ((),))
        view = View(0, top_left=(0, 0), bot_right=(3200, 3200), outlines=TissueMask((half,), ((),)))
        panels = draw_panels(plan_heatmap(np.arange(256.0), grid, slide, view), 320)
    assert panels.without_patch == pytest.approx(0, abs=0.01)
    assert panels.outside_region == pytest.approx(0.5, abs=0.01)


def test_patches_of_an_outline_are_whole_also_where_they_leave_its_box(tissue_slide: Path) -> None:
    grid = _grid(200, 16)
    ring = np.array([[310, 310], [730, 310], [730, 730], [310, 730]], np.int32)[:, None]  # centres of 2 x 2 patches
    with TissueSlide(tissue_slide) as slide:
        view = View(0, top_left=(310, 310), bot_right=(730, 730), outlines=TissueMask((ring,), ((),)), segment=False)
        drawing = plan_heatmap(np.arange(256.0), grid, slide, view)
        assert len(drawing.grid) == 9 - 5
        frame = drawing.frame
    low, high = drawing.grid.coords_l0.min(0), drawing.grid.coords_l0.max(0) + drawing.grid.size_l0
    assert frame.corner_l0 == tuple(np.minimum(low, 310))
    assert frame.size_px == tuple(np.maximum(high, 730) - frame.corner_l0)


@pytest.mark.parametrize(("scores", "code"), [([0.1, 0.2, 0.3], "one_sign"), ([-0.1, 0.2, 0.3], None)])
def test_scores_of_one_sign_are_noted_for_signed_kinds_alone(
    tissue_slide: Path, scores: list[float], code: Any
) -> None:
    grid = _grid(200, 2).take(np.arange(3))
    with open_slide(tissue_slide) as slide:
        for kind, expected in (("class_contribution", code), ("attention_logit", None)):
            drawing = plan_heatmap(scores, grid, slide, View(segment=False), ColourRule.for_kind(kind))
            assert [note.code for note in drawing.notes] == ([expected] if expected else [])


def test_of_a_slide_that_was_scanned_in_part_that_part_is_shown(
    tissue_slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = (400, 800, 1600, 1200)
    monkeypatch.setattr(Slide, "space", lambda self, *_: SlideSpace(self.dimensions_l0, area))
    inside = PatchGrid(np.array([[400, 800], [1800, 1800]], np.int64), (200, 200), (200, 200))
    with open_slide(tissue_slide) as slide:
        drawing = plan_heatmap([1.0, 2.0], inside, slide, View(segment=False))
        panels = draw_panels(drawing, 400)
        assert shown_extent(drawing) == ((400, 800), (1600.0, 1200.0))
        assert (panels.drawing.frame.corner_l0, panels.slide.shape) == ((400, 800), (300, 400, 3))
        assert (panels.heatmap[:50, :50] != panels.slide[:50, :50]).any(axis=2).all()
        assert slide_title(drawing) == "slide, the area that was scanned"
        beyond = plan_heatmap([1.0, 2.0], _grid(200, 2).take(np.arange(2)), slide, View(segment=False))
        assert shown_extent(beyond) == ((0, 0), (3200.0, 3200.0))
        assert slide_title(beyond) == "slide"
        region = View(0, segment=False, top_left=(0, 0), bot_right=(800, 800))
        assert shown_extent(plan_heatmap([1.0, 2.0], inside, slide, region)) == ((0, 0), (800.0, 800.0))


def test_the_swatch_of_bare_tissue_on_white_has_its_box(tissue_slide: Path) -> None:
    tissue = TissueMask((np.array([[0, 0], [3200, 0], [3200, 3200], [0, 3200]], np.int32)[:, None],), ((),))
    with TissueSlide(open_slide(tissue_slide)) as slide:
        slide.tissue = tissue
        grid = _grid(200, 8)
        drawing = plan_heatmap(np.arange(64.0), grid, slide, View(blank_canvas=True))
        page = compose_figure(drawing, np.arange(64.0), FigureText(), legend=True)
    boxes = [patch for patch in page.figure.artists + page.figure.patches if isinstance(patch, Rectangle)]
    assert [box.get_facecolor() for box in boxes if box.get_linewidth() == 0.6] == [(1.0, 1.0, 1.0, 1.0)]
