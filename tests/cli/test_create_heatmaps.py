"""`create_heatmaps.py` as a user calls it: exit codes, what it prints, kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mil_heatmaps.cli.create_heatmaps import main
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_features
from tests.helpers.warm import WarmProgram

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path)


def test_a_run_prints_a_summary_and_leaves_with_0(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(cohort.write())]) == 0
    out, err = capsys.readouterr()
    assert "3 processed, 0 reused, 0 failed" in out
    assert str(cohort.production) in out
    assert "[3/3] s3: segment, coords, attention, heatmap, samples in" in err
    assert "left" in err
    assert main(["--config_file", str(cohort.write())]) == 0
    assert "0 processed, 3 reused, 0 failed" in capsys.readouterr().out


def test_a_failed_slide_gives_1_and_its_reason(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    write_features(cohort.features / "s2.h5", 2, width=24)
    assert main(["--config", str(cohort.write())]) == 1
    out = capsys.readouterr().out
    assert "2 processed, 0 reused, 1 failed" in out
    assert "24 wide" in out
    assert "--rerun failed" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        ([], "--config"),
        (["--stages", "heatmaps"], "choose from segment, coords"),
        (["--rerun", "done"], "choose from all"),
        (["--slides", "s9"], "s9"),
        (["--overlap", "1.5"], "overlap"),
        (["--devices", "gpu"], "run_arguments.devices must be auto, cpu, cuda or cuda:N, got 'gpu' (given on the"),
        (["--devices", "auto", "cpu"], "run_arguments.devices must be auto, cpu, or a list such as [cuda:0, cuda:1]"),
        (["--memory_limit", "lots"], "run_arguments.memory_limit must be a size in memory such as 8GB, got 'lots'"),
    ],
)
def test_a_bad_command_gives_2_and_does_nothing(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    config = [] if not arguments or "--config" in arguments else ["--config", str(cohort.write())]
    assert main([*config, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not cohort.production.exists() or not list(cohort.production.rglob("*.jpg"))


def test_a_dry_run_says_what_would_be_done_and_why_and_writes_nothing(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    write_features(cohort.features / "s2.h5", 2, width=24)
    (cohort.slides / "s3.tif").unlink()
    path = str(cohort.write())
    assert main(["--config", path, "--dry-run"]) == 1  # as the run itself would
    out = capsys.readouterr().out
    assert out.endswith("2 of the slides would fail\n")
    assert "segment    compute    not done yet" in out
    assert "would fail: no slide for 's3'" in out
    assert not (cohort.root / "raw").exists()
    main(["--config", path])
    cohort.config["heatmap_arguments"]["cmap"] = "viridis"
    capsys.readouterr()
    main(["--config", str(cohort.write()), "--dry_run"])
    out = capsys.readouterr().out
    assert "heatmap    recompute  changed: drawing.cmap" in out
    assert "attention  reuse      nothing changed" in out


@pytest.mark.parametrize(("slide", "code"), [("s1", 0), ("s3", 1), ("s3.tif", 1)])
def test_a_dry_run_of_some_slides_tells_of_those_alone_as_the_run_does(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str], slide: str, code: int
) -> None:
    (cohort.slides / "s3.tif").unlink()
    cohort.rows[2]["slide_id"] = "s3.tif"
    path = str(cohort.write())
    for more in (["--dry-run"], []):
        assert main(["--config", path, "--slides", slide, *more]) == code
        assert ("no slide for 's3'" in capsys.readouterr().out) is bool(code)


def test_the_end_of_a_run_says_how_failed_slides_are_done_again(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    write_features(cohort.features / "s2.h5", 2, width=24)
    path = str(cohort.write())
    assert main(["--config", path]) == 1
    hint = "the same command tries the failed slides again; with --rerun failed only those"
    assert capsys.readouterr().out.splitlines()[-1] == hint
    write_features(cohort.features / "s2.h5", 2)
    assert main(["--config", path]) == 0
    assert "1 processed, 2 reused" in capsys.readouterr().out


def test_the_schema_is_json_and_names_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schema"]) == 0
    assert "heatmap_arguments" in json.loads(capsys.readouterr().out)["properties"]


def test_the_command_line_changes_the_config(cohort: SmallCohort) -> None:
    assert (
        main(["--config", str(cohort.write()), "--save_exp_code", "F", "--limit", "1", "--device", "cpu"])
        == 0
    )
    assert (cohort.root / "prod" / "F").is_dir()
    assert not (cohort.root / "prod" / "E").exists()


@pytest.mark.parametrize(
    ("devices", "kept"), [(["cpu"], "cpu"), (["cpu", "cpu"], ["cpu", "cpu"]), (["cpu,cpu"], ["cpu", "cpu"])]
)
def test_how_much_of_the_machine_to_use_may_be_given_on_the_command_line(
    devices: list[str], kept: str | list[str], cohort: SmallCohort
) -> None:
    flags = ["--devices", *devices, "--memory_limit", "16GB", "--workers", "1", "--stages", "segment"]
    assert main(["--config", str(cohort.write()), *flags]) == 0
    run = yaml.safe_load((cohort.raw / "config.yaml").read_text())["run_arguments"]
    assert (run["devices"], run["memory_limit"], run["workers"]) == (kept, 16_000_000_000, 1)


def test_a_time_limit_ends_the_run_with_3_and_the_same_command_goes_on(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(cohort.write())
    assert main(["--config", path, "--time_limit", "1e-9"]) == 3
    assert "stopped before the end (the time limit is near), 3 slides left" in capsys.readouterr().out
    assert main(["--config", path, "--time_limit", "3h30m"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["--config", path, "--time_limit", "soon"])
    assert "must be a time such as 3h30m, 45m, 04:00:00 or seconds, got 'soon'" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["create_heatmaps.py", "create_process_list.py"])
def test_help_imports_nothing_heavy(script: str) -> None:
    code = (
        "import sys, runpy\nsys.argv = [sys.argv[1], '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'cv2', 'openslide', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


DIE_AFTER_SAVES = """
import os, signal
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages import run_slide

