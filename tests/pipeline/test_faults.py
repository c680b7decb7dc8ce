"""A run stopped at a write goes on with the same command, and nothing is lost, left behind or done twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cohort import make_small_cohort
from tests.helpers.waiting import LONG_S
from tests.helpers.warm import WarmProgram

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_run_stopped_at_a_write_goes_on_as_if_nothing_had_been() -> None:
    # In a process of its own, which forks before torch has threads. Every write in turn: the script without --step.
    script = str(ROOT / "benchmarks" / "fault_at_each_write.py")
    command = [sys.executable, script, "--faults", "kill", "ENOSPC", "gone", "--first", "3", "--step", "12"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * LONG_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of 0 well" not in done.stdout


def test_a_disk_full_for_hdf5_fails_the_slide_and_the_next_command_does_it(tmp_path: Path, warm: WarmProgram) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1}, "export_arguments": {"csv": {}}})
    cohort.rows = cohort.rows[:1]
    cohort.config["sample_arguments"] = {"samples": []}
    command = ["create_heatmaps.py", ["--config", cohort.write()], tmp_path]
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"
    )
    first = warm.start(*command, tmp_path / "first.txt", before=limited)
    assert first.wait().code in (1, 2), first.said()  # not a signal: HDF5 was refused more than 9000 bytes
    assert "Traceback" not in first.said()
    second = warm.start(*command, tmp_path / "second.txt")
    assert second.wait().code == 0, second.said()
    assert {row["status"] for row in cohort.process_list().values()} == {"processed"}
