"""Whoever reads the folders while a run writes them sees whole files, or none."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import make_small_cohort

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_files_read_while_a_run_writes_them_are_whole(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 2}})
    command = [sys.executable, str(ROOT / "create_heatmaps.py"), "--config", str(cohort.write())]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    read = 0
    deadline = time.monotonic() + 120
    while run.poll() is None:
        assert time.monotonic() < deadline
        for path in [*cohort.raw.rglob("[!.]*.json"), *cohort.raw.rglob("[!.]*_blockmap.h5")]:
            if path.suffix == ".h5":
                assert len(read_scores(path)) == 48
            else:
                json.loads(path.read_bytes())
            read += 1
        for table in (cohort.raw / "process_list.csv", cohort.root / "results" / "list.csv"):
            if table.exists():
                assert len(read_table(table)[1]) == 3
                read += 1
        time.sleep(0.01)
    assert run.returncode == 0
    assert read > 10
