"""Runs of scores that ask the model itself: one slide, up to its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mil_heatmaps.config.config import load_config
from mil_heatmaps.models.transformer import Transformer
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from tests.helpers.cohort import SmallCohort, make_small_cohort

SCORED = ("segment", "coords", "attention")


def cohort_of(root: Path, **sections: dict[str, Any]) -> SmallCohort:
    return make_small_cohort(root, sections)


def run(cohort: SmallCohort, *, stages: tuple[str, ...] = SCORED, slides: tuple[str, ...] = ("s1",)) -> RunSummary:
    summary = Runner(load_config(cohort.write()), RunOptions(stages=stages, slides=slides)).run()
    assert summary.failed == {}
    return summary


def write_transformer(path: Path) -> None:
    torch.manual_seed(0)
    torch.save(Transformer(16, 8, num_heads=2, num_classes=2).state_dict(), path)
