"""Which patches the bag has where neither features nor coordinates are brought: contour_fn and use_padding choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.features.read import read_coords
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from mil_heatmaps.slides.contour_grid import grid_from_contours, region_grid
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.tissue_files import read_mask
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort

STAGES = ("segment", "coords")
KEYS = [
    {"contour_fn": "basic"},
    {"contour_fn": "center"},
    {"contour_fn": "four_pt_hard"},
    {"use_padding": False},
]


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    """A cohort whose bags are laid here, in tissue that reaches to the slide's edge."""
    made = make_encoded(tmp_path, "tests.helpers.stub_encoder:create")
    made.config["patching_arguments"]["patch_size"] = 150
    made.config["data_arguments"]["tissue_dir"] = str(tmp_path / "tissue")
    outline = {"type": "Polygon", "coordinates": [[[5, 384], [512, 5], [1020, 384], [512, 764], [5, 384]]]}
    (tmp_path / "tissue").mkdir()
    (tmp_path / "tissue" / "s1.geojson").write_text(json.dumps({"type": "Feature", "geometry": outline}))
    made.rows = made.rows[:1]
    return made


def run(cohort: SmallCohort, **options: Any) -> RunSummary:
    summary = Runner(load_config(cohort.write()), RunOptions(**options)).run()
    assert summary.failed == {}
    return summary


def bag(cohort: SmallCohort) -> npt.NDArray[np.int64]:
    return read_coords(cohort.raw / "a" / "s1" / "s1_coords.h5").coords_l0


def laid(cohort: SmallCohort, lay: Any, **options: Any) -> npt.NDArray[np.int64]:
    """The grid laid in the outlines that the run found."""
    mask = read_mask(cohort.raw / "a" / "s1" / "s1_mask.pkl")
    with open_slide(cohort.slides / "s1.tif") as slide:
        coords: npt.NDArray[np.int64] = lay(mask, slide, patch_size=150, **options).coords_l0
    return coords


@pytest.mark.parametrize("keys", KEYS, ids=str)
@pytest.mark.parametrize("place", ["config", "process list"])
def test_another_key_lays_another_bag_and_leaves_the_tissue(
    place: str, keys: dict[str, Any], cohort: SmallCohort
) -> None:
    run(cohort, stages=STAGES)
    usual = bag(cohort)
    np.testing.assert_array_equal(usual, laid(cohort, grid_from_contours))
    if place == "config":
        cohort.config["segmentation_arguments"].update(keys)
    else:
        cohort.rows[0].update({key: str(value) for key, value in keys.items()})
    assert set(run(cohort, stages=STAGES).stage_seconds) == {"coords"}
    np.testing.assert_array_equal(bag(cohort), laid(cohort, grid_from_contours, **keys))
    assert bag(cohort).tolist() != usual.tolist()


def test_a_larger_patch_that_is_shrunk_is_laid_as_one_of_its_size(cohort: SmallCohort) -> None:
    cohort.config["patching_arguments"].update(patch_size=75, custom_downsample=2)
    run(cohort, stages=STAGES)
    np.testing.assert_array_equal(bag(cohort), laid(cohort, grid_from_contours))


@pytest.mark.parametrize("keys", KEYS, ids=str)
def test_with_compat_clam_they_have_no_effect_as_in_clam(keys: dict[str, Any], cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"]["compat"] = "clam"
    cohort.config["segmentation_arguments"].update(keys)
    run(cohort, stages=STAGES)
    np.testing.assert_array_equal(bag(cohort), laid(cohort, region_grid, use_center_shift=True))


def test_the_fine_map_lies_as_before_and_is_not_encoded_again(cohort: SmallCohort) -> None:
    run(cohort)
    cohort.config["segmentation_arguments"]["contour_fn"] = "four_pt_hard"
    assert set(run(cohort).stage_seconds) == {"coords", "features", "attention", "fine", "heatmap", "samples"}


@pytest.mark.parametrize(("compat", "a_t"), [("none", 50.5), ("clam", 50)])
def test_the_segment_stage_records_what_it_did_before_the_keys_were_used(
    compat: str, a_t: float, tmp_path: Path
) -> None:
    """So that runs made then are resumed; bytes count, as 50 and 50.0 have different fingerprints."""
    brought = make_small_cohort(tmp_path, {"segmentation_arguments": {"a_t": 50.5, "contour_fn": "basic"}})
    brought.config["heatmap_arguments"].update(compat=compat, segment=False)
    run(brought, stages=("segment",))
    inputs = json.loads(brought.record("s1").read_text())["stages"]["segment"]["inputs"]
    assert json.dumps(inputs["segmentation"], sort_keys=True) == (
        f'{{"a_h": {0 if compat == "clam" else 0.1}, "a_t": {a_t}, "black_thresh": 50, "close": 2,'
        ' "contour_fn": "four_pt", "exclude_ids": [], "keep_ids": [], "max_n_holes": 10, "mthresh": 11,'
        ' "seg_level": -1, "sthresh": 15, "use_otsu": false, "use_padding": true, "white_thresh": 5}'
    )
    assert inputs["picture"] == {"vis_level": -1, "line_thickness": 250}


@pytest.mark.parametrize("keys", [*KEYS, {"white_thresh": 9, "black_thresh": 9}], ids=str)
def test_a_run_with_features_does_nothing_again(keys: dict[str, Any], tmp_path: Path) -> None:
    brought = make_small_cohort(tmp_path)
    run(brought)
    brought.config["segmentation_arguments"].update(keys)
    assert run(brought).reused == ["s1", "s2", "s3"]
