"""A resolution given by hand: what it changes, what it leaves alone, and where it is told."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner
from tests.helpers.cohort import SIZE, SmallCohort, make_small_cohort
from tests.helpers.slides import make_tiled_pyramid

GIVEN = "the resolution was given by hand: 0.5 µm per pixel"


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    """One slide without a resolution, s1, and one of 0.499 µm per pixel, s2."""
    cohort = make_small_cohort(tmp_path, {"sample_arguments": {"samples": []}})
    make_tiled_pyramid(cohort.slides / "s1.tif", SIZE, downsamples=(1, 4), mpp=None)
    cohort.rows = cohort.rows[:2]
    return cohort


def needed(cohort: SmallCohort) -> dict[str, bool]:
    return {slide.job.slide_id: bool(slide.needed) for slide in Runner(load_config(cohort.write())).plan()}


def test_slide_mpp_is_for_slides_that_say_none_and_leaves_the_others_as_they_are(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(cohort.write())
    assert main(["--config", path, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "  mpp        none: the slide does not say its resolution\n" in out
    assert "  mpp        0.499 µm per pixel (openslide.mpp)\n" in out
    assert main(["--config", path]) == 0
    cohort.config["data_arguments"]["slide_mpp"] = 0.5
    assert needed(cohort) == {"s1": True, "s2": False}
    path = str(cohort.write())
    assert main(["--config", path]) == 0
    assert f"s1: {GIVEN} (slide_mpp)" in capsys.readouterr().out
    assert needed(cohort) == {"s1": False, "s2": False}
    assert json.loads(cohort.record("s1").read_text())["summary"]["resolution"] == {"mpp": 0.5, "source": "slide_mpp"}
    main(["--config", path, "--dry-run"])
    assert "  mpp        0.5 µm per pixel (slide_mpp)\n" in capsys.readouterr().out
    del cohort.config["data_arguments"]["slide_mpp"]
    assert needed(cohort) == {"s1": True, "s2": False}


def test_the_lists_column_decides_for_its_slide(cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    cohort.config["data_arguments"]["slide_mpp"] = 1.0
    cohort.config["heatmap_arguments"].update(mpp=2, vis_level=-1, save_ext="png")
    cohort.rows[0]["mpp"] = "0.5"
    assert main(["--config", str(cohort.write())]) == 0
    assert f"s1: {GIVEN} (process list)" in capsys.readouterr().out
    assert needed(cohort) == {"s1": False, "s2": False}
    with Image.open(next(cohort.production.rglob("s1_0*.png"))) as picture:
        assert picture.size == (SIZE[0] // 4, SIZE[1] // 4)
    with (cohort.raw / "process_list.csv").open(newline="") as file:
        assert [row["mpp"] for row in csv.DictReader(file)] == ["0.5", ""]
    cohort.rows[0]["mpp"] = ""
    assert needed(cohort) == {"s1": True, "s2": False}


def test_a_map_by_mpp_of_a_slide_without_resolution_names_what_would_do(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.config["heatmap_arguments"].update(mpp=2, vis_level=-1)
    assert main(["--config", str(cohort.write())]) == 1
    assert "give it in the process list's column mpp, or in data_arguments.slide_mpp" in capsys.readouterr().out
