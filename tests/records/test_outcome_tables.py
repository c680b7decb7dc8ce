"""The two tables a run leaves: CLAM's results, byte for byte, and the run's own process list."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.cohort.process_list import read_process_list
from mil_heatmaps.config.config import Config, load_config, make_config
from mil_heatmaps.records.finished_run import RunTable
from mil_heatmaps.records.outcome_tables import SlideOutcome, process_list_text, results_csv_text
from mil_heatmaps.records.rows import ProcessList
from tests.helpers.costs import assert_grows_with_number

OUTCOMES = {
    "e1": {
        "B": SlideOutcome("processed", "", "", 3.14159, 122, ("LUAD", "LSCC"), (0.5857091, 0.41429088)),
        "D_single": SlideOutcome("processed", "", "", 2.0, 17, ("LUAD", "LSCC"), (0.56006736, 0.4399327)),
    },
    "e2": {"B": SlideOutcome("processed", "", "", 1.0, 122, ("LSCC", "LUAD"), (0.5107131, 0.48928687))},
}


def config(**data: Any) -> Config:
    return make_config({"data_arguments": {"data_dir": ".", "scores_dir": ".", **data}})


def read(tmp_path: Path, text: str, **data: Any) -> ProcessList:
    path = tmp_path / "list.csv"
    path.write_text(text)
    return read_process_list(path, config(**data))


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(("name", "listed"), [("e1", "pl1"), ("e2", "pl2")])
def test_results_are_clams_byte_for_byte(golden: Path, name: str, listed: str) -> None:
    tree = golden / "clam" / "e2e" / "tree"
    found = {
        "data_arguments.data_dir": str(tree),
        "model_arguments.ckpt_path": str(golden / "clam" / "e2e" / "ckpt_sb.pt"),
    }
    cfg = load_config(tree / "heatmaps" / "configs" / f"{name}.yaml", found)
    rows = read_process_list(cfg.inputs.process_list, cfg)
    expected = (tree / "heatmaps" / "results" / f"{listed}.csv").read_text()
    assert results_csv_text(rows, OUTCOMES[name]) == expected


def test_results_without_a_list_have_clams_columns_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    rows = read_process_list(None, config(data_dir=str(tmp_path)))
    text = results_csv_text(
        rows, {"a": SlideOutcome("processed", bag_size=3, classes=("x",), probabilities=(1.0,))}
    )
    assert text == (
        "slide_id,process,status,seg_level,sthresh,mthresh,close,use_otsu,keep_ids,exclude_ids,a_t,a_h,max_n_holes,"
        "vis_level,line_thickness,use_padding,contour_fn,bag_size,Pred_0,p_0\n"
        "a.svs,1,tbp,-1,15,11,2,False,none,none,50.0,8.0,10,-1,250,True,four_pt,3.0,x,1.0\n"
    )


def test_fractions_of_a_preset_are_kept_where_clam_cuts_them(tmp_path: Path) -> None:
    preset = tmp_path / "p.csv"
    preset.write_text("a_t,a_h\n0.5,0.05\n")
    (row,) = table(results_csv_text(read(tmp_path, "slide_id\na\n", preset=str(preset)), {}))
    assert (row["a_t"], row["a_h"]) == ("0.5", "0.05")


def test_columns_are_typed_as_pandas_would_over_the_whole_list(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        "slide_id,process,close,sthresh,use_otsu,keep_ids,x1,label,note\n"
        '01,1,3,,TRUE,"0,1",7,1,0.50\n2.50,1,4,9,FALSE,,8,0,\nc,0,,9,,none,,1,x\n',
    )
    first, second = table(results_csv_text(rows, {}))
    assert (first["slide_id"], second["slide_id"]) == ("01", "2.50")
    assert (first["close"], second["close"]) == ("3.0", "4.0")  # the blank is in a row left out
    assert (first["sthresh"], second["sthresh"]) == ("15.0", "9.0")
    assert (first["use_otsu"], second["use_otsu"]) == ("True", "False")
    assert (first["keep_ids"], second["keep_ids"]) == ("0,1", "none")
    assert (first["x1"], first["label"], first["note"], first["process"]) == ("7.0", "1", "0.50", "1")
    assert first["bag_size"] == ""


def test_the_runs_list_keeps_the_input_and_adds_what_became_of_each_slide(tmp_path: Path) -> None:
    rows = read(tmp_path, "slide_id,note,a_t\nB,0.50,1\nC,,\nC,,\nD,,\n")
    outcomes = {
        "B": OUTCOMES["e1"]["B"],
        "C": SlideOutcome("failed", "attention", "first line\n  second", 0.5),
    }
    assert process_list_text(rows, outcomes) == (
        "slide_id,note,a_t,status,failed_stage,error,seconds,bag_size,uncoloured,unreadable,notes,"
        "Pred_0,p_0,Pred_1,p_1\n"
        "B,0.50,1,processed,,,3.142,122,,,,LUAD,0.5857091,LSCC,0.41429088\n"
        "C,,,failed,attention,first line second,0.500,,,,,,,,\n"
        "C,,,failed,process_list,slide_id 'C' is in the list already (line 3),,,,,,,,,\n"
        "D,,,tbp,,,,,,,,,,,\n"
    )


def test_a_runs_list_can_be_run_again(tmp_path: Path) -> None:
    rows = read(tmp_path, "slide_id,note\nB,x\n")
    written = process_list_text(rows, OUTCOMES["e1"])
    again = read(tmp_path, written)
    assert again[0].problem is None
    assert process_list_text(again, OUTCOMES["e1"]) == written
    assert process_list_text(again, {}) == (
        "slide_id,note,status,failed_stage,error,seconds,bag_size,uncoloured,unreadable,notes\nB,x,tbp,,,,,,,\n"
    )


def test_the_runs_list_tells_what_is_to_know_of_a_slide_and_of_its_row(tmp_path: Path) -> None:
    rows = read(tmp_path, "slide_id,label\nA,x\nB,\n")
    outcome = SlideOutcome("processed", uncoloured=2, unreadable=0, notes="2 of 6 patches are not coloured")
    header, _, line = process_list_text(rows, {"B": outcome}).splitlines()
    cells = dict(zip(header.split(","), line.split(","), strict=True))
    assert (cells["uncoloured"], cells["unreadable"]) == ("2", "0")
    assert cells["notes"] == "has no label; its group is Unspecified; 2 of 6 patches are not coloured"


def test_a_list_of_a_version_without_notices_is_read(tmp_path: Path) -> None:
    path = tmp_path / "process_list.csv"
    path.write_text("slide_id,status,failed_stage,error,seconds,bag_size,Pred_0,p_0\nB,processed,,,1.0,3,x,0.5\n")
    (outcome,) = RunTable(path).outcomes().values()
    assert (outcome.classes, outcome.probabilities, outcome.uncoloured, outcome.notes) == (("x",), (0.5,), None, "")


def test_an_outcome_checks_itself() -> None:
    with pytest.raises(ValueError, match="unknown status 'done'; choose from tbp, running"):
        SlideOutcome("done")
    with pytest.raises(ValueError, match="1 classes but 0 probabilities"):
        SlideOutcome("processed", classes=("a",))


@pytest.mark.slow
def test_both_tables_of_a_long_list_are_made_in_a_time_that_grows_with_their_rows_alone(tmp_path: Path) -> None:
    lists = {
        count: read(tmp_path, "slide_id,close\n" + "".join(f"s{i},{i % 3}\n" for i in range(count)))
        for count in (1_000, 10_000)
    }

    def write(count: int) -> None:
        rows = lists[count]
        assert results_csv_text(rows, {}).count("\n") == process_list_text(rows, {}).count("\n") == count + 1

    assert_grows_with_number(write, 1_000, 10_000)
