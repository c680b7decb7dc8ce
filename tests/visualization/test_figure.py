"""The figure for people."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.text import Text
from PIL import Image

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.patch_scores import Prediction
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure import FigureText, compose_figure, draw_figure, write_figure
from mil_heatmaps.visualization.figure_parts import scale_bar_um, shown_colours
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.drawings import planned

COORDS = np.stack(np.meshgrid(np.arange(256, 1600, 128), np.arange(256, 1000, 128)), axis=-1).reshape(-1, 2)
SCORES = np.linspace(-1, 2, len(COORDS))
PREDICTION = Prediction(("LUAD", "LSCC"), np.array([0.9, 0.1], np.float32), np.array([1.1, -1.1], np.float32))


def _drawing(path: Path, scores: npt.NDArray[Any] = SCORES, **options: Any) -> Drawing:
    return planned(scores, COORDS, WholeSlideImage(path), **{"patch_size": 128, "segment": False, **options})


def _words(drawing: Drawing, text: FigureText, scores: npt.NDArray[Any] = SCORES, legend: bool = True) -> str:
    """Return every text of the figure."""
    figure = compose_figure(drawing, scores, text, legend=legend).figure
    return "\n".join(item.get_text() for item in figure.findobj(Text) if item.get_visible() and item.get_text())


def test_figure_says_what_it_shows(tiny_slide: Path) -> None:
    drawing = _drawing(tiny_slide, normalize="minmax", smooth="gaussian", cmap="magma")
    words = _words(drawing, FigureText("attention", "LUAD", "case 7", "LSCC", "clam_sb", PREDICTION))
    for expected in (
        "case 7", "LSCC", "LUAD 90.0%", "LSCC 10.0%", "attention · LUAD",
        "minimum to maximum of the slide: \N{MINUS SIGN}1 to 2",
        "smoothed (gaussian)", "colours at 40%", "clam_sb", "0.5 µm/px", "128 × 128 px", "(64 µm)", "200 µm",
        "highest", "lowest", f"#{len(COORDS)}", "colormap magma", f"{len(COORDS)} patches",
    ):  # fmt: skip
        assert expected in words, expected


def test_scale_bar_only_with_a_pixel_size(real_slides: Path) -> None:
    wsi = WholeSlideImage(real_slides / "TCGA-CR-7395-01A-01-TS1.svs")
    drawing = planned([1, 2], [[0, 0], [512, 512]], wsi, segment=False)
    words = _words(drawing, FigureText(), np.array([1.0, 2.0]))
    assert "pixel size unknown, so no scale bar" in words
    assert "µm" not in words


def test_legend_may_be_left_out(tiny_slide: Path) -> None:
    words = _words(_drawing(tiny_slide), FigureText("attention"), legend=False)
    assert "percentile within the slide" not in words
    assert "200 µm" not in words


def test_notes_stand_in_the_figure(tiny_slide: Path) -> None:
    scores = np.where(SCORES > 1.9, np.nan, SCORES)
    assert "scores are NaN or infinite" in _words(_drawing(tiny_slide, scores), FigureText(), scores)


def test_region_is_named_as_such(tiny_slide: Path) -> None:
    drawing = _drawing(tiny_slide, top_left=(0, 0), bot_right=(900, 900), vis_level=0)
    words = _words(drawing, FigureText(), SCORES[: len(drawing.grid)])
    assert "percentile within the region" in words


def test_survival_and_regression_are_not_called_probabilities(tiny_slide: Path) -> None:
    prediction = Prediction(("risk",), np.array([1.0], np.float32), np.array([0.37], np.float32), "survival")
    words = _words(_drawing(tiny_slide), FigureText(prediction=prediction))
    assert "risk 0.37" in words
    assert "%" not in words.replace("%ile", "").replace("colours at 40%", "")


@pytest.mark.parametrize("options", [{"normalize": "robust", "center": 0.0}, {"normalize": "none", "vmin": -2}])
def test_negative_numbers_have_one_minus_sign_everywhere(tiny_slide: Path, options: dict[str, Any]) -> None:
    prediction = Prediction(("risk",), np.array([1.0], np.float32), np.array([-0.37], np.float32), "survival")
    scores = SCORES * 1e-6 if options["normalize"] == "robust" else np.full(len(COORDS), -0.25)
    drawing = _drawing(tiny_slide, scores, **options)
    figure = compose_figure(drawing, scores, FigureText("attention", prediction=prediction), legend=True).figure
    figure.savefig(io.BytesIO())  # matplotlib writes the numbers of its axes when it draws
    words = "\n".join(item.get_text() for item in figure.findobj(Text))
    assert "risk \N{MINUS SIGN}0.37" in words
    assert words.count("\N{MINUS SIGN}") > 3
    assert not re.search(r"-\d", words)


def test_equal_input_gives_equal_bytes_without_date_or_program(tiny_slide: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_figure(tmp_path / name, _drawing(tiny_slide), SCORES, FigureText("attention"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info.keys() == {"dpi"}
        assert picture.info["dpi"][0] == pytest.approx(150, abs=0.02)


@pytest.mark.parametrize("scores", [np.full(len(COORDS), 2.0), np.full(len(COORDS), np.nan)])
def test_scores_without_spread_still_make_a_figure(tiny_slide: Path, scores: npt.NDArray[Any]) -> None:
    assert draw_figure(_drawing(tiny_slide, scores), scores).std() > 1


def test_no_patches_still_make_a_figure(tiny_slide: Path) -> None:
    drawing = planned([], [], WholeSlideImage(tiny_slide), segment=False)
    assert draw_figure(drawing, []).std() > 1


def test_scores_of_other_patches_are_refused(tiny_slide: Path) -> None:
    with pytest.raises(ScoreError, match=f"3 scores but {len(COORDS)} coords"):
        draw_figure(_drawing(tiny_slide), [1, 2, 3])


@pytest.mark.parametrize(("width", "bar"), [(1000, 200), (999, 100), (55, 10), (30000, 5000), (2.6, 0.5)])
def test_scale_bar_is_a_round_number_of_about_a_fifth(width: float, bar: float) -> None:
    assert scale_bar_um(width) == pytest.approx(bar)


def test_colour_bar_shows_what_is_not_tinted(tiny_slide: Path) -> None:
    shades = np.array([0.1, 0.6, 0.95])
    hot = shown_colours(_drawing(tiny_slide, threshold=0.5), shades)
    plain = shown_colours(_drawing(tiny_slide), shades)
    np.testing.assert_array_equal(hot[1:], plain[1:])
    assert hot[0].tolist() == [226, 229, 232]
    two = shown_colours(_drawing(tiny_slide, binarize=True, thresh=0.5), shades)
    assert two[1].tolist() == two[2].tolist()


@pytest.mark.slow
def test_pyplot_is_never_used(tiny_slide: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from src.visualization import WholeSlideImage; from tests.helpers.drawings import planned;"
        "from mil_heatmaps.visualization.figure import draw_figure;"
        f"wsi = WholeSlideImage({str(tiny_slide)!r});"
        "draw_figure(planned([1., 2.], [[0, 0], [256, 0]], wsi, segment=False), [1., 2.]);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
