"""The middle of maps of risks and values: the training's median, the cohort's, the slide's own, or a number."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from mil_heatmaps.cohort.shards import Shard
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.pipeline.runner import Runner, RunOptions
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.score_columns import planned_maps
from mil_heatmaps.visualization.colour_rule import ColourScale
from tests.helpers.cohort import SmallCohort, make_small_cohort


def survival(root: Path, median: float | None = None) -> SmallCohort:
    changes = {"model_arguments": {"task": "survival"}, "heatmap_arguments": {"score": "single"}}
    cohort = make_small_cohort(root, changes)
    del cohort.config["data_arguments"]["label_dict"]
    torch.manual_seed(0)
    model = ABMIL(in_dim=16, embed_dim=8, attn_dim=8, num_classes=3)
    settings = {} if median is None else {"hyper_parameters": {"train_pred_median": median}}
    torch.save({"state_dict": model.state_dict(), **settings}, cohort.checkpoint)
    return cohort


def drawn(cohort: SmallCohort, slide: str = "s1") -> ColourScale:
    """Run all slides; return what the colours of one of them mean."""
    runner = Runner(load_config(cohort.write()))
    assert runner.run().failed == {}
    job = runner.cohort.jobs[slide]
    with SlideWork(job, runner.settings, SlideRecord.load(job.paths.record, slide)) as work:
        return planned_maps(work)[0].drawing.scale


def risks(cohort: SmallCohort) -> dict[str, float]:
    files = cohort.raw.glob("*/*/*_blockmap.h5")
    return {path.parent.name: read_scores(path).prediction.risk for path in files}  # type: ignore[union-attr]


def test_without_anything_else_a_risk_is_beside_the_slides_own_and_says_so(tmp_path: Path) -> None:
    cohort = survival(tmp_path)
    scale = drawn(cohort)
    assert scale.center == pytest.approx(risks(cohort)["s1"], abs=1e-6)
    assert "centred at the slide's own risk (" in scale.label
    assert scale.meaning == "brown: above the slide's own risk: high risk; teal: below: low risk"
    assert "predicted_group" not in cohort.process_list()["s1"]


def test_the_median_of_the_training_is_taken_where_the_checkpoint_knows_it(tmp_path: Path) -> None:
    cohort = survival(tmp_path, -5.0)
    scale = drawn(cohort)
    assert scale.center == -5
    assert scale.meaning == "brown: above the training median: high risk; teal: below: low risk"
    assert {row["predicted_group"] for row in cohort.process_list().values()} == {"high risk"}
    # the group stands beside any other score of the model
    cohort.config["heatmap_arguments"]["score"] = "attention"
    assert drawn(cohort).center is None
    assert {row["predicted_group"] for row in cohort.process_list().values()} == {"high risk"}
    listed = (cohort.raw / "process_list.csv").read_text()
    assert Runner(load_config(cohort.write())).run().reused == ["s1", "s2", "s3"]
    assert (cohort.raw / "process_list.csv").read_text() == listed
    with (cohort.root / "results" / "list.csv").open(newline="") as file:
        assert {row["predicted_group"] for row in csv.DictReader(file)} == {"high risk"}


def test_the_median_of_the_cohort_or_a_number(tmp_path: Path) -> None:
    cohort = survival(tmp_path, -5.0)
    cohort.config["heatmap_arguments"]["center"] = "cohort_median"
    scale = drawn(cohort)
    own = risks(cohort)
    assert scale.center == pytest.approx(np.median(list(own.values())), abs=1e-6)
    assert scale.meaning.startswith("brown: above the cohort's median: high risk")
    groups = {name: row["predicted_group"] for name, row in cohort.process_list().items()}
    order = sorted(own, key=lambda name: own[name])
    assert [groups[name] for name in order] == ["low risk", "median risk", "high risk"]
    assert Runner(load_config(cohort.write())).run().reused == ["s1", "s2", "s3"]
    cohort.config["heatmap_arguments"]["scale"] = "cohort"
    both = drawn(cohort)
    assert both.center == scale.center
    assert "of the cohort (3 slides)" in both.label
    cohort.config["heatmap_arguments"] |= {"scale": "slide", "center": 0.25}
    scale = drawn(cohort)
    assert scale.center == 0.25
    assert scale.meaning == "brown: above 0.25: high risk; teal: below: low risk"
    assert {row["predicted_group"] for row in cohort.process_list().values()} == {"low risk"}


def test_differences_keep_zero_and_may_have_another_middle(tmp_path: Path) -> None:
    cohort = survival(tmp_path, -5.0)
    cohort.config["heatmap_arguments"]["score"] = "leave_one_out"
    scale = drawn(cohort)
    assert scale.center == 0
    assert scale.meaning == "brown raises risk, teal lowers it"
    cohort.config["heatmap_arguments"]["center"] = "cohort_median"
    scale = drawn(cohort)
    files = cohort.raw.glob("*/*/*_blockmap.h5")
    pooled = np.concatenate([read_scores(path).scores.values[:, 0] for path in files])
    assert scale.center == pytest.approx(np.median(pooled), abs=1e-7)
    assert scale.meaning.startswith("brown: above the cohort's median (")
    assert scale.meaning.endswith("), teal: below it")


def test_a_shard_cannot_know_the_cohorts_median(tmp_path: Path) -> None:
    cohort = survival(tmp_path)
    cohort.config["heatmap_arguments"]["center"] = "cohort_median"
    with pytest.raises(ConfigError, match="center is cohort_median, but a shard knows only its own slides"):
        Runner(load_config(cohort.write()), RunOptions(shard=Shard.parse("1/2")))