save, left = SlideRecord.save, {saves}

def save_and_count(record):
    global left
    save(record)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

SlideRecord.save, run_slide.SAVE_EVERY_S = save_and_count, 0.0  # a save after every stage
"""


@pytest.mark.slow
def test_a_killed_run_is_finished_by_the_next_with_the_same_outputs(tmp_path: Path, warm: WarmProgram) -> None:
    calm, killed = make_small_cohort(tmp_path / "calm"), make_small_cohort(tmp_path / "killed")
    assert main(["--config", str(calm.write())]) == 0
    for saves in (1, 3):
        command = ["create_heatmaps.py", ["--config", killed.write()], ROOT, tmp_path / "said.txt"]
        assert warm.start(*command, before=DIE_AFTER_SAVES.format(saves=saves)).wait().code == -signal.SIGKILL
    before = {path: path.read_text() for path in killed.raw.rglob("record.json")}
    assert before
    assert main(["--config", str(killed.write())]) == 0
    assert killed.outputs() == calm.outputs()
    for path, text in before.items():
        for name, stage in json.loads(text)["stages"].items():
            assert json.loads(path.read_text())["stages"][name] == stage


def _stages(record: Path) -> int:
    try:
        return len(json.loads(record.read_text())["stages"])
    except (OSError, ValueError):
        return 0


def test_rows_that_failed_before_they_had_a_record_are_taken_by_rerun_failed(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.rows[1]["label"] = "leson"
    assert main(["--config", str(cohort.write())]) == 1
    cohort.rows[1]["label"] = "b"
    assert main(["--config", str(cohort.write()), "--rerun", "failed"]) == 0
    assert "1 processed, 0 reused, 0 failed" in capsys.readouterr().out


def test_a_dry_run_finds_what_a_run_would_refuse(cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    cohort.config["heatmap_arguments"]["cmap"] = "jett"
    assert main(["--config", str(cohort.write()), "--dry-run"]) == 2
    assert "did you mean 'jet'" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["heatmap", "exports"])
def test_an_unknown_colormap_stops_every_stage_that_draws_before_any_work(
    stage: str, cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.config["export_arguments"] = {"png": True}
    assert main(["--config", str(cohort.write()), "--stages", "segment,coords,attention"]) == 0
    before = cohort.outputs()
    capsys.readouterr()
    cohort.config["heatmap_arguments"]["cmap"] = "nope"
    assert main(["--config", str(cohort.write()), "--stages", stage]) == 2
    assert "unknown colormap 'nope'" in capsys.readouterr().err
    assert cohort.outputs() == before
    assert main(["--config", str(cohort.write()), "--stages", "samples"]) == 0  # it has no colours
