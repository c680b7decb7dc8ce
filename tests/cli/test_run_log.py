"""The log of a run is its own: what else this process logs stays as it was."""

import logging
from pathlib import Path

from mil_heatmaps.cli.create_heatmaps import main
from tests.helpers.cohort import make_small_cohort


def test_a_run_leaves_the_logging_of_its_process_as_it_was(tmp_path: Path) -> None:
    log = logging.getLogger("mil_heatmaps")
    before = log.level, log.propagate, list(log.handlers)
    cohort = make_small_cohort(tmp_path)
    assert main(["--config", str(cohort.write()), "--stages", "segment"]) == 0
    assert " INFO start: " in (cohort.raw / "run.log").read_text()
    assert (log.level, log.propagate, log.handlers) == before
