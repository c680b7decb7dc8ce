"""Choosing patches, and the files they make."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mil_heatmaps.errors import ConfigError, ScoreError, SlideError
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.roi import patches_in_box
from mil_heatmaps.visualization.patch_arguments import as_grid
from mil_heatmaps.visualization.sample_files import write_samples
from mil_heatmaps.visualization.sampling import Choice, choose_patches, sample_top_patches
from tests.helpers.golden_drawing import cases, inputs


@pytest.mark.usefixtures("golden")
@pytest.mark.parametrize("case", cases("sample"))
def test_samples_are_those_of_clam(case: dict[str, Any]) -> None:
    scores, coords = inputs(case)
    arguments = dict(case["kwargs"])
    top_left, bot_right = arguments.pop("top_left", None), arguments.pop("bot_right", None)
    candidates = None
    if top_left:
        candidates = np.flatnonzero(patches_in_box(as_grid(coords, 256), top_left, bot_right))
    percentiles = rank_percentiles(scores[:, 0])
    chosen = choose_patches(percentiles, Choice(mode=case["mode"], unit="percent", **arguments), candidates)
    if case["scalar"]:
        assert not len(chosen)  # nothing in the window, where CLAM crashes
        return
    np.testing.assert_array_equal(percentiles[chosen], case["scores"])
    if "ties" not in case["inputs"] or case["mode"] == "range_sample":
        np.testing.assert_array_equal(coords[chosen], case["coords"])


def test_ties_keep_the_order_of_the_patches() -> None:
    percentiles = np.array([50.0, 90, 50, 90, 90, 10])
    assert choose_patches(percentiles, Choice(4)).tolist() == [1, 3, 4, 0]
    assert choose_patches(percentiles, Choice(3, "reverse_topk")).tolist() == [5, 0, 2]


@pytest.mark.parametrize(
    ("start", "end", "unit", "expected"),
    [
        (0, 1, "auto", range(100)),
        (0.45, 0.55, "auto", range(44, 55)),
        (45, 55, "auto", range(44, 55)),
        (0, 1, "percent", range(1)),
        (0, 100, "auto", range(100)),
        (0.2, 0.3, "percent", []),
    ],
)
def test_windows_are_read_as_shares_or_percent(start: float, end: float, unit: Any, expected: Any) -> None:
    percentiles = np.arange(1.0, 101)
    chosen = choose_patches(percentiles, Choice(1000, "range_sample", 1, start, end, unit))
    assert sorted(chosen.tolist()) == list(expected)


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    choose_patches(np.arange(1.0, 101), Choice(mode="range_sample", seed=9))
    assert np.random.rand() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "best"}, "unknown sampling mode 'best'; choose from"),
        ({"k": -1}, "k must be at least 0"),
        ({"mode": "range_sample", "score_start": 60, "score_end": 40}, "window 60 to 40"),
        ({"mode": "range_sample", "score_start": 40, "score_end": 140}, "window 40 to 140"),
        ({"mode": "range_sample", "unit": "permille"}, "unknown unit"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Choice(**options)


def test_patches_come_with_their_pixels_and_numbers(tiny_slide: Path) -> None:
    coords = np.array([[0, 0], [256, 128], [1900, 1500], [512, 512]])
    scores = np.array([0.2, 0.9, np.nan, 0.5], np.float32)
    patches = sample_top_patches(
        scores, coords, slide_path=tiny_slide, k=2, patch_size=(64, 48), patch_level=1
    )
    assert [(p.rank, p.index, p.coords_l0) for p in patches] == [(1, 1, (256, 128)), (2, 3, (512, 512))]
    assert [p.percentile for p in patches] == pytest.approx([100, 200 / 3])
    assert patches[0].score == np.float32(0.9)
    with open_slide(tiny_slide) as slide:
        np.testing.assert_array_equal(patches[0].image, slide.read_region((256, 128), 1, (64, 48)))


def test_percentiles_in_a_region_stay_those_of_the_slide(tiny_slide: Path) -> None:
    coords = np.array([[0, 0], [256, 0], [512, 0], [768, 0]])
    patches = sample_top_patches(
        [4, 3, 2, 1], coords, slide_path=tiny_slide, k=9, top_left=(256, 0), bot_right=(512, 10)
    )
    assert [(p.rank, p.percentile) for p in patches] == [(2, 75.0), (3, 50.0)]


def test_bad_samples_are_refused(tiny_slide: Path) -> None:
    with pytest.raises(ScoreError, match="3 scores but 1 coords"):
        sample_top_patches([1, 2, 3], [[0, 0]], slide_path=tiny_slide)
    with pytest.raises(ConfigError, match="both corners"):
        sample_top_patches([1], [[0, 0]], slide_path=tiny_slide, top_left=(0, 0))
    with pytest.raises(SlideError, match="slide_path or wsi_object"):
        sample_top_patches([1], [[0, 0]])


def test_files_carry_the_names_of_clam_and_say_what_they_show(tiny_slide: Path, tmp_path: Path) -> None:
    coords = np.array([[256 * i, 128] for i in range(7)])
    patches = sample_top_patches(np.arange(7), coords, slide_path=tiny_slide, k=7, patch_size=64)
    paths = write_samples(tmp_path, "tiny", patches)
    assert paths[0].name == "0_tiny_x_1536_y_128_a_100.000.png"
    assert paths[1].name == "1_tiny_x_1280_y_128_a_85.714.png"
    np.testing.assert_array_equal(np.asarray(Image.open(paths[0])), patches[0].image)
    with (tmp_path / "tiny_patches.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [path.name for path in paths[:7]]
    assert [(row["rank"], row["x"], float(row["score"])) for row in rows[:2]] == [
        ("1", "1536", 6),
        ("2", "1280", 5),
    ]
    assert Image.open(tmp_path / "tiny_contact_sheet.png").size[0] > 5 * 224


def test_negative_scores_have_a_minus_on_the_sheet_and_a_hyphen_in_the_table(
    tiny_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, xy, text, *rest, **more: drawn.append(text))
    patches = sample_top_patches([-0.5], [[256, 128]], slide_path=tiny_slide, k=1, patch_size=64)
    write_samples(tmp_path, "tiny", patches, score_name="logit")
    assert "logit \N{MINUS SIGN}0.5" in drawn
    assert ",-0.5," in (tmp_path / "tiny_patches.csv").read_text()


def test_nothing_sampled_makes_no_files(tmp_path: Path) -> None:
    assert write_samples(tmp_path / "none", "tiny", []) == []
    assert not (tmp_path / "none").exists()
