"""create_process_list.py: lists from folders of slides and from what a run has left."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.cli.create_process_list import main
from mil_heatmaps.records.slide_record import SlideRecord, StageRecord

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four slides, features of three of them and of one more."""
    monkeypatch.chdir(tmp_path)
    for name in ("slides/A.svs", "slides/B.svs", "slides/inner/C.tiff", "slides/TCGA-1.x.svs"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for stem in ("A", "C", "TCGA-1.x", "gone"):
        (tmp_path / "h5").mkdir(exist_ok=True)
        (tmp_path / "h5" / f"{stem}.h5").touch()
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def record(experiment: Path, group: str, slide_id: str, status: str = "processed", **values: Any) -> None:
    path = experiment / group / slide_id / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    SlideRecord(path, slide_id, status, stages={"attention": StageRecord({}, "", {}, 1.0)}, **values).save()


def test_a_list_holds_every_slide_and_says_what_is_missing(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("labels.csv").write_text("slide_id,label\nA.svs,LUAD\nC,LSCC\nTCGA-1.x,LUAD\nX,LUAD\n")
    code = main(
        [
            "--slide_dir",
            "slides",
            "--recursive",
            "--h5_dir",
            "h5",
            "--labels",
            "labels.csv",
            "--output",
            "out/my.csv",
        ]
    )
    assert code == 0
    assert rows(Path("out/my.csv")) == [
        {"slide_id": "A", "label": "LUAD", "process": "1"},
        {"slide_id": "B", "label": "", "process": "0"},
        {"slide_id": "C", "label": "LSCC", "process": "1"},
        {"slide_id": "TCGA-1.x", "label": "LUAD", "process": "1"},
    ]
    assert capsys.readouterr().out.split("\n")[:8] == [
        "found 4 slides in slides",
        "  3 of them with features",
        "  1 has no features (process 0): B",
        "  1 has features but no slide: gone",
        "  1 has no label: B",
        "  1 has a label but no slide: X",
        "labels: LSCC 1, LUAD 2",
        "wrote out/my.csv: 4 rows, 3 to process",
    ]


def test_extensions_and_folders_inside_are_taken_only_on_request(cohort: Path) -> None:
    assert main(["--slide_dir", "slides", "--output", "a.csv"]) == 0
    assert [row["slide_id"] for row in rows(Path("a.csv"))] == ["A", "B", "TCGA-1.x"]
    assert (
        main(["--slide_dir", "slides", "--recursive", "--slide_ext", "tiff", ".ndpi", "--output", "b.csv"])
        == 0
    )
    assert [row["slide_id"] for row in rows(Path("b.csv"))] == ["C"]


def test_a_presets_parameters_are_written_into_the_rows(cohort: Path) -> None:
    preset = ROOT / "presets" / "tcga.csv"
    assert main(["--slide_dir", "slides", "--preset", str(preset), "--output", "a.csv"]) == 0
    first = rows(Path("a.csv"))[0]
    assert (first["sthresh"], first["a_t"], first["use_otsu"], first["keep_ids"]) == (
        "8",
        "16",
        "FALSE",
        "none",
    )
    assert "white_thresh" not in first


def test_a_name_shared_by_two_files_is_left_out_and_named(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("slides/A.tiff").touch()
    assert main(["--slide_dir", "slides", "--recursive", "--output", "a.csv"]) == 0
    assert {row["slide_id"]: row["process"] for row in rows(Path("a.csv"))}["A"] == "0"
    assert "1 is the name of several files (process 0): A" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--slide_dir", "nowhere"], "no such folder: 'nowhere'"),
        (["--slide_dir", "h5"], "no slide in "),
        (["--slide_dir", "slides", "--h5_dir", "."], "none of the 3 slides has features in "),
        (["--slide_dir", "slides", "--labels", "bad.csv"], "has no column label; it has: slide_id, grade"),
        (["--slide_dir", "slides", "--labels", "twice.csv"], "labels 'A' both 'x' and 'y' (line 3)"),
        (["--slide_dir", "slides", "--preset", "tgca"], "no such preset: 'tgca'"),
        (
            ["--slide_dir", "slides", "--output", "bad.csv"],
            "bad.csv exists; give another --output, or --overwrite",
        ),
        (["--slide_dir", "slides", "--output", "slides"], "slides is a folder"),
        (["--from_run", "slides"], "holds no process_list.csv and no record.json"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    cohort: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    Path("bad.csv").write_text("slide_id,grade\nA,1\n")
    Path("twice.csv").write_text("slide_id,label\nA,x\nA.svs,y\n")
    for path in (cohort / "h5").iterdir():
        if arguments[-1] == ".":  # features of other slides only
            path.rename(path.with_stem("other_" + path.stem))
    before = sorted(cohort.rglob("*"))
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err
    assert sorted(cohort.rglob("*")) == before


def test_a_list_is_replaced_only_when_told_to(cohort: Path) -> None:
    Path("a.csv").write_text("mine")
    assert main(["--slide_dir", "slides", "--output", "a.csv"]) == 2
    assert Path("a.csv").read_text() == "mine"
    assert main(["--slide_dir", "slides", "--output", "a.csv", "--overwrite"]) == 0
    assert len(rows(Path("a.csv"))) == 3


@pytest.mark.parametrize(
    "arguments", [[], ["--slide_dir", "a", "--from_run", "b"], ["--slide_dir", "a", "--status", "failed"]]
)
def test_flags_that_do_not_go_together_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose list is behind its records."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "raw" / "EXP"
    folder.mkdir(parents=True)
    (folder / "process_list.csv").write_text(
        "slide_id,label,a_t,process,status,failed_stage,error,seconds,bag_size\n"
        "A.svs,LUAD,1,1,running,,,,\nB,LSCC,,1,processed,,,1.000,5\nC,LSCC,,1,tbp,,,,\n"
        "B,LUAD,,1,failed,process_list,slide_id 'B' is in the list already (line 3),,\n"
        "E,LUAD,,1,failed,files,no slide,,\n"
    )
    record(folder, "LUAD", "A", status="failed", failed_stage="attention", error="too wide", seconds=2.5)
    prediction = {"classes": ["LSCC", "LUAD"], "values": [0.75, 0.25]}
    record(folder, "LSCC", "B", seconds=1.0, summary={"bag_size": 5, "prediction": prediction})
    record(folder, "LUAD", "D", seconds=1.0)
    (folder / "LSCC" / "C").mkdir()
    (folder / "LSCC" / "C" / "record.json").write_text('{"slide_id": "C", "sta')
    return folder


def test_slides_of_a_status_make_a_new_list(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from_run", "raw/EXP", "--status", "failed", "--output", "again.csv"]) == 0
    assert rows(Path("again.csv")) == [
        {"slide_id": "A.svs", "label": "LUAD", "a_t": "1", "process": "1"},
        {"slide_id": "B", "label": "LUAD", "a_t": "", "process": "1"},
        {"slide_id": "E", "label": "LUAD", "a_t": "", "process": "1"},
    ]
    assert "wrote again.csv: 3 rows, 3 to process" in capsys.readouterr().out
    assert main(["--from_run", "raw/EXP", "--status", "tbp", "running"]) == 0
    assert [row["slide_id"] for row in rows(Path("heatmaps/process_lists/EXP_tbp_running.csv"))] == ["C"]
    assert main(["--from_run", "raw/EXP", "--status", "skipped"]) == 2
    assert "no slide of raw/EXP is skipped; nothing written" in capsys.readouterr().err


def test_a_runs_list_is_rebuilt_from_its_records(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from_run", "raw/EXP"]) == 0
    assert (experiment / "process_list.csv").read_text() == (
        "slide_id,label,a_t,process,status,failed_stage,error,seconds,bag_size,uncoloured,unreadable,notes,"
        "Pred_0,p_0,Pred_1,p_1\n"
        "A.svs,LUAD,1,1,failed,attention,too wide,2.500,,,,,,,,\n"
        "B,LSCC,,1,processed,,,1.000,5,,,,LSCC,0.75,LUAD,0.25\n"
        "C,LSCC,,1,tbp,,,,,,,,,,,\n"
        "B,LUAD,,1,failed,process_list,slide_id 'B' is in the list already (line 3),,,,,,,,,\n"
        "E,LUAD,,1,failed,files,no slide,,,,,,,,,\n"
        "D,LUAD,,,processed,,,1.000,,,,,,,,\n"
    )
    assert "(failed 3, processed 2, tbp 1)" in capsys.readouterr().out
    (experiment / "process_list.csv").unlink()
    assert main(["--from_run", "raw/EXP", "--output", "rebuilt.csv"]) == 0
    assert [row["slide_id"] for row in rows(Path("rebuilt.csv"))] == ["A", "B", "C", "D"]


def test_help_is_instant_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['create_process_list.py', '--help']\n"
        "try: runpy.run_path('create_process_list.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'matplotlib', 'openslide'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")
    assert "--from_run" in done.stdout


def test_the_folders_of_two_encoders_are_told_with_what_to_name(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = cohort / "job"
    for encoder, stems in (("uni_v2", ("A", "B")), ("conch_v15", ("A", "B", "TCGA-1.x"))):
        (job / f"features_{encoder}").mkdir(parents=True)
        for stem in stems:
            (job / f"features_{encoder}" / f"{stem}.h5").touch()
    (job / "patches").mkdir()
    (job / "patches" / "A_patches.h5").touch()
    assert main(["--slide_dir", "slides", "--h5_dir", "job", "--output", "a.csv"]) == 0
    out = capsys.readouterr().out
    assert f"{job}/features_conch_v15 (2 slides), {job}/features_uni_v2 (2 slides); a run cannot choose" in out
    assert "(--h5_dir) and in the config (data_arguments.h5_dir)" in out
    assert main(["--slide_dir", "slides", "--h5_dir", "job/features_uni_v2", "--output", "b.csv"]) == 0
    assert "warning" not in capsys.readouterr().out
