"""A folder of second slides: what the figure shows, and what is said where there is none."""

from pathlib import Path

import numpy as np
from PIL import Image

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from tests.helpers.cohort import SIZE, SmallCohort, make_small_cohort
from tests.helpers.slides import make_single_level


def run(cohort: SmallCohort) -> RunSummary:
    summary = Runner(load_config(cohort.write())).run()
    assert summary.failed == {}
    return summary


def figure_width(cohort: SmallCohort) -> int:
    with Image.open(cohort.production / "a" / "s1_figure.png") as figure:
        return figure.width


def test_the_second_slide_of_a_folder_is_in_the_figure_and_its_lack_is_said(tmp_path: Path) -> None:
    panels = {"panels": ["slide", "map", "beside"]}
    cohort = make_small_cohort(tmp_path, {"heatmap_arguments": {"figure": panels, "save_orig": False}})
    cohort.rows = cohort.rows[:1]
    run(cohort)
    alone = figure_width(cohort)
    beside = tmp_path / "ihc"
    beside.mkdir()
    cohort.config["data_arguments"]["beside_dir"] = str(beside)
    said = {note.code: str(note) for note in run(cohort).notes["s1"]}
    assert said["no_second_slide"] == "the figure has no second slide: beside_dir has no slide named s1"
    make_single_level(beside / "s1.tif", SIZE)
    said = {note.code: str(note) for note in run(cohort).notes["s1"]}
    assert said["no_second_slide"].endswith("s1.tif without s1.npy, which says where it lies")
    np.save(beside / "s1.npy", np.eye(3))
    assert "no_second_slide" not in {note.code for note in run(cohort).notes["s1"]}
    assert figure_width(cohort) > 1.3 * alone
    assert run(cohort).reused == ["s1"]
    np.save(beside / "s1.npy", np.array([[1, 0, 40], [0, 1, 0], [0, 0, 1.0]]))
    assert set(run(cohort).stage_seconds) == {"heatmap"}
