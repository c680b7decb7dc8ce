"""What holds of every drawing and every normalisation, whatever the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mil_heatmaps.scores.normalize import normalize
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.visualization.heatmap_utils import draw_heatmap
from mil_heatmaps.visualization.overlay import draw_to_file
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from tests.helpers.drawings import planned
from tests.helpers.slides import make_tiled_pyramid

OFTEN = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIDE = 512
ONE_STEP = 8
"""No channel of a colour map changes by more from one of its 256 colours to the next (turbo)."""

ROUNDED = (
    np.array([0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 2], float),
    np.array([[0, 4], [1, 1], [2, 0], [2, 1], [0, 5], [0, 17], [0, 2], [0, 3], [1, 0], [0, 1], [1, 2], [0, 0]]),
    16,
)
"""Overlapping patches whose mean lies between two colours."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("properties") / "s.tif"
    make_tiled_pyramid(place, (SIDE, SIDE), downsamples=(1, 4))
    return place


@pytest.fixture(scope="module")
def slide(path: Path) -> Iterator[Slide]:
    with open_slide(path) as opened:
        yield opened


@st.composite
def patches(draw: st.DrawFn) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]:
    """Patches anywhere, each at another place, their scores and their size."""
    size = draw(st.sampled_from([16, 64, 100]))
    corners = st.tuples(st.integers(0, SIDE - 8), st.integers(0, SIDE - 8))
    coords = draw(st.lists(corners, min_size=2, max_size=12, unique=True))
    scores = draw(st.lists(st.integers(0, 100), min_size=len(coords), max_size=len(coords)))
    return np.array(scores, float), np.array(coords, np.int64), size


@OFTEN
@example(given_=ROUNDED, seed=3, smooth={})
@given(given_=patches(), seed=st.integers(0, 99), smooth=st.sampled_from([{}, {"blur": True}, {"alpha": 0.7}]))
def test_the_order_of_patches_changes_no_pixel(
    path: Path, given_: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int], seed: int, smooth: dict[str, object]
) -> None:
    """Where patches overlap, their shades are added in their order, as in CLAM. Sums that need rounding may differ by
    the last bit, and colours by one step; numbers whose sums need none give the same picture.
    """
    scores, coords, size = given_
    order = np.random.default_rng(seed).permutation(len(scores))
    options = {"wsi_object": TissueSlide(str(path)), "patch_size": size, "segment": False, "vis_level": 0, **smooth}

    def difference(values: npt.NDArray[np.float64], **more: object) -> int:
        one = draw_heatmap(values, coords, **options, **more)
        other = draw_heatmap(values[order], coords[order], **options, **more)
        return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())

    assert difference(scores / 128, normalize="none") == 0
    assert difference(scores) <= ONE_STEP


@OFTEN
@given(given_=patches())
def test_strips_written_to_a_file_are_the_whole_picture(
    path: Path, slide: Slide, tmp_path: Path, given_: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]
) -> None:
    scores, coords, size = given_
    drawing = planned(scores, coords, slide, patch_size=size, segment=False, vis_level=0)
    draw_to_file(tmp_path / "p.png", drawing)
    whole = draw_heatmap(
        scores, coords, wsi_object=TissueSlide(str(path)), patch_size=size, segment=False, vis_level=0
    )
    with Image.open(tmp_path / "p.png") as written:
        assert np.array_equal(np.asarray(written.convert("RGB")), np.asarray(whole.convert("RGB")))


@OFTEN
@given(given_=patches())
def test_covered_pixels_have_the_mean_of_their_patches_and_others_none(
    slide: Slide, given_: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]
) -> None:
    scores, coords, size = given_
    options = {"segment": False, "vis_level": 0, "cmap": "gray", "alpha": 1.0, "blank_canvas": True}
    drawing = planned(scores, coords, slide, patch_size=size, convert_to_percentiles=False, **options)
    pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
    from mil_heatmaps.visualization.drawing import Painter

    Painter(drawing).paint(pixels, 0)
    total, count = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for score, (x, y) in zip(scores, coords, strict=True):
        total[y : y + size, x : x + size] += score
        count[y : y + size, x : x + size] += 1
    covered = count > 0
    assert (pixels[~covered] == 255).all()
    expected = total[covered] / count[covered] / 100 * 255
    assert np.abs(pixels[covered][:, 0] - expected).max() <= 2  # grey levels, which CLAM cuts off twice


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.integers(-1000, 1000), min_size=1, max_size=40),
    scale=st.sampled_from([0.25, 1.0, 8.0]),
    power=st.sampled_from([1, 3]),
)
def test_percentiles_do_not_change_under_rising_maps(scores: list[int], scale: float, power: int) -> None:
    values = np.array(scores, float)
    mapped = scale * values**power + 5  # exact: no two numbers become one
    assert np.array_equal(rank_percentiles(values), rank_percentiles(mapped))
    shades = normalize(values, "percentile").shades
    assert np.array_equal(shades, normalize(mapped, "percentile").shades)


@OFTEN
@given(given_=patches())
def test_a_level_four_times_smaller_is_the_same_picture_within_a_pixel(
    slide: Slide, given_: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]
) -> None:
    from mil_heatmaps.visualization.drawing import Painter

    scores, coords, size = given_
    options = {"patch_size": size, "segment": False, "cmap": "gray", "alpha": 1.0, "blank_canvas": True}
    coarse = np.full((SIDE // 4, SIDE // 4, 3), 255, np.uint8)
    Painter(planned(scores, coords, slide, vis_level=1, **options)).paint(coarse, 0)
    covered = (coarse != 255).any(axis=2)
    ys, xs = np.nonzero(covered)
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):  # within a pixel of the level some patch lies
        near = (coords[:, 0] - 4 <= 4 * x + 4) & (coords[:, 0] + size + 4 >= 4 * x)
        near &= (coords[:, 1] - 4 <= 4 * y + 4) & (coords[:, 1] + size + 4 >= 4 * y)
        assert near.any()
