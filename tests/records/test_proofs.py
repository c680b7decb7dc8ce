"""Finished slides seen at a glance: whatever could change a slide's outputs must be noticed all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.decide import Surveyed, survey
from mil_heatmaps.pipeline.runner import Runner, RunOptions
from mil_heatmaps.records.proofs import _coords_file, _CoordsFolders
from mil_heatmaps.records.record_file import read_head, record_text
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort, write_abmil, write_features


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


def test_a_slide_that_took_the_long_way_once_is_seen_at_a_glance_again(cohort: SmallCohort) -> None:
    (cohort.features / "s1.h5").chmod(0o600)  # as after a copy: another ctime, the same content
    assert look(cohort, brief=True).plans
    assert Runner(load_config(cohort.write())).run().reused == ["s1"]
    assert look(cohort, brief=True).plans == ()
    record = cohort.record("s1").stat().st_mtime_ns
    assert Runner(load_config(cohort.write())).run().reused == ["s1"]
    assert cohort.record("s1").stat().st_mtime_ns == record


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
    data = json.loads(path.read_text())
    path.write_text(record_text({**data, "proof": proof}, data.pop("stages")))
    assert read_head(str(path)) is not None
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


@pytest.mark.parametrize("change", ["cut short", "laid out otherwise"])
def test_a_record_in_another_layout_proves_nothing_and_still_holds(cohort: SmallCohort, change: str) -> None:
    path = cohort.record("s1")
    text = path.read_text()
    path.write_text(text[:-3] if change == "cut short" else json.dumps(json.loads(text), indent=2))
    assert read_head(str(path)) is None
    found = look(cohort, brief=True)
    assert len(found.plans) == 5
    assert found.up_to_date is (change != "cut short")


def test_a_long_record_has_a_head_too(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(record_text({"slide_id": "ü", "error": "a,\nb"}, {"segment": {"notes": ["x" * 100_000]}}))
    assert json.loads(path.read_text())["stages"]["segment"]["notes"] == ["x" * 100_000]
    head = read_head(str(path))
    assert head is not None
    assert (head["slide_id"], head["error"]) == ("ü", "a,\nb")
    path.write_text(path.read_text()[:-1])
    assert read_head(str(path)) is None


def test_slides_whose_patches_were_given_alone_are_seen_at_a_glance_too(tmp_path: Path) -> None:
    cohort = make_encoded(tmp_path, "tests.helpers.stub_encoder:create")
    cohort.rows = cohort.rows[:1]
    cohort.config["data_arguments"]["coords_dir"] = str(cohort.features)
    assert Runner(load_config(cohort.write())).run().processed == ["s1"]
    found = look(cohort, brief=True)
    assert (found.plans, found.up_to_date) == ((), True)
    write_features(cohort.features / "s1.h5", 9)
    assert not look(cohort, brief=True).up_to_date


@pytest.mark.parametrize("home", ["h5", "h5_files"])
@pytest.mark.parametrize(
    "place",
    [None, "h5_files/s1.h5", "{home}/s1_patches.h5", "patches/s1.h5", "../patches/s1_patches.h5", "given/s1.h5"],
)
def test_coordinates_beside_features_are_found_by_listing_as_by_looking(
    cohort: SmallCohort, home: str, place: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = Runner(load_config(cohort.write())).chosen_jobs()
    features = cohort.root / "deep" / home / "s1.h5"
    write_features(features, 1)
    if place is not None:
        write_features(cohort.root / "deep" / place.format(home=home), 2)
    job = replace(job, features_path=features, coords_dir=cohort.root / "deep" / "given")
    expected = _coords_file(job)
    assert (expected is None) == (place in (None, f"{home}/s1.h5"))
    assert _CoordsFolders().find(job) == expected
    if expected is None:
        monkeypatch.setattr("mil_heatmaps.records.proofs._coords_file", lambda _: pytest.fail("looked file by file"))
        assert _CoordsFolders().find(job) is None
