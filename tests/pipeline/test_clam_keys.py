"""Keys that users of CLAM know, and what each changes in the pictures or the choice of slides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.visualization.palette import colour_table
from tests.helpers.cohort import PATCH, SIZE, SmallCohort, make_small_cohort


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    made = make_small_cohort(tmp_path, {"heatmap_arguments": {"save_ext": "png"}})
    made.rows = made.rows[:1]
    return made


def run(cohort: SmallCohort) -> RunSummary:
    return Runner(load_config(cohort.write())).run()


def pixels(path: Path) -> npt.NDArray[Any]:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("save_orig", [True, False])
def test_save_orig_saves_the_slide_without_colours_or_does_not(save_orig: bool, cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"]["save_orig"] = save_orig
    assert run(cohort).failed == {}
    saved = list(cohort.production.rglob("*_orig_*"))
    assert [path.name for path in saved] == (["s1_orig_0.png"] if save_orig else [])
    with open_slide(cohort.slides / "s1.tif") as slide:
        for path in saved:
            np.testing.assert_array_equal(pixels(path), slide.read_level(0))


@pytest.mark.parametrize(
    "keys", [{"mpp": 1.3}, {"downsample": 3.0}, {"max_size": 300}, {"custom_downsample": 2},
             {"compat": "clam", "max_size": 300}],
)  # fmt: skip
def test_the_slide_without_colours_has_the_maps_size_and_frame(keys: dict[str, Any], cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"] |= {"save_orig": True, "alpha": 0.0, "figure": False, "save_ext": "png", **keys}
    assert run(cohort).failed == {}
    folder = cohort.production / "a"
    (orig,), (drawn,) = folder.glob("s1_orig_*.png"), folder.glob("s1_0.0_*.png")
    np.testing.assert_array_equal(pixels(orig), pixels(drawn))


@pytest.mark.parametrize(("binary_thresh", "cut"), [(0.75, 0.75), (-1, 0.5)])
def test_binarize_colours_what_is_at_or_above_binary_thresh_and_nothing_else(
    binary_thresh: float, cut: float, cohort: SmallCohort
) -> None:
    changes = {"binarize": True, "binary_thresh": binary_thresh, "alpha": 1, "segment": False, "blank_canvas": True}
    cohort.config["heatmap_arguments"].update(changes)
    assert run(cohort).failed == {}
    (picture,) = cohort.production.glob(f"a/s1_*_bi_1_{float(binary_thresh)}.png")
    scores = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5").scores
    ranks = rank_percentiles(scores.values[:, 0]) / 100
    expected = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    for x, y in scores.grid.coords_l0[ranks >= cut]:
        expected[y : y + PATCH, x : x + PATCH] = colour_table("jet")[255]
    assert 0 < (ranks >= cut).sum() < len(ranks)
    np.testing.assert_array_equal(pixels(picture), expected)


def test_data_dir_key_names_the_column_that_chooses_the_folder(cohort: SmallCohort, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (cohort.slides / "s2.svs").rename(other / "s2.svs")
    cohort.config["data_arguments"].update(data_dir={"A": str(cohort.slides), "B": str(other)}, data_dir_key="centre")
    cohort.rows = [{"slide_id": slide, "label": "a", "centre": centre} for slide, centre in (("s1", "A"), ("s2", "B"))]
    assert run(cohort).processed == ["s1", "s2"]
    cohort.rows[1]["centre"] = "C"
    assert "data_dir names folders for A, B, but the row has 'C' in column centre" in run(cohort).failed["s2"]
    cohort.config["data_arguments"]["data_dir_key"] = "source"
    assert "but the row has no column 'source'" in run(cohort).failed["s1"]
