"""All commands answer alike: without arguments, asked for their version, and about slides without features."""

import sys
from pathlib import Path

import pytest

from mil_heatmaps.cli import create_heatmaps, create_process_list, doctor, generate_heatmaps, view_heatmap_sync
from mil_heatmaps.version import __version__
from tests.helpers.cohort import make_small_cohort
from tests.helpers.slides import make_single_level

COMMANDS = {
    "create_heatmaps.py": create_heatmaps.main,
    "generate_heatmaps.py": generate_heatmaps.main,
    "create_process_list.py": create_process_list.main,
    "view_heatmap_sync.py": view_heatmap_sync.main,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_arguments_prints_its_usage_and_one_line(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    try:
        code = COMMANDS[name]([])
    except SystemExit as left:
        code = int(left.code or 0)
    told = capsys.readouterr()
    usage, line = told.err.splitlines()
    assert (code, told.out) == (2, "")
    assert usage.startswith(f"usage: {name} --")
    assert line.startswith(f"{name}: error: ")
    assert "give --" in line
    assert "--help" in line


@pytest.mark.parametrize("name", [*COMMANDS, "test_heatmap_setup.py"])
def test_every_command_tells_its_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = COMMANDS.get(name, doctor.main)
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert (left.value.code, capsys.readouterr().out) == (0, f"{name} {__version__}\n")


def test_a_slide_without_features_fails_where_a_list_names_it_and_is_left_out_where_it_only_lies_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = make_small_cohort(tmp_path)
    make_single_level(cohort.slides / "bare.tif", (512, 512))
    cohort.rows = [{"slide_id": "s1", "label": "a"}, {"slide_id": "bare", "label": "a"}]
    config = str(cohort.write())
    assert create_heatmaps.main(["--config", config]) == 1
    assert "failed  bare: no feature file for 'bare'" in capsys.readouterr().out
    del cohort.config["data_arguments"]["process_list"]
    cohort.config["exp_arguments"]["save_exp_code"] = "without_list"
    assert create_heatmaps.main(["--config", str(cohort.write())]) == 0
    assert "note: 1 slide has no features and is left out: bare" in capsys.readouterr().out


def test_a_run_that_could_do_nothing_says_so_and_names_no_folder_of_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = make_small_cohort(tmp_path)
    for file in cohort.features.iterdir():
        file.unlink()
    assert create_heatmaps.main(["--config", str(cohort.write())]) == 1
    out = capsys.readouterr().out
    assert "no slide could be processed" in out
    assert "\npictures " not in out
    del cohort.config["data_arguments"]["process_list"]
    assert create_heatmaps.main(["--config", str(cohort.write())]) == 2
    assert "no slide of 3 found has features: no feature file for" in capsys.readouterr().err
