"""Tissue is found as CLAM finds it, to the pixel, and nothing is found where nothing is."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides import tissue as tissue_module
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.segmentation_params import SegmentationParams
from mil_heatmaps.slides.tissue import TissueMask, segment_tissue
from mil_heatmaps.slides.tissue_binary import tissue_binary
from mil_heatmaps.slides.write_pyramid import write_pyramid
from tests.helpers.slides import make_tiled_pyramid, tissue_map

SMALL: dict[str, Any] = {"a_t": 0.1, "a_h": 0.01, "max_n_holes": 8}


def painted(mask: TissueMask, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the mask as pixels."""
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True):
        cv2.drawContours(canvas, [contour], -1, 1, -1)
        if holes:
            cv2.drawContours(canvas, holes, -1, 0, -1)
    return canvas.astype(bool)


def square(x: int, y: int, side: int) -> npt.NDArray[np.int32]:
    return np.array([[[x, y]], [[x + side, y]], [[x + side, y + side]], [[x, y + side]]], np.int32)


def slide_with_squares(path: Path, *squares: tuple[int, int, int, int]) -> Path:
    """Write a 640 x 480 slide of one level; every square is x, y, side, saturation."""
    picture = np.full((480, 640, 3), 240, np.uint8)
    for x, y, side, saturation in squares:
        picture[y : y + side, x : x + side] = (200, 200 * (255 - saturation) // 255, 200)
    return write_pyramid(path, picture, downsamples=(1,), compression="none")


def test_the_outline_follows_the_tissue(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        mask = segment_tissue(slide, SegmentationParams(seg_level=1, mthresh=7, **SMALL))
    found, truth = painted(mask, (2048, 1536)), tissue_map(2048, 1536)
    assert len(mask) == 2
    assert (found & truth).sum() / (found | truth).sum() > 0.97


def test_golden_masks_and_contours_are_met_to_the_pixel(golden: Path) -> None:
    cases = [case for case in json.loads((golden / "clam/seg/cases.json").read_text()) if "sthresh" in case]
    assert len(cases) >= 7
    for case in cases:
        options = {key: case[key] for key in ("sthresh", "mthresh", "close", "use_otsu")}
        ids = {key: case[key] for key in ("keep_ids", "exclude_ids") if key in case}
        with open_slide(golden / "clam/slides" / case["slide"]) as slide:
            level = case["seg_level"]
            mask = segment_tissue(slide, SegmentationParams(seg_level=level, **case["filter_params"], **options, **ids))
            binary = tissue_binary(slide, level, **options)
        if "exception" in case:  # CLAM fails on a slide without tissue
            assert mask.is_empty, case["name"]
            continue
        saved = np.load(golden / "clam" / case["file"])
        assert len(mask) == saved["n"], case["name"]
        assert [len(holes) for holes in mask.holes_l0] == saved["n_holes"].tolist(), case["name"]
        for i, (contour, holes) in enumerate(zip(mask.contours_l0, mask.holes_l0, strict=True)):
            np.testing.assert_array_equal(contour, saved[f"tissue_{i}"], case["name"])
            for j, hole in enumerate(holes):
                np.testing.assert_array_equal(hole, saved[f"hole_{i}_{j}"], case["name"])
        if "binary" in case:
            expected = cv2.imread(str(golden / "clam" / case["binary"]), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(binary, expected, case["name"])


@pytest.mark.parametrize("mthresh", [1, 3, 7, 15, 17, 23])
@pytest.mark.parametrize("sthresh", [0, 15, 15.7, 200, 255])
def test_the_fast_mask_equals_a_median_before_the_threshold_even_on_noise(
    tmp_path: Path, mthresh: int, sthresh: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    path = write_pyramid(tmp_path / "noise.tif", noise, downsamples=(1,), compression="none", tile_px=64)
    with open_slide(path) as slide:
        binary = tissue_binary(slide, 0, sthresh=sthresh, mthresh=mthresh, close=0)
    saturation = np.ascontiguousarray(cv2.cvtColor(noise, cv2.COLOR_RGB2HSV)[..., 1])
    blurred = cv2.medianBlur(saturation, mthresh)
    np.testing.assert_array_equal(binary, np.where(blurred > sthresh, 255, 0))


def test_a_blank_slide_has_an_empty_mask(blank_slide: Path) -> None:
    with open_slide(blank_slide) as slide:
        mask = segment_tissue(slide)
    assert mask.is_empty
    assert (len(mask), mask.n_holes, mask.area_l0) == (0, 0, 0.0)


def test_pieces_and_holes_must_exceed_the_limits_and_fractions_count(tmp_path: Path) -> None:
    # A square of side s has contour area (s - 1)^2; the unit at level 0 is 512^2.
    path = slide_with_squares(tmp_path / "x.tif", (50, 50, 201, 150), (400, 100, 101, 150))
    options: dict[str, Any] = {"seg_level": 0, "mthresh": 1, "close": 0}
    with open_slide(path) as slide:

        def count(a_t: float) -> int:
            return len(segment_tissue(slide, SegmentationParams(a_t=a_t, **options)))

        assert count(0) == 2
        assert count(100**2 / 512**2 - 1e-6) == 2
        assert count(100**2 / 512**2) == 1  # not smaller, so dropped
        assert count(200**2 / 512**2) == 0


def test_only_the_largest_holes_are_kept_and_all_of_them_count_against_the_area(tmp_path: Path) -> None:
    holes = [(70, 70, 20, 0), (110, 70, 60, 0), (190, 70, 40, 0)]
    path = slide_with_squares(tmp_path / "x.tif", (50, 50, 301, 150), *holes)
    options: dict[str, Any] = {"seg_level": 0, "mthresh": 1, "close": 0}
    with open_slide(path) as slide:

        def found(**limits: Any) -> list[tuple[int, int]]:
            mask = segment_tissue(slide, SegmentationParams(**{"a_t": 0, "a_h": 0} | limits | options))
            return [tuple(hole.reshape(-1, 2).min(axis=0).tolist()) for of in mask.holes_l0 for hole in of]

        assert found() == [(109, 69), (189, 69), (69, 69)]
        assert found(max_n_holes=2) == [(109, 69), (189, 69)]
        assert found(max_n_holes=0) == []
        assert found(a_h=1000 / 512**2) == [(109, 69), (189, 69)]
        # 90,000 pixels within the outline, 5,800 of them holes.
        assert len(segment_tissue(slide, SegmentationParams(a_t=85_000 / 512**2, **options))) == 0


def test_closing_joins_pieces_a_gap_apart(tmp_path: Path) -> None:
    path = slide_with_squares(tmp_path / "x.tif", (50, 50, 100, 150), (152, 50, 100, 150))
    with open_slide(path) as slide:
        for close, pieces in ((0, 2), (2, 2), (4, 1)):
            mask = segment_tissue(slide, SegmentationParams(seg_level=0, mthresh=1, close=close, a_t=0))
            assert len(mask) == pieces


def test_otsu_ignores_the_saturation_threshold(tmp_path: Path) -> None:
    path = slide_with_squares(tmp_path / "x.tif", (50, 50, 200, 200), (350, 100, 200, 60))
    with open_slide(path) as slide:
        masks = [
            segment_tissue(slide, SegmentationParams(seg_level=0, sthresh=s, use_otsu=True, a_t=0))
            for s in (0, 255)
        ]
        assert [len(mask) for mask in masks] == [1, 1]
        assert len(segment_tissue(slide, SegmentationParams(seg_level=0, sthresh=15, a_t=0))) == 2


def test_ids_choose_pieces_in_rising_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = slide_with_squares(tmp_path / "x.tif", *((60 + 150 * i, 60, 100, 150) for i in range(3)))
    options: dict[str, Any] = {"seg_level": 0, "mthresh": 1, "a_t": 0}
    with open_slide(path) as slide:
        whole = segment_tissue(slide, SegmentationParams(**options))

        def lefts(**ids: Any) -> list[int]:
            mask = segment_tissue(slide, SegmentationParams(**options, **ids))
            return [int(contour[:, 0, 0].min()) for contour in mask.contours_l0]

        every = [int(contour[:, 0, 0].min()) for contour in whole.contours_l0]
        assert lefts(keep_ids=[2, 0, 2]) == [every[0], every[2]]
        assert lefts(exclude_ids=[1]) == [every[0], every[2]]
        assert lefts(keep_ids=[0, 1], exclude_ids=[0]) == [every[1]]
        assert lefts(keep_ids=[0], exclude_ids=[0]) == []
        with pytest.raises(
            TissueError, match=r"keep_ids names piece 3, but x\.tif has 3 pieces of tissue, 0 to 2"
        ):
            lefts(keep_ids=[0, 3])
        assert lefts(exclude_ids=[7]) == every
        assert "exclude_ids names piece 7" in caplog.text


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mthresh": 8}, "must be odd, got 8; 7 and 9 would do"),
        ({"mthresh": 0}, "must be odd, got 0"),
        ({"sthresh": 256}, "from 0 to 255, got 256"),
        ({"close": -1}, "close must be at least 0"),
        ({"a_t": -1}, "a_t must be at least 0, got -1"),
        ({"a_h": float("nan")}, "a_h must be at least 0"),
    ],
)
def test_parameters_out_of_range_are_refused(single_level_slide: Path, options: Any, match: str) -> None:
    with open_slide(single_level_slide) as slide, pytest.raises(TissueError, match=match):
        segment_tissue(slide, SegmentationParams(**options))


def test_a_level_of_32_03_counts_for_32(tmp_path: Path) -> None:
    path = make_tiled_pyramid(tmp_path / "x.tif", (2051, 1533), downsamples=(1, 16, 32.01))
    with open_slide(path) as slide:
        assert slide.mean_downsample(2) > 32
        automatic = segment_tissue(slide, SegmentationParams(mthresh=3, **SMALL))
        coarse = segment_tissue(slide, SegmentationParams(seg_level=2, mthresh=3, **SMALL))
    for one, other in zip(automatic.contours_l0, coarse.contours_l0, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_large_single_level_is_shrunk_unless_asked_for(
    single_level_slide: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    truth = tissue_map(1024, 768)
    with open_slide(single_level_slide) as slide:
        small = segment_tissue(slide, SegmentationParams(mthresh=3, **SMALL))
        assert caplog.text == ""
        monkeypatch.setattr(tissue_module, "MOST_PIXELS_SEGMENTED", 100_000)
        monkeypatch.setattr(tissue_module, "AUTO_DOWNSAMPLE", 4.0)
        shrunk = segment_tissue(slide, SegmentationParams(mthresh=3, **SMALL))
        assert "shrunk 4 times" in caplog.text
        asked = segment_tissue(slide, SegmentationParams(seg_level=0, mthresh=3, **SMALL))
    assert sum(map(len, shrunk.contours_l0)) < sum(map(len, small.contours_l0)) / 3
    assert [len(c) for c in asked.contours_l0] == [len(c) for c in small.contours_l0]
    for mask in (small, shrunk):
        found = painted(mask, (1024, 768))
        assert (found & truth).sum() / (found | truth).sum() > 0.97


def test_a_level_too_deep_becomes_the_deepest_and_is_said(
    tiny_slide: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_slide(tiny_slide) as slide:
        deep = segment_tissue(slide, SegmentationParams(seg_level=7, mthresh=3, **SMALL))
        last = segment_tissue(slide, SegmentationParams(seg_level=2, mthresh=3, **SMALL))
    assert "level 7 is not in tiny.tif, whose deepest is 2" in caplog.text
    assert deep.area_l0 == last.area_l0 > 0


def test_a_mask_checks_and_describes_itself() -> None:
    outer, hole = square(100, 50, 200), square(150, 100, 20)
    mask = TissueMask((outer,), ((hole,),))
    assert repr(mask) == "TissueMask(pieces=1, holes=1, area_l0=39600)"
    assert not mask.is_empty
    with pytest.raises(TissueError, match="1 contours need as many tuples of holes, got 0"):
        TissueMask((outer,), ())
    for wrong in (outer.astype(np.int64), outer[:, 0], outer[:0]):
        with pytest.raises(TissueError, match=r"int32 of shape \(n, 1, 2\)"):
            TissueMask((wrong,), ((),))
        with pytest.raises(TissueError, match=r"int32 of shape \(n, 1, 2\)"):
            TissueMask((outer,), ((wrong,),))


def test_scaling_cuts_toward_zero() -> None:
    mask = TissueMask((square(-3, 3, 4),), ((square(1, 5, 2),),)).scaled((0.5, 0.25))
    assert mask.contours_l0[0].reshape(-1, 2).tolist() == [[-1, 0], [0, 0], [0, 1], [-1, 1]]
    assert mask.holes_l0[0][0].reshape(-1, 2).tolist() == [[0, 1], [1, 1], [1, 1], [0, 1]]
