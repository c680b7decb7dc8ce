"""A second slide of the same tissue, drawn in the frame of the first."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.slides.affine import read_affine
from mil_heatmaps.slides.pixels import WHITE
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.write_pyramid import write_pyramid
from mil_heatmaps.visualization.figure import draw_figure
from mil_heatmaps.visualization.figure_words import FigureText
from mil_heatmaps.visualization.frame import choose_frame
from mil_heatmaps.visualization.second_slide import SecondSlide
from tests.helpers.drawings import planned

SIZE = 512, 384
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def ramp(width: int, height: int) -> np.ndarray:
    """Return pixels that say where they are: red by column, green by row."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, np.full_like(x, 40)], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slide]:
    path = tmp_path_factory.mktemp("second") / "ihc.tif"
    with open_slide(write_pyramid(path, ramp(*SIZE), downsamples=(1, 4), compression="none")) as opened:
        yield opened


@pytest.mark.parametrize("downsample", [1.0, 3.0, 8.0])
@pytest.mark.parametrize(
    ("matrix", "place"),
    [
        (IDENTITY, lambda x, y: (x, y)),
        (((1, 0, 60), (0, 1, -30), (0, 0, 1)), lambda x, y: (x + 60, y - 30)),
        (((0, 1, 0), (-1, 0, 384), (0, 0, 1)), lambda x, y: (y, 384 - x)),
        (((0.5, 0, 10), (0, 0.5, 20), (0, 0, 1)), lambda x, y: (x / 2 + 10, y / 2 + 20)),
    ],
)
def test_a_point_shows_what_lies_there_on_the_second_slide(
    slide: Slide, matrix: tuple[tuple[float, ...], ...], place: object, downsample: float
) -> None:
    frame = choose_frame(slide, downsample=downsample)
    picture = SecondSlide(slide, matrix).picture(frame, "convert").astype(int)
    rng = np.random.default_rng(0)
    width, height = frame.size_px
    seen = 0
    for x, y in zip(rng.integers(2, width - 2, 60), rng.integers(2, height - 2, 60), strict=True):
        x2, y2 = place((x + 0.5) * frame.downsample[0], (y + 0.5) * frame.downsample[1])  # type: ignore[operator]
        reach = 2 * downsample
        if reach < x2 < SIZE[0] - reach and reach < y2 < SIZE[1] - reach:
            expected = x2 * 255 / SIZE[0], y2 * 255 / SIZE[1]
            assert np.abs(picture[y, x, :2] - expected).max() <= 1.5 + 0.3 * downsample
            seen += 1
    assert seen > 10


def test_what_lies_beyond_the_second_slide_is_white(slide: Slide) -> None:
    frame = choose_frame(slide, downsample=2.0)
    shifted = SecondSlide(slide, ((1, 0, 300), (0, 1, 0), (0, 0, 1))).picture(frame, "convert")
    assert (shifted[:, 110:] == WHITE).all()
    assert (shifted[10:-10, :100] != WHITE).any(axis=2).all()
    away = SecondSlide(slide, ((1, 0, 9000), (0, 1, 0), (0, 0, 1))).picture(frame, "convert")
    assert (away == WHITE).all()


def test_a_turned_slide_of_another_scale_lies_on_the_first(slide: Slide) -> None:
    angle = math.radians(20)
    matrix = ((2 * math.cos(angle), -2 * math.sin(angle), 100), (2 * math.sin(angle), 2 * math.cos(angle), -40),
              (0.0, 0.0, 1.0))  # fmt: skip
    frame = choose_frame(slide, downsample=4.0, top_left=(100, 60), bot_right=(260, 180))
    picture = SecondSlide(slide, matrix).picture(frame, "ignore").astype(float)
    x, y = 20, 14
    l0 = np.array([100 + (x + 0.5) * 4, 60 + (y + 0.5) * 4, 1])
    x2, y2, _ = np.asarray(matrix) @ l0
    assert 20 < x2 < 480
    assert 20 < y2 < 360
    np.testing.assert_allclose(picture[y, x, :2], (x2 * 255 / 512, y2 * 255 / 384), atol=3)


def test_the_figure_has_a_third_picture(slide: Slide) -> None:
    drawing = planned([1.0, 2.0, 3.0], [[0, 0], [128, 0], [256, 128]], slide, patch_size=128, segment=False)
    two = draw_figure(drawing, np.array([1.0, 2.0, 3.0]))
    three = draw_figure(drawing, np.array([1.0, 2.0, 3.0]), FigureText(beside=SecondSlide(slide, IDENTITY)))
    assert three.shape[1] > two.shape[1] * 1.2


def test_a_file_that_is_no_affine_map_is_named_with_the_reason(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.eye(2))
    with pytest.raises(ConfigError, match=r"s\.npy must hold 3 x 3"):
        read_affine(tmp_path / "s.npy")
