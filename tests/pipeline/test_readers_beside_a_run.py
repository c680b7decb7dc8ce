"""Whoever reads the folders while a run writes them sees whole files, or none."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.viewer.live import LiveCatalog
from mil_heatmaps.viewer.run_folder import catalog_of_runs, sign_of_runs
from tests.helpers.cohort import make_small_cohort
from tests.helpers.viewer import RunningViewer, running
from tests.helpers.waiting import LONG_S
from tests.helpers.warm import WarmProgram


@pytest.mark.slow
def test_files_read_while_a_run_writes_them_are_whole(tmp_path: Path, warm: WarmProgram) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 2}})
    run = warm.start("create_heatmaps.py", ["--config", cohort.write()], tmp_path, tmp_path / "said.txt")
    read = shown = 0
    viewer: RunningViewer | None = None
    live: LiveCatalog | None = None
    deadline = time.monotonic() + LONG_S
    stack = ExitStack()
    while run.ended() is None:
        assert time.monotonic() < deadline
        if viewer is None and (cohort.raw / "process_list.csv").exists():
            folders = [cohort.raw]
            catalog = catalog_of_runs(folders)
            live = LiveCatalog(catalog, lambda: catalog_of_runs([cohort.raw]), lambda: sign_of_runs([cohort.raw]))
            viewer = stack.enter_context(running(live))
        if viewer is not None:
            shown += _look(viewer)
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
    assert run.wait().code == 0, run.said()
    assert read > 10
    assert viewer is not None
    assert live is not None
    live.refresh(now=True)  # a short run may end before the list is looked at again
    assert shown + _look(viewer) > 0
    stack.close()


def _look(viewer: RunningViewer) -> int:
    """Ask for the list, every slide and its scores; return how many scores there were. None may be half there."""
    status, _, body = viewer.ask("/api/slides.json")
    assert (status, len(json.loads(body)["slides"])) == (200, 3)
    found = 0
    for place in range(3):
        status, _, body = viewer.ask(f"/api/slides/{place}.json")
        assert status == 200, body
        status, _, body = viewer.ask(f"{viewer.data}/scores/{place}/0/columns/0")
        assert status in (200, 404), body
        assert status == 404 or len(body) == 48 * 4
        found += status == 200
    return found
