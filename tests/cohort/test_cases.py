"""Which slides belong to one case: by a table, or by the slides' names."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mil_heatmaps.cli.create_process_list import main
from mil_heatmaps.cohort.cases import cases_told, read_cases
from mil_heatmaps.errors import ProcessListError
from tests.helpers.cohort import make_small_cohort

TCGA = ["TCGA-05-4244-01Z-00-DX1.d4ff32cd", "TCGA-05-4244-01Z-00-DX2.aaaaaaaa", "TCGA-05-4249-01Z-00-DX1.bbbbbbbb"]


def test_the_case_of_a_tcga_slide_is_its_first_twelve_letters() -> None:
    assert cases_told(TCGA, None, "tcga", ()) == {name: name[:12] for name in TCGA}


def test_a_regular_expression_gives_its_first_group_or_all_it_finds() -> None:
    assert cases_told(["7_a", "7_b", "x"], None, r"^(\d+)_", ()) == {"7_a": "7", "7_b": "7", "x": ""}
    assert cases_told(["7_a"], None, r"^\d+_", ()) == {"7_a": "7_"}
    with pytest.raises(ProcessListError, match="is not a regular expression"):
        cases_told(["a"], None, "(", ())
    with pytest.raises(ProcessListError, match="gives none of the 1 slides a case; slides look like a"):
        cases_told(["a"], None, "b", ())


def test_a_table_names_cases_by_any_of_three_columns(tmp_path: Path) -> None:
    for column in ("case_id", "patient_id", "patient"):
        (tmp_path / "c.csv").write_text(f"slide_id,{column}\ns1.svs,P\n")
        assert read_cases(tmp_path / "c.csv", (".svs",)) == {"s1": "P"}
    (tmp_path / "c.csv").write_text("slide_id,Patient_ID\ns1,P\n")
    with pytest.raises(ProcessListError, match="has no column case_id"):
        read_cases(tmp_path / "c.csv", ())


def test_create_process_list_fills_the_column(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path)
    (tmp_path / "cases.csv").write_text("slide_id,patient\ns1,P\ns3,P\n")
    given = ["--slide_dir", str(cohort.slides), "--output", str(tmp_path / "new.csv")]
    assert main([*given, "--cases", str(tmp_path / "cases.csv")]) == 0
    with (tmp_path / "new.csv").open(newline="") as file:
        assert [(row["slide_id"], row["case_id"]) for row in csv.DictReader(file)] == [
            ("s1", "P"), ("s2", ""), ("s3", "P")
        ]  # fmt: skip
    assert main([*given, "--overwrite", "--case_id_from", "nothing"]) == 2
