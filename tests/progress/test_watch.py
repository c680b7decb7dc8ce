"""Looking at a run from outside: events, signs of life, `--watch`, times in run.log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.cohort.experiments import find_experiment
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.progress.events import EventLog, EventReader
from mil_heatmaps.progress.watch import ExperimentView, view_text
from mil_heatmaps.records.run_signs import Presence, find_runs
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_features


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path)


def test_events_tell_each_slide_with_its_times_by_stage(cohort: SmallCohort) -> None:
    write_features(cohort.features / "s2.h5", 2, width=24)
    assert main(["--config", str(cohort.write())]) == 1
    events = list(EventReader(cohort.raw / "events.jsonl").new())
    assert [event["event"] for event in events] == [
        "run_started", *["slide_started", "slide_finished"] * 3, "run_finished",
    ]  # fmt: skip
    first, second = (event for event in events if event["event"] == "slide_finished" and event["slide_id"] != "s3")
    assert (first["status"], first["failed_stage"], first["error"]) == ("processed", None, None)
    assert list(first["stages"]) == ["segment", "coords", "attention", "heatmap", "samples"]
    record = json.loads(cohort.record("s1").read_text())
    assert first["stages"] == {name: stage["seconds"] for name, stage in record["stages"].items()}
    assert (second["status"], second["failed_stage"]) == ("failed", "attention")
    assert "24 wide" in second["error"]
    assert {key: events[-1][key] for key in ("processed", "reused", "failed", "left", "stopped")} == {
        "processed": 2, "reused": 0, "failed": 1, "left": 0, "stopped": None,
    }  # fmt: skip
    log = (cohort.raw / "run.log").read_text()
    assert "s1: processed in" in log
    assert f"segment {first['stages']['segment']:.2f}" in log
    assert not list(cohort.raw.glob(".running-*"))


def test_watch_shows_a_finished_run(cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(cohort.features / "s2.h5", 2, width=24)
    config = str(cohort.write())
    main(["--config", config])
    for given in (str(cohort.raw), config):
        capsys.readouterr()
        assert main(["--watch", given]) == 0
        out = capsys.readouterr().out
        assert "E: 3 of 3 slides done (100 %)" in out
        assert "2 processed  1 failed" in out
        assert "no run is at work; the last one ended" in out
        assert "s2: attention: features are 24 wide" in out
    assert main(["--watch", str(cohort.root / "nothing")]) == 2


@pytest.mark.parametrize("once", [True, False])
def test_watch_looks_once_or_every_so_many_seconds_until_ctrl_c(
    once: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with Presence(tmp_path):
        (path,) = tmp_path.glob(".running-*")
        sign = json.loads(path.read_text())
        start = {"event": "run_started", "slides": 10, "up_to_date": 0, "shard": None, "host": sign["host"]}
        run = {**start, "run": f"{sign['host']}-{sign['pid']}-1", "time": time.time(), "pid": sign["pid"]}
        (tmp_path / "events.jsonl").write_text(json.dumps(run) + "\n")
        (tmp_path / "process_list.csv").write_text("slide_id,status,failed_stage,error\na,tbp,,\n")
        assert main(["--watch", str(tmp_path), *(["--once"] if once else ["--every", "7"])]) == 0
    out = capsys.readouterr().out
    assert waited == ([] if once else [7.0, 7.0])
    assert out.count("0 of 1 slides done (0 %)") == (1 if once else 2)
    assert ("again every 7 s; Ctrl-C leaves, the run goes on" in out) is not once


def test_watch_shows_a_run_at_work_and_one_that_was_killed(tmp_path: Path) -> None:
    """A run is at work while its process lives, whatever the events say."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    with Presence(tmp_path):
        sign = json.loads(next(tmp_path.glob(".running-*")).read_text())
    sign["pid"] = other.pid
    marker = tmp_path / f".running-{sign['host']}-{other.pid}"
    marker.write_text(json.dumps(sign))
    now = time.time()
    run = {"run": f"{sign['host']}-{other.pid}-1"}
    start = {"event": "run_started", "slides": 10, "up_to_date": 2, "shard": "1/2", "host": sign["host"]}
    done = {"event": "slide_finished", "status": "processed", "seconds": 3.0, "stages": {"attention": 1.5}}
    lines = [
        {**run, **start, "time": now - 60, "pid": other.pid},
        {**run, "time": now - 50, "event": "slide_started", "slide_id": "a"},
        {**run, "time": now - 50, "event": "slide_started", "slide_id": "b"},
        {**run, **done, "time": now - 30, "slide_id": "a"},
        {**run, "time": now - 30, "event": "something_new"},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    (tmp_path / "process_list.csv").write_text(
        "slide_id,status,failed_stage,error\n" + "".join(f"{name},tbp,,\n" for name in "abcdefghij")
    )
    view = ExperimentView(tmp_path)
    view.refresh()
    text = view_text(view, now=now)
    assert "1 of 10 slides done (10 %)" in text
    assert f"run shard 1/2 on {sign['host']} for 1 min 0 s: 1 done, 0 failed, 7 to go, 1.0 slides/min" in text
    assert "about 7 min 0 s left" in text
    assert "at work: b (50 s)" in text
    assert "mean time: attention 1.50 s" in text
    other.kill()
    other.wait()
    view.refresh()
    assert "was killed or lost" in view_text(view, now=now)


def test_watch_follows_what_is_added(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    reader = EventReader(tmp_path / "events.jsonl")
    assert list(reader.new()) == []
    log.add("slide_started", slide_id="ä")
    assert [event["slide_id"] for event in reader.new()] == ["ä"]
    assert list(reader.new()) == []
    log.close()
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"torn by a full disk')
    log.add("slide_started", slide_id="b")
    assert [event["slide_id"] for event in reader.new()] == ["b"]
    log.close()


def test_events_that_cannot_be_written_do_not_end_a_run(cohort: SmallCohort) -> None:
    (cohort.raw / "events.jsonl").mkdir(parents=True)
    assert main(["--config", str(cohort.write())]) == 0


def test_signs_of_the_dead_are_cleared_and_those_of_the_living_told(tmp_path: Path) -> None:
    with Presence(tmp_path, "1/2") as mine:
        assert (mine.others, mine.after_a_kill) == ([], False)
        (sign,) = find_runs(tmp_path)
        assert (sign.pid, sign.shard, sign.alive) == (os.getpid(), "1/2", True)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        told = {"host": sign.host, "pid": gone.pid, "since": 0, "shard": None}
        dead = tmp_path / f".running-{sign.host}-{gone.pid}"
        dead.write_text(json.dumps(told))
        elsewhere = tmp_path / ".running-node7-1"
        elsewhere.write_text(json.dumps({**told, "host": "node7", "pid": 1}))
        silent = tmp_path / ".running-node8-1"
        silent.write_text(json.dumps({**told, "host": "node8", "pid": 1}))
        os.utime(silent, (0, 0))
        second = Presence(tmp_path)
        assert [(other.host, other.pid) for other in second.others] == [("node7", 1)]
        assert second.after_a_kill
        with second:
            assert not dead.exists()
            assert not silent.exists()
    assert [sign.host for sign in find_runs(tmp_path)] == ["node7"]


def test_a_second_run_says_that_another_is_at_work(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.raw.mkdir(parents=True)
    told = {"host": "node7", "pid": 1, "since": 0, "shard": None}
    (cohort.raw / ".running-node7-1").write_text(json.dumps(told))
    assert main(["--config", str(cohort.write())]) == 0
    assert "another run is at work on this experiment (process 1 on node7)" in capsys.readouterr().err


def test_what_is_no_experiment_is_an_error_that_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="save_exp_code"):
        find_experiment(str(tmp_path))


def test_an_experiment_is_found_by_its_name_where_a_config_that_says_nothing_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = Path("heatmaps/heatmap_raw_results")
    with pytest.raises(ConfigError, match=f"there is none in {raw}"):
        find_experiment("lung")
    for name, file in (("lung", "process_list.csv"), ("flat", "heatmap_results.csv"), ("no_run", "x")):
        (raw / name).mkdir(parents=True)
        (raw / name / file).touch()
    os.utime(raw / "flat", (1, 1))
    Path("lung").mkdir()  # a folder of that name that is not an experiment does not hide it
    assert find_experiment("lung") == find_experiment("lung", any_folder=True) == raw / "lung"
    with pytest.raises(ConfigError, match=f"no experiment in lnug or {raw}/lnug: .*in {raw} there is lung, flat$"):
        find_experiment("lnug")


def test_a_slides_second_row_is_a_failure_of_its_own(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.rows = [{"slide_id": name, "label": "a"} for name in ("s1.tif", "s2", "s1")]
    assert main(["--config", str(cohort.write())]) == 1
    capsys.readouterr()
    main(["--watch", str(cohort.raw)])
    out = capsys.readouterr().out
    assert "E: 3 of 3 slides done" in out
    assert "2 processed  1 failed" in out
    assert "s1 (line 4): process_list: slide_id 's1' is in the list already (line 2)" in out
