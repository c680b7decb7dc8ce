"""What a view and a colour rule make of scores: the plan of a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.scores.patch_scores import SIGNED_KINDS, PatchScores
from mil_heatmaps.scores.percentiles import reference_percentiles
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.heatmap_utils import draw_heatmap, plan_heatmap, with_options
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.slide_heatmap import SlideHeatmap
from mil_heatmaps.visualization.view import View


def grid_of(size: tuple[int, int], step: tuple[int, int]) -> PatchGrid:
    x, y = np.meshgrid(np.arange(0, 1800, step[0]), np.arange(0, 1300, step[1]))
    return PatchGrid(np.stack((x.ravel(), y.ravel()), axis=1).astype(np.int64), size, step)


@pytest.mark.parametrize(
    ("size", "step", "kernel"),
    [((1000, 1000), (333, 333), 167), ((768, 768), (256, 256), 129), ((512, 256), (256, 256), 129)],
)
def test_the_step_of_a_grid_is_that_of_its_picture(
    tiny_slide: Path, size: tuple[int, int], step: tuple[int, int], kernel: int
) -> None:
    grid = grid_of(size, step)
    assert grid.overlap == 1 - step[0] / size[0]
    with open_slide(tiny_slide) as slide:
        drawing = plan_heatmap(
            np.arange(len(grid)), grid, slide, View(1, segment=False), ColourRule(blur=True, compat="clam")
        )
    assert drawing.grid is grid
    assert drawing.blur_px == (kernel, kernel)  # 1/4 of two steps, and one


def test_a_scored_slide_is_smoothed_by_the_step_of_its_own_grid(tiny_slide: Path) -> None:
    grid = grid_of((512, 256), (256, 256))
    values = np.random.default_rng(0).normal(size=len(grid)).astype(np.float32)
    scores = PatchScores(grid, values[:, None], ("attention",), "attention_logit")
    heatmap = SlideHeatmap(tiny_slide, scores, values, "attention", options={"vis_level": 1})
    with open_slide(tiny_slide) as slide:
        expected = draw(plan_heatmap(values, grid, slide, View(1, segment=False), ColourRule(smooth="gaussian")))
    np.testing.assert_array_equal(np.asarray(heatmap.draw(smooth="gaussian")), expected)


@pytest.mark.parametrize("kind", ["attention_logit", "class_contribution", "similarity"])
@pytest.mark.parametrize("method", [None, "percentile", "minmax", "robust", "softmax", "none"])
def test_the_kind_of_a_score_chooses_what_is_not_given(kind: str, method: Any) -> None:
    rule = ColourRule.for_kind(kind, method)
    for_and_against = kind == "class_contribution"
    assert rule.normalize == (method or ("robust" if for_and_against else "percentile"))
    assert rule.cmap == ("BrBG_r" if for_and_against else "jet")
    assert rule.center == (0.0 if kind in SIGNED_KINDS and rule.normalize in ("minmax", "robust", "none") else None)
    assert ColourRule.for_kind(kind, method, "magma").cmap == "magma"


def test_percentiles_among_a_reference_keep_the_bits_of_clam_and_reach_a_threshold_of_their_size(
    tiny_slide: Path,
) -> None:
    reference, scores = np.arange(100, dtype=np.float32), np.array([69.5, 20, 80, 3], np.float32)
    ranked = reference_percentiles(scores, reference)
    assert ranked[0] == 70
    grid = grid_of((256, 256), (256, 256)).take(np.arange(4))
    colours = ColourRule("percentile_ref", reference=reference, binarize=True, thresh=0.7)
    with open_slide(tiny_slide) as slide:
        drawing = plan_heatmap(scores, grid, slide, View(segment=False), colours)
    np.testing.assert_array_equal(drawing.shades, ranked / 100)
    assert drawing.shades.dtype == np.float32
    assert (drawing.shades >= drawing.thresh).tolist() == [True, False, True, False]
    assert drawing.scale.label == "percentile among the slide's 100 coarse patches"


@pytest.mark.parametrize("reaching", [False, True])
def test_a_region_keeps_the_numbers_of_its_patches(tiny_slide: Path, reaching: bool) -> None:
    grid = grid_of((256, 256), (256, 256))
    scores = np.arange(len(grid), dtype=np.float32)
    view = View(0, top_left=(300, 300), bot_right=(900, 900), segment=False, reaching=reaching)
    with open_slide(tiny_slide) as slide:
        drawing = plan_heatmap(scores, grid, slide, view, ColourRule("none"))
    np.testing.assert_array_equal(grid.coords_l0[drawing.patches], drawing.grid.coords_l0)
    assert len(drawing.grid) == (9 if reaching else 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: View(top_left=(0, 0)), "both corners"),
        (lambda: View(bot_right=(0, 0)), "both corners"),
        (lambda: ColourRule(alpha=1.5), "alpha must be between 0"),
        (lambda: ColourRule(threshold=-0.1), "threshold must be between 0 and 1"),
        (lambda: ColourRule(smooth="median"), "unknown smoothing 'median'"),  # type: ignore[arg-type]
        (lambda: ColourRule(compat="CLAM"), "unknown compat 'CLAM'"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_make_no_sense_are_refused_when_they_are_made(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_keywords_of_clam_go_to_the_view_or_to_the_colours() -> None:
    view, colours = with_options(View(), ColourRule(), {"vis_level": 2, "cmap": "magma", "normalize": None})
    assert (view.vis_level, colours.cmap, colours.normalize) == (2, "magma", "percentile")
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'colormap'; choose from \['alpha', .*'cmap'"):
        draw_heatmap([1], [[0, 0]], colormap="magma")
