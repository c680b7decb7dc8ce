"""What `draw_heatmap` makes of odd and bad input, of levels that do not exist, and of regions."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.errors import ScoreError, SlideError, TissueError
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.visualization.heatmap_utils import draw_heatmap
from mil_heatmaps.visualization.palette import colour_table
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.drawings import planned

COORDS = np.array([[0, 0], [256, 0], [512, 256], [768, 512]])
SCORES = np.array([0.1, 0.9, 0.4, 0.7])


@pytest.fixture
def wsi(tiny_slide: Path) -> Any:
    with WholeSlideImage(tiny_slide) as opened:
        yield opened


def _draw(wsi: WholeSlideImage, scores: npt.ArrayLike = SCORES, coords: npt.ArrayLike = COORDS, **options: Any) -> Any:
    return draw_heatmap(scores, coords, wsi_object=wsi, **{"vis_level": 1, "segment": False, **options})


def _slide(wsi: WholeSlideImage, level: int = 1) -> npt.NDArray[np.uint8]:
    return wsi.slide.read_level(level)


def test_one_score_a_patch_may_come_in_any_shape_and_type(wsi: WholeSlideImage) -> None:
    expected = np.asarray(_draw(wsi, SCORES))
    for scores in (SCORES[:, None], SCORES[None], SCORES.tolist(), SCORES.astype(np.float32), [1, 9, 4, 7]):
        np.testing.assert_array_equal(np.asarray(_draw(wsi, scores)), expected)


@pytest.mark.parametrize("scores", [SCORES.copy(), SCORES.astype(np.float32), np.array([10, 90, 40, 70])])
@pytest.mark.parametrize("ranked", [True, False])
def test_the_callers_arrays_are_not_changed(wsi: WholeSlideImage, scores: npt.NDArray[Any], ranked: bool) -> None:
    kept, coords = scores.copy(), COORDS.copy()
    _draw(wsi, scores, coords, convert_to_percentiles=ranked, top_left=(0, 0), bot_right=(900, 900))
    np.testing.assert_array_equal(scores, kept)
    np.testing.assert_array_equal(coords, COORDS)


@pytest.mark.parametrize(
    ("scores", "coords", "message"),
    [
        (SCORES[:3], COORDS, "3 scores but 4 coords"),
        (np.r_[SCORES, 1], COORDS, "5 scores but 4 coords"),
        (np.ones((4, 2)), COORDS, r"shape \(4, 2\).*choose a class or head"),
        (SCORES, COORDS.T, r"coords must have shape \(N, 2\).*\(2, 4\)"),
        (SCORES, COORDS[:, 0], r"coords must have shape \(N, 2\)"),
        (SCORES, np.where(COORDS == 768, np.nan, COORDS), "1 of 4 coords are not numbers"),
    ],
)
def test_scores_and_coords_that_do_not_fit_are_refused(
    wsi: WholeSlideImage, scores: Any, coords: Any, message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        _draw(wsi, scores, coords)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "alpha must be between 0"),
        ({"alpha": -0.1}, "alpha must be between 0"),
        ({"alpha": float("nan")}, "alpha must be between 0"),
        ({"cmap": "virdis"}, "did you mean 'viridis'"),
        ({"patch_size": 0}, "patch_size must be"),
        ({"patch_size": (1, 2, 3)}, "patch_size must be"),
        ({"overlap": 1.0}, "overlap must be"),
        ({"custom_downsample": 0.5}, "custom_downsample must be at least 1"),
        ({"max_size": 0}, "max_size must be at least 1"),
        ({"smooth": "median"}, "unknown smoothing 'median'"),
        ({"threshold": 1.2}, "threshold must be between 0 and 1"),
        ({"compat": "CLAM"}, "unknown compat 'CLAM'"),
        ({"top_left": (0, 0)}, "both corners"),
        ({"top_left": (900, 0), "bot_right": (100, 900)}, "region .* is empty"),
        ({"downsample": 0.5}, "cannot be finer than the slide"),
        ({"normalize": "zscore"}, "unknown normalisation 'zscore'"),
    ],
)
def test_options_that_make_no_sense_are_refused(wsi: WholeSlideImage, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _draw(wsi, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_drawn_as_uncovered_and_counted(wsi: WholeSlideImage, bad: float) -> None:
    scores = np.array([0.1, bad, 0.4, 0.7])
    picture = _draw(wsi, scores)
    kept = [0, 2, 3]
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(_draw(wsi, scores[kept], COORDS[kept])))
    assert picture.info["notes"] == ["1 of 4 scores are NaN or infinite and drawn as uncovered"]


def test_equal_scores_make_one_colour_and_a_note(wsi: WholeSlideImage) -> None:
    picture = _draw(wsi, np.full(4, 3.5), alpha=1.0, blank_canvas=True)
    colours = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    assert len(colours) == 2
    assert "all 4 scores are equal (3.5)" in picture.info["notes"][0]


def test_one_patch_is_drawn(wsi: WholeSlideImage) -> None:
    picture = np.asarray(_draw(wsi, [0.3], COORDS[1:2], alpha=1.0))
    expected = _slide(wsi).copy()
    expected[0:64, 64:128] = colour_table("jet")[-1]
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("segment", [True, False])
@pytest.mark.parametrize("empty", [np.empty((0, 2)), []])
def test_no_patches_make_the_slide_with_a_note(wsi: WholeSlideImage, empty: Any, segment: bool) -> None:
    picture = _draw(wsi, [], empty, segment=segment)
    np.testing.assert_array_equal(np.asarray(picture), _slide(wsi))
    assert "no patches" in picture.info["notes"][0]


def test_all_scores_missing_make_the_slide_with_a_note(wsi: WholeSlideImage) -> None:
    picture = _draw(wsi, np.full(4, np.nan))
    np.testing.assert_array_equal(np.asarray(picture), _slide(wsi))
    assert "4 of 4 scores" in picture.info["notes"][0]


def test_patches_outside_the_slide_are_cut_and_counted(wsi: WholeSlideImage) -> None:
    coords = np.array([[-128, -128], [1920, 1408], [5000, 5000], [-900, 0]])
    picture = _draw(wsi, SCORES, coords, alpha=1.0, normalize="none")
    expected = _slide(wsi).copy()
    table = colour_table("jet")
    expected[:32, :32], expected[352:, 480:] = table[int(0.1 * 256)], table[int(0.9 * 256)]
    np.testing.assert_array_equal(np.asarray(picture), expected)
    (note,) = picture.info["notes"]
    assert note.startswith("2 of 4 patches are not coloured: 2 outside the slide (possible causes")


def test_an_unknown_filter_parameter_lists_the_choices(wsi: WholeSlideImage) -> None:
    with pytest.raises(TissueError, match=r"unknown filter parameter 'a_T'; choose from \['a_h', 'a_t', 'max_n_holes'"):
        wsi.segmentTissue(filter_params={"a_T": 1})


def test_glass_stays_glass(wsi: WholeSlideImage) -> None:
    wsi.segment_tissue(filter_params={"a_t": 0.1, "a_h": 0.01})
    picture, slide = np.asarray(_draw(wsi, segment=True)), _slide(wsi)
    tinted = (picture != slide).any(axis=2)
    inside = np.zeros(tinted.shape, np.uint8)
    for contour in wsi.contours_tissue or []:
        cv2.drawContours(inside, [(contour / 4).astype(np.int32)], 0, 1, cv2.FILLED)
    assert tinted.any()
    assert not (tinted & (inside == 0)).any()


def test_slide_without_tissue_says_what_would_do(blank_slide: Path) -> None:
    with pytest.raises(TissueError, match=r"no tissue.*segment=False"):
        draw_heatmap(SCORES, COORDS, slide_path=blank_slide)


def test_a_slide_is_needed() -> None:
    with pytest.raises(SlideError, match="slide_path or wsi_object"):
        draw_heatmap(SCORES, COORDS)


def test_level_deeper_than_the_pyramid_is_clamped_and_said(wsi: WholeSlideImage) -> None:
    picture = _draw(wsi, vis_level=9)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(_draw(wsi, vis_level=2)))
    assert "level 9" in picture.info["notes"][0]


def test_contours_may_be_set_and_holes_left_out(wsi: WholeSlideImage) -> None:
    wsi.contours_tissue = [np.array([[0, 0], [300, 0], [300, 100], [0, 100]])]
    assert wsi.tissue is not None
    assert wsi.tissue.holes_l0 == ((),)
    changed = (np.asarray(_draw(wsi, segment=True)) != _slide(wsi)).any(axis=2)
    assert changed.any()
    assert not changed[26:].any()
    wsi.holes_tissue = [[], []]
    with pytest.raises(TissueError, match="1 contours but holes for 2"):
        _ = wsi.tissue


def test_threshold_tints_hot_pixels_only(wsi: WholeSlideImage) -> None:
    options = {"normalize": "none", "alpha": 1.0}
    full, hot = np.asarray(_draw(wsi, **options)), np.asarray(_draw(wsi, threshold=0.6, **options))
    slide = _slide(wsi)
    np.testing.assert_array_equal(hot[0:64, 64:128], full[0:64, 64:128])  # 0.9
    np.testing.assert_array_equal(hot[128:192, 192:256], full[128:192, 192:256])  # 0.7
    np.testing.assert_array_equal(hot[64:128], slide[64:128])  # 0.4


@pytest.mark.parametrize("downsample", [3.0, 5.7, 18.0, 30.0])
def test_level_that_does_not_exist_is_the_mean_of_the_next_finer(tiny_slide: Path, downsample: float) -> None:
    with open_slide(tiny_slide) as slide:
        drawing = planned([], [], slide, downsample=downsample, segment=False)
        from mil_heatmaps.visualization.overlay import draw

        picture = draw(drawing)
        level = drawing.frame.level
        assert slide.mean_downsample(level) <= downsample * 1.01
        assert drawing.size_px == (round(2048 / downsample), round(1536 / downsample))
        expected = cv2.resize(slide.read_level(level), drawing.size_px, interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_downsample_near_a_level_is_that_level(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        drawing = planned([], [], slide, downsample=4.02, segment=False)
        assert drawing.frame.level == 1
        assert not drawing.frame.resized


def test_mpp_chooses_the_scale(tiny_slide: Path, blank_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:  # 0.5 um/px
        assert planned([], [], slide, mpp=2.0, segment=False).frame.level == 1
        assert planned([], [], slide, mpp=3.0, segment=False).size_px == (
            round(2048 / 6),
            round(1536 / 6),
        )


def test_region_is_cut_from_the_whole_picture(wsi: WholeSlideImage) -> None:
    whole = np.asarray(_draw(wsi, vis_level=0, normalize="none"))
    region = np.asarray(_draw(wsi, vis_level=0, normalize="none", top_left=(0, 0), bot_right=(1100, 700)))
    np.testing.assert_array_equal(region, whole[:700, :1100])


def test_large_region_read_in_bands_equals_one_reading(tiny_svs: Path) -> None:
    from mil_heatmaps.visualization.frame import choose_frame
    from mil_heatmaps.visualization.slide_rows import iter_slide_rows

    with open_slide(tiny_svs) as slide:
        frame = choose_frame(slide, 1, top_left=(37, 41), bot_right=(1400, 1500))
        once = slide.read_region((37, 41), 1, frame.size_px)
        parts = list(iter_slide_rows(slide, frame, 48))
    assert [y0 for y0, _ in parts] == list(range(0, frame.size_px[1], 48))
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), once)


def test_smoothing_keeps_an_even_map_even_to_its_border(wsi: WholeSlideImage) -> None:
    coords = np.stack(np.meshgrid(np.arange(256, 1280, 128), np.arange(256, 1024, 128)), axis=-1).reshape(-1, 2)
    plain = _draw(wsi, np.full(len(coords), 0.7), coords, patch_size=128, normalize="none")
    for smooth in ("bilinear", "gaussian"):
        smoothed = _draw(wsi, np.full(len(coords), 0.7), coords, patch_size=128, normalize="none", smooth=smooth)
        np.testing.assert_array_equal(np.asarray(smoothed), np.asarray(plain))


def test_smoothing_goes_steadily_from_one_patch_to_the_next(wsi: WholeSlideImage) -> None:
    coords = np.array([[x, y] for x in range(0, 2048, 256) for y in (0, 256)])
    scores = coords[:, 0] / 2048
    options: dict[str, Any] = {"normalize": "none", "cmap": "gray", "alpha": 1.0}
    for smooth in ("bilinear", "gaussian"):
        row = np.asarray(_draw(wsi, scores, coords, smooth=smooth, **options))[60, :, 0].astype(int)
        steps = np.diff(row)
        assert steps.min() >= 0
        assert steps.max() <= 3
        assert len(np.unique(row)) > 100
    assert len(np.unique(np.asarray(_draw(wsi, scores, coords, **options))[60, :, 0])) == 8


def test_single_level_slides_that_are_too_large_are_drawn_smaller(
    single_level_slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(single_level_slide) as slide:
        assert planned([], [], slide, segment=False).size_px == (1024, 768)
        monkeypatch.setattr("mil_heatmaps.visualization.frame.MOST_PIXELS_UNASKED", 100_000)
        drawing = planned([], [], slide, segment=False)
        assert drawing.size_px == (32, 24)
        assert "made from level 0" in drawing.notes[0]


def test_pictures_too_large_for_memory_are_refused_with_the_alternative(
    wsi: WholeSlideImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mil_heatmaps.visualization.overlay.MOST_PIXELS_IN_MEMORY", 1000)
    with pytest.raises(ValueError, match=r"does not fit in memory.*draw_to_file"):
        _draw(wsi)
