"""Maps are planned once a slide, from the grid of their scores."""

from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.score_columns import planned_maps
from tests.helpers.cohort import make_small_cohort


def test_map_original_and_exports_share_one_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mil_heatmaps.visualization import heatmap_utils

    exports = {"png": {"content": "colours"}, "geojson": {}}
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1}, "export_arguments": exports})
    cohort.rows = cohort.rows[:1]
    planned: list[Any] = []
    plan = heatmap_utils.plan_heatmap
    monkeypatch.setattr(heatmap_utils, "plan_heatmap", lambda *given: planned.append(given) or plan(*given))
    assert Runner(load_config(cohort.write())).run().failed == {}
    assert len(planned) == 2  # CLAM's blockmap, and the map
    assert {"s1_orig_0.jpg", "s1_colours.png", "s1.geojson"} <= {Path(name).name for name in cohort.outputs()}


def test_plans_last_until_their_scores_or_tissue_are_written_anew(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path)
    runner = Runner(load_config(cohort.write()))
    runner.run()
    job = runner.cohort.jobs["s1"]
    work = SlideWork(job, runner.settings, SlideRecord.load(job.paths.record, "s1"))
    (kept,) = maps = planned_maps(work)
    assert kept.drawing.grid is kept.column.grid is work.score_file.grid
    assert planned_maps(work) is maps
    work.forget_artifacts([job.paths.blockmap_png])
    assert planned_maps(work) is maps
    for path in (job.paths.blockmap_h5, job.paths.mask_pkl):
        planned_maps(work)
        work.forget_artifacts([job.paths.blockmap_png, path])
        assert work.maps is None
    work.close()
