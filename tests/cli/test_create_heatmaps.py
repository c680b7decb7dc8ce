"""`create_heatmaps.py` as a user calls it: exit codes, what it prints, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mil_heatmaps.cli.create_heatmaps import main
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_features

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


@pytest.mark.slow
def test_a_killed_run_is_finished_by_the_next_with_the_same_outputs(tmp_path: Path) -> None:
    calm, killed = make_small_cohort(tmp_path / "calm"), make_small_cohort(tmp_path / "killed")
    assert main(["--config", str(calm.write())]) == 0
    command = [sys.executable, str(ROOT / "create_heatmaps.py"), "--config", str(killed.write())]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for wanted in (1, 3):  # kill once this many stages are on record
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if sum(_stages(path) for path in killed.raw.rglob("record.json")) >= wanted:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
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


def test_help_names_every_stage_in_order() -> None:
    from mil_heatmaps.cli.create_heatmaps import STAGES
    from mil_heatmaps.stages.all_stages import STAGE_NAMES

    assert STAGES == STAGE_NAMES


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
