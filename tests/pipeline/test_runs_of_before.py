"""A run made by version 0.1.0, before the code became one package, is resumed and not done again.

``tests/data/run_of_version_0_1_0.tar.xz`` holds the whole folder of that run: inputs, outputs and records.
"""

import tarfile
from pathlib import Path

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.decide import survey
from mil_heatmaps.pipeline.runner import Runner

STORED = Path(__file__).parents[1] / "data" / "run_of_version_0_1_0.tar.xz"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The config of the stored run, with its paths where the test has put it."""
    with tarfile.open(STORED) as archive:
        archive.extractall(tmp_path, filter="data")
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("/tmp/stored_run", str(tmp_path)))
    return config


def test_every_stage_of_the_stored_run_is_reused(stored: Path) -> None:
    runner = Runner(load_config(stored))
    (found,) = survey(runner.chosen_jobs(), runner.settings, runner.stages)
    decided = {plan.stage: (plan.decision.action, plan.decision.reason) for plan in found.plans}
    assert decided == dict.fromkeys(
        ("segment", "coords", "attention", "heatmap", "samples", "exports"), ("reuse", "nothing changed")
    )


def test_resuming_the_stored_run_leaves_its_outputs_as_they_are(stored: Path) -> None:
    files = [path for name in ("raw/E/a", "prod") for path in (stored.parent / name).rglob("*") if path.is_file()]
    outputs = [path for path in files if path.name != "record.json"]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outputs}
    assert Runner(load_config(stored)).run().reused == ["s1"]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outputs} == before
