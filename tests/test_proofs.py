"""Finished slides seen at a glance: whatever could change a slide's outputs must be noticed all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from src.pipeline.config import load_config
from src.pipeline.runner import Runner, RunOptions
from src.pipeline.survey import Surveyed, survey
from tests.cohort_for_tests import SmallCohort, make_small_cohort, write_abmil, write_features


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    cohort = make_small_cohort(tmp_path)
    cohort.rows = cohort.rows[:1]
    assert Runner(load_config(cohort.write())).run().processed == ["s1"]
    return cohort


def look(cohort: SmallCohort, *, brief: bool) -> Surveyed:
    runner = Runner(load_config(cohort.write()))
    (found,) = survey(runner.chosen_jobs(), runner.settings, runner.stages, brief=brief)
    return found


def test_a_finished_slide_is_seen_at_a_glance_and_told_as_before(cohort: SmallCohort) -> None:
    brief, long = look(cohort, brief=True), look(cohort, brief=False)
    assert brief.plans == ()
    assert len(long.plans) == 5
    assert brief.up_to_date
    assert long.up_to_date
    for name in ("status", "seconds", "summary", "error"):
        assert getattr(brief.record, name) == getattr(long.record, name)
    listed = (cohort.raw / "process_list.csv").read_bytes()
    results = (cohort.root / "results" / "list.csv").read_bytes()
    again = Runner(load_config(cohort.write())).run()
    assert again.reused == ["s1"]
    assert (cohort.raw / "process_list.csv").read_bytes() == listed
    assert (cohort.root / "results" / "list.csv").read_bytes() == results


def same_size_and_time(path: Path) -> None:
    """Change a byte, and set the times back."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def set_row(cohort: SmallCohort, **cells: str) -> None:
    cohort.rows[0].update(cells)


def set_key(cohort: SmallCohort, section: str, key: str, value: object) -> None:
    cohort.config.setdefault(section, {})[key] = value


CHANGES: dict[str, Callable[[SmallCohort], object]] = {
    "features rewritten": lambda c: write_features(c.features / "s1.h5", 9),
    "features touched up in place, times set back": lambda c: same_size_and_time(c.features / "s1.h5"),
    "slide touched up in place, times set back": lambda c: same_size_and_time(c.slides / "s1.tif"),
    "coordinates beside the features": lambda c: write_features(c.root / "patches" / "s1_patches.h5", 1),
    "checkpoint": lambda c: write_abmil(c.checkpoint, seed=5),
    "drawing": lambda c: set_key(c, "heatmap_arguments", "cmap", "viridis"),
    "stage wanted now": lambda c: set_key(c, "export_arguments", "csv", True),
    "segmentation": lambda c: set_key(c, "segmentation_arguments", "sthresh", 20),
    "row's parameter": lambda c: set_row(c, sthresh="20"),
    "label": lambda c: set_row(c, label="b"),
    "output missing": lambda c: next((c.production / "a").glob("s1_0*")).unlink(),
    "output rewritten": lambda c: next((c.production / "a").glob("s1_0*")).write_bytes(b"x"),
    "status": lambda c: c.record("s1").write_text(c.record("s1").read_text().replace('"processed"', '"failed"')),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_at_a_glance_as_it_is_the_long_way(cohort: SmallCohort, change: str) -> None:
    CHANGES[change](cohort)
    brief, long = look(cohort, brief=True), look(cohort, brief=False)
    assert not brief.up_to_date
    assert brief == long


def test_a_slide_that_only_looks_changed_goes_the_long_way_and_is_reused(cohort: SmallCohort) -> None:
    os.utime(cohort.features / "s1.h5")
    assert len(look(cohort, brief=True).plans) == 5
    assert Runner(load_config(cohort.write())).run().reused == ["s1"]


@pytest.mark.parametrize("proof", ["nonsense", 7, {}, {"key": 1}, {"key": None, "files": []}, None])
def test_a_damaged_proof_proves_nothing(cohort: SmallCohort, proof: object) -> None:
    path = cohort.record("s1")
    path.write_text(json.dumps({**json.loads(path.read_text()), "proof": proof}))
    assert len(look(cohort, brief=True).plans) == 5


def test_no_proof_before_every_stage_is_done(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path)
    config = load_config(cohort.write())
    Runner(config, RunOptions(stages=("segment", "coords", "attention"))).run()
    assert json.loads(cohort.record("s1").read_text())["proof"] is None
    Runner(config, RunOptions(from_stage="heatmap")).run()
    assert json.loads(cohort.record("s1").read_text())["proof"] is not None


def test_what_is_decided_with_another_machine_in_mind_is_no_part_of_a_proof(cohort: SmallCohort) -> None:
    cohort.config["run_arguments"] = {"workers": 2, "retries": 4}
    assert look(cohort, brief=True).plans == ()
