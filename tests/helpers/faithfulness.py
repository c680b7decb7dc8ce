"""Cohorts that are measured for faithfulness in this process, and what their runs wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mil_heatmaps.config.config import load_config
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from tests.helpers.cohort import SmallCohort, make_small_cohort


def cohort_of(root: Path, slides: int = 1, **sections: dict[str, Any]) -> SmallCohort:
    """Return a cohort that measures, worked on in this process."""
    sections = {"faithfulness_arguments": {"level": "quick"}, "run_arguments": {"workers": 1}} | sections
    cohort = make_small_cohort(root, {name: values for name, values in sections.items() if values})
    cohort.rows = cohort.rows[:slides]
    return cohort


def run(cohort: SmallCohort, **options: Any) -> RunSummary:
    summary = Runner(load_config(cohort.write()), RunOptions(**options)).run()
    assert summary.failed == {}
    return summary


def document(cohort: SmallCohort, slide_id: str = "s1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cohort.raw / "a" / slide_id / f"{slide_id}_faithfulness.json").read_text())
    return found


def small_abmil(cohort: SmallCohort) -> MILModel:
    return Runner(load_config(cohort.write())).model.load("cpu")
