"""Features encoded by one run are taken by the next one of the same slides, encoder and patching."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.encoders.feature_cache import FeatureCache
from mil_heatmaps.features.write_features import read_key
from mil_heatmaps.pipeline.runner import Runner
from tests.helpers.cohort import SmallCohort, make_encoded


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    cohort = make_encoded(tmp_path / "c", "tests.helpers.stub_encoder:create", calc_heatmap=False)
    cohort.rows = cohort.rows[:1]
    return cohort


def features_of(cohort: SmallCohort, experiment: str) -> Path:
    """Run the cohort as an experiment of that name and return its features."""
    cohort.config["exp_arguments"]["save_exp_code"] = experiment
    summary = Runner(load_config(cohort.write())).run()
    assert summary.exit_code == 0, summary.failed
    return cohort.root / "raw" / experiment / "a" / "s1" / "s1.h5"


def log_of(cohort: SmallCohort, caplog: pytest.LogCaptureFixture, experiment: str) -> list[str]:
    caplog.clear()
    with caplog.at_level("INFO", logger="mil_heatmaps"):
        features_of(cohort, experiment)
    return [message for message in caplog.messages if "features of the same" in message or ": encoded" in message]


def test_a_second_run_takes_the_features_of_the_first_by_link(
    cohort: SmallCohort, caplog: pytest.LogCaptureFixture
) -> None:
    first = features_of(cohort, "first")
    (said,) = log_of(cohort, caplog, "second")
    assert "took the features of the same" in said
    second = cohort.root / "raw" / "second" / "a" / "s1" / "s1.h5"
    assert second.read_bytes() == first.read_bytes()
    assert os.stat(first).st_ino == os.stat(second).st_ino
    assert len(list((cohort.root / "features_cache").rglob("*.h5"))) == 1


def test_another_patching_is_encoded_anew(cohort: SmallCohort, caplog: pytest.LogCaptureFixture) -> None:
    features_of(cohort, "first")
    cohort.config["patching_arguments"]["patch_size"] = 32
    assert ": encoded" in log_of(cohort, caplog, "second")[0]


def test_a_damaged_file_is_not_taken_and_is_replaced(cohort: SmallCohort, caplog: pytest.LogCaptureFixture) -> None:
    first = features_of(cohort, "first").read_bytes()
    (shared,) = (cohort.root / "features_cache").rglob("*.h5")
    damaged = bytearray(first)
    damaged[-100] ^= 1
    shared.unlink()
    shared.write_bytes(bytes(damaged))
    assert ": encoded" in log_of(cohort, caplog, "second")[0]
    assert shared.read_bytes() == first


def test_false_shares_nothing_and_a_folder_of_ones_own_is_used(cohort: SmallCohort, tmp_path: Path) -> None:
    cohort.config["data_arguments"]["features_cache"] = False
    features_of(cohort, "first")
    assert not (cohort.root / "features_cache").exists()
    cohort.config["data_arguments"]["features_cache"] = str(tmp_path / "own")
    features_of(cohort, "second")
    assert len(list((tmp_path / "own").rglob("*.h5"))) == 1


def test_a_cache_that_cannot_be_written_does_not_end_a_slide(cohort: SmallCohort, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cohort.config["data_arguments"]["features_cache"] = str(tmp_path / "file")
    assert features_of(cohort, "first").is_file()


def test_what_is_not_there_is_not_taken(tmp_path: Path) -> None:
    assert FeatureCache(tmp_path).take("0" * 64, 3, tmp_path / "out.h5") is None
    assert read_key(tmp_path / "out.h5") is None
