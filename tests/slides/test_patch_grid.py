"""Patches lie where CLAM lays them: to the pixel, in the same order, and much faster."""

import json
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides import contour_grid
from mil_heatmaps.slides.contour_grid import grid_from_contours, region_grid
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.points_in_contour import Axis, Edges, classify_lattice
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.segmentation_params import SegmentationParams
from mil_heatmaps.slides.tissue import TissueMask, segment_tissue
from tests.helpers.slides import make_tiled_pyramid


def box(left: int, top: int, right: int, bottom: int) -> npt.NDArray[np.int32]:
    return np.array([[[left, top]], [[right, top]], [[right, bottom]], [[left, bottom]]], np.int32)


def golden_mask(golden: Path, name: str) -> TissueMask:
    saved = np.load(golden / f"clam/seg/{name}.npz")
    pieces = range(int(saved["n"]))
    return TissueMask(
        tuple(saved[f"tissue_{i}"] for i in pieces),
        tuple(tuple(saved[f"hole_{i}_{j}"] for j in range(saved["n_holes"][i])) for i in pieces),
    )


def cases(golden: Path, name: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((golden / "clam/coords" / name).read_text())
    return content


def test_training_grids_are_clams(golden: Path) -> None:
    for case in cases(golden, "process_contours_cases.json"):
        slide_name = {"B": "B.tif", "D": "D_single.tif"}[case["seg"][0]]
        with (
            open_slide(golden / "clam/slides" / slide_name) as slide,
            h5py.File(golden / "clam" / case["file"]) as h5,
        ):
            grid = grid_from_contours(golden_mask(golden, case["seg"]), slide, **case["kwargs"])
            np.testing.assert_array_equal(grid.coords_l0, h5["coords"][:], case["name"])


def test_heatmap_grids_are_clams(golden: Path) -> None:
    right = {"B_cd2_l1_ov0.5_cs1": "coords/region_B_l1_ov0.5_cs1.npz"}  # CLAM scales these patches twice
    with open_slide(golden / "clam/slides/B.tif") as slide:
        for case in cases(golden, "region_cases.json"):
            options = {key: tuple(v) if isinstance(v, list) else v for key, v in case["kwargs"].items()}
            options["patch_level"] = options.pop("level")
            grid = region_grid(golden_mask(golden, case["seg"]), slide, **options)
            if "exception" in case:  # CLAM fails where no patch fits
                assert len(grid) == 0
                continue
            expected = np.load(golden / "clam" / right.get(case["name"], case["file"]))["coords"]
            np.testing.assert_array_equal(grid.coords_l0, expected, case["name"])
            assert list(grid.size_l0) == case["ref_size"], case["name"]


@pytest.mark.parametrize("seed", range(60))
def test_points_are_classified_as_opencv_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    contour = rng.integers(0, 30, (int(rng.integers(1, 40)), 1, 2)).astype(np.int32)
    if seed % 3 == 0:
        contour = contour // 4 * 4  # many level edges, and points on borders
    xs, ys = (Axis(int(rng.integers(-10, 10)), int(step), 70 // int(step)) for step in rng.integers(1, 6, 2))
    strictly, border = classify_lattice(Edges.of(contour), xs, ys)
    expected = [
        [cv2.pointPolygonTest(contour, ((xs.start + j * xs.step) / 2, (ys.start + i * ys.step) / 2), False)
         for j in range(xs.count)]
        for i in range(ys.count)
    ]  # fmt: skip
    np.testing.assert_array_equal(strictly.astype(int) - (~strictly & ~border), expected)


def slow_grid(
    mask: TissueMask, ref: int, step: int, offsets: list[tuple[int, int]], need_all: bool
) -> list[tuple[int, int]]:
    """Patch by patch, as the description reads."""
    found = []
    for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True):
        left, top, width, height = cv2.boundingRect(contour)
        for x in range(left, left + width, step):
            for y in range(top, top + height, step):
                tests = [cv2.pointPolygonTest(contour, (x + dx, y + dy), False) >= 0 for dx, dy in offsets]
                centre = (x + ref / 2, y + ref / 2)
                in_hole = any(cv2.pointPolygonTest(hole, centre, False) > 0 for hole in holes)
                if (all(tests) if need_all else any(tests)) and not in_hole:
                    found.append((x, y))
    return found


@pytest.mark.parametrize("ref", [63, 64])
@pytest.mark.parametrize("contour_fn", ["basic", "center", "four_pt", "four_pt_hard"])
def test_a_real_outline_gives_the_same_patches_as_testing_each(
    tiny_slide: Path, contour_fn: Any, ref: int
) -> None:
    half = ref // 2
    quarter = int(half * 0.5)
    around = [(half + a, half + b) for a in (-quarter, quarter) for b in (-quarter, quarter)]
    offsets = {"basic": [(0, 0)], "center": [(half, half)]}.get(contour_fn, around)
    with open_slide(tiny_slide) as slide:
        mask = segment_tissue(slide, SegmentationParams(seg_level=1, mthresh=3, a_t=0.01))
        pierced = TissueMask(mask.contours_l0, tuple((box(500, 450, 640, 600),) for _ in mask.contours_l0))
        grid = grid_from_contours(pierced, slide, patch_size=ref, step_size=50, contour_fn=contour_fn)
    assert grid.coords_l0.tolist() == [
        list(c) for c in slow_grid(pierced, ref, 50, offsets, contour_fn != "four_pt")
    ]
    assert len(grid) > 100


def test_memory_bound_parts_give_the_same_grid(tiny_slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(tiny_slide) as slide:
        mask = segment_tissue(slide, SegmentationParams(seg_level=1, mthresh=3, a_t=0.01))
        whole = region_grid(mask, slide, patch_size=40, overlap=0.75, use_center_shift=True)
        monkeypatch.setattr(contour_grid, "_LATTICE_POINTS", 500)
        parts = region_grid(mask, slide, patch_size=40, overlap=0.75, use_center_shift=True)
    assert len(whole) > 5000
    np.testing.assert_array_equal(parts.coords_l0, whole.coords_l0)


@pytest.fixture
def wide(tmp_path: Path) -> Any:
    path = make_tiled_pyramid(tmp_path / "wide.tif", (1000, 600), downsamples=(1, 3.9, 16))
    with open_slide(path) as slide:
        yield slide


def test_grids_start_at_each_piece_and_run_column_by_column(wide: Slide) -> None:
    mask = TissueMask((box(10, 20, 210, 120), box(500, 7, 599, 107)), ((), ()))
    grid = grid_from_contours(mask, wide, patch_size=100, contour_fn="basic")
    assert grid.coords_l0.tolist() == [[10, 20], [10, 120], [110, 20], [110, 120], [210, 20], [210, 120],
                                       [500, 7], [500, 107]]  # fmt: skip
    assert (grid.size_l0, grid.step_l0) == ((100, 100), (100, 100))


def test_padding_lets_patches_reach_over_the_edge(wide: Slide) -> None:
    mask = TissueMask((box(800, 400, 999, 599),), ((),))
    options: dict[str, Any] = {"patch_size": 150, "contour_fn": "basic"}
    padded = grid_from_contours(mask, wide, use_padding=True, **options)
    inside = grid_from_contours(mask, wide, use_padding=False, **options)
    assert padded.coords_l0.tolist() == [[800, 400], [800, 550], [950, 400], [950, 550]]
    assert inside.coords_l0.tolist() == [[800, 400]]
    assert len(grid_from_contours(mask, wide, patch_size=2000, contour_fn="basic", use_padding=False)) == 0
    assert len(grid_from_contours(mask, wide, patch_size=2000, contour_fn="basic")) == 1
    assert len(grid_from_contours(mask, wide, patch_size=2000, contour_fn="center")) == 0


def test_a_patch_whose_centre_is_in_a_hole_is_left_out_but_not_on_its_border(wide: Slide) -> None:
    contour = box(0, 0, 300, 300)
    for hole, kept in (
        (box(40, 40, 60, 60), False),
        (box(50, 50, 60, 60), True),
        (box(10, 10, 49, 49), True),
    ):
        grid = grid_from_contours(TissueMask((contour,), ((hole,),)), wide, patch_size=100)
        assert ([0, 0] in grid.coords_l0.tolist()) is kept


def test_a_region_is_where_the_grid_begins_and_ends(wide: Slide) -> None:
    mask = TissueMask((box(100, 100, 500, 500),), ((),))
    region: dict[str, Any] = {"top_left": (150, 90), "bot_right": (351, 250), "patch_size": 100}
    grid = region_grid(mask, wide, **region)
    assert grid.coords_l0.tolist() == [[x, y] for x in (150, 250, 350) for y in (100, 200)]
    assert len(region_grid(mask, wide, top_left=(600, 0), bot_right=(900, 500))) == 0
    with pytest.raises(TissueError, match="both corners"):
        region_grid(mask, wide, top_left=(0, 0))


def test_a_level_just_below_4_steps_by_4(tmp_path: Path) -> None:
    path = make_tiled_pyramid(tmp_path / "x.tif", (1199, 799), downsamples=(1, 3.9966))
    with open_slide(path) as slide:
        assert slide.level_dimensions[1] == (300, 199)
        assert slide.level_downsamples[1][0] < 4
        mask = TissueMask((box(0, 0, 512, 300),), ((),))
        for lay in (grid_from_contours, region_grid):
            grid = lay(mask, slide, patch_level=1, patch_size=64)
            assert grid.step_l0 == (256, 256)
            assert sorted(set(grid.coords_l0[:, 0].tolist())) == [0, 256]


@pytest.mark.parametrize(("step", "reach"), [(160, 37), (150, 50), (100, 50), (20, 50), (10, 62)])
def test_a_larger_overlap_looks_further_out(wide: Slide, step: int, reach: int) -> None:
    options: dict[str, Any] = {"patch_size": 200, "step_size": step}
    for bottom, fits in ((100 + reach, True), (99 + reach, False)):
        mask = TissueMask((box(0, 0, 800, bottom),), ((),))
        assert (len(region_grid(mask, wide, use_center_shift=True, **options)) > 0) is fits
        assert len(region_grid(mask, wide, **options)) > 0


def test_custom_downsample_means_larger_patches_at_any_level(wide: Slide) -> None:
    mask = TissueMask((box(0, 0, 900, 500),), ((),))
    for level in (0, 2):
        one = region_grid(mask, wide, patch_level=level, patch_size=8, overlap=0.5, use_center_shift=True)
        two = region_grid(
            mask,
            wide,
            patch_level=level,
            patch_size=4,
            overlap=0.5,
            use_center_shift=True,
            custom_downsample=2,
        )
        np.testing.assert_array_equal(one.coords_l0, two.coords_l0)
        assert (one.size_l0, one.step_l0) == (two.size_l0, two.step_l0)


def test_no_tissue_means_no_patches(wide: Slide) -> None:
    for grid in (grid_from_contours(TissueMask(), wide), region_grid(TissueMask(), wide)):
        assert (len(grid), grid.coords_l0.shape, grid.coords_l0.dtype) == (0, (0, 2), np.int64)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"overlap": 1.0}, "below 1, got 1.0"),
        ({"overlap": -0.1}, "at least 0 and below 1, got -0.1"),
        ({"overlap": 0.999}, "overlap 0.999 of 256 x 256 pixels leaves no step"),
        ({"patch_size": 0}, "no step|at least 1"),
        ({"patch_level": 3}, "patch_level 3 is not in wide.tif, which has levels 0 to 2"),
        ({"custom_downsample": 0.5}, "custom_downsample must be at least 1"),
    ],
)
def test_impossible_grids_are_refused(wide: Slide, options: Any, match: str) -> None:
    with pytest.raises(TissueError, match=match):
        region_grid(TissueMask(), wide, **options)


def test_an_unknown_contour_test_lists_the_choices(wide: Slide) -> None:
    with pytest.raises(TissueError, match=r"unknown contour_fn 'four'; choose from \['basic', 'center'"):
        grid_from_contours(TissueMask(), wide, contour_fn="four")  # type: ignore[arg-type]


def test_a_patch_grid_checks_and_describes_itself() -> None:
    grid = PatchGrid(np.zeros((3, 2), np.int64), (256, 256), (128, 128))
    assert repr(grid) == "PatchGrid(n=3, size_l0=(256, 256), step_l0=(128, 128))"
    with pytest.raises(ValueError, match=r"int64 of shape \(N, 2\), got int32"):
        PatchGrid(np.zeros((3, 2), np.int32), (1, 1), (1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        PatchGrid(np.zeros((3, 2), np.int64), (0, 1), (1, 1))
