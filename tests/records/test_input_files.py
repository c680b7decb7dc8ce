"""Finished slides: whatever could change their outputs is noticed, and nothing untouched is read again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.files.digests import file_fingerprint
from mil_heatmaps.pipeline.decide import Surveyed, survey
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.records.input_files import InputFiles
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort, write_abmil, write_features


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    cohort = make_small_cohort(tmp_path)
    cohort.rows = cohort.rows[:1]
    assert Runner(load_config(cohort.write())).run().processed == ["s1"]
    return cohort


def look(cohort: SmallCohort, *, brief: bool = False) -> Surveyed:
    runner = Runner(load_config(cohort.write()))
    (found,) = survey(runner.chosen_jobs(), runner.settings, runner.stages, brief=brief)
    return found


def test_a_finished_slide_is_told_briefly_as_at_length(cohort: SmallCohort) -> None:
    brief, long = look(cohort, brief=True), look(cohort)
    assert (brief.plans, len(long.plans)) == ((), 5)
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


def test_an_untouched_input_is_read_once_in_its_life(cohort: SmallCohort) -> None:
    assert look(cohort).read_files == {}
    (cohort.features / "s1.h5").chmod(0o600)  # as after a copy: another ctime, the same content
    assert list(look(cohort).read_files) == [str(cohort.features / "s1.h5")]
    assert Runner(load_config(cohort.write())).run().reused == ["s1"]
    assert look(cohort).read_files == {}
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
def test_a_change_is_noticed(cohort: SmallCohort, change: str) -> None:
    CHANGES[change](cohort)
    assert not look(cohort).up_to_date
    assert not look(cohort, brief=True).up_to_date


def test_a_slide_that_only_looks_changed_is_reused(cohort: SmallCohort) -> None:
    os.utime(cohort.features / "s1.h5")
    assert look(cohort).up_to_date
    assert Runner(load_config(cohort.write())).run().reused == ["s1"]


@pytest.mark.parametrize("files", ["nonsense", 7, {}, {"s1.h5": 1}, None])
def test_a_damaged_memory_of_files_has_them_read_again(cohort: SmallCohort, files: object) -> None:
    path = cohort.record("s1")
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "files": files}))
    found = look(cohort)
    assert found.up_to_date
    assert str(cohort.features / "s1.h5") in found.read_files


def test_a_record_of_before_that_holds_a_proof_still_holds(cohort: SmallCohort) -> None:
    path = cohort.record("s1")
    data = json.loads(path.read_text())
    del data["files"]
    path.write_text(json.dumps({**data, "proof": {"key": "0"}, "rest_bytes": 7}, indent=1))
    assert look(cohort).up_to_date
    assert Runner(load_config(cohort.write())).run().reused == ["s1"]


def test_a_record_cut_short_counts_as_nothing_done(cohort: SmallCohort) -> None:
    path = cohort.record("s1")
    path.write_text(path.read_text()[:-3])
    assert not look(cohort).up_to_date


def test_what_concerns_the_machine_alone_changes_nothing(cohort: SmallCohort) -> None:
    cohort.config["run_arguments"] = {"workers": 2, "retries": 4}
    assert look(cohort).up_to_date


def test_a_file_whose_size_and_times_are_known_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    first = InputFiles({})
    assert first.fingerprint(path) == file_fingerprint(path)
    known = {key: [*entry[:3], "as recorded"] for key, entry in first.read.items()}
    again = InputFiles(known)
    assert again.fingerprint(path) == {"size": 3, "sha256": "as recorded"}
    assert again.read == {}
    path.write_bytes(b"abd")
    assert InputFiles(known).fingerprint(path) == file_fingerprint(path)


def test_slides_whose_patches_were_given_alone_are_up_to_date_too(tmp_path: Path) -> None:
    cohort = make_encoded(tmp_path, "tests.helpers.stub_encoder:create")
    cohort.rows = cohort.rows[:1]
    cohort.config["data_arguments"]["coords_dir"] = str(cohort.features)
    assert Runner(load_config(cohort.write())).run().processed == ["s1"]
    assert look(cohort).up_to_date
    assert look(cohort).read_files == {}
    write_features(cohort.features / "s1.h5", 9)
    assert not look(cohort).up_to_date
