"""Tables: what a spreadsheet would run, blanks and odd bytes come back as they were."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import csv_text, frame_text, read_table

NAMES = st.text(
    st.characters(exclude_characters="\0\r\n\\", exclude_categories=["Cs"])
    | st.sampled_from(["\udcff", "'", "=", " "]),
    min_size=1,
    max_size=12,
).filter(lambda name: bool(name.strip()))


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_every_name_comes_back_and_no_cell_is_run_by_a_spreadsheet(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        write_text(path, csv_text(["slide_id"], [[name] for name in names]))
        with path.open(encoding="utf-8", newline="") as file:
            for cell, *_ in csv.reader(file):
                assert not cell.startswith(("=", "@", "\t"))
                assert not (cell[:1] in "+-" and cell[1:2].isascii() and cell[1:2].isalpha())
        assert [row["slide_id"] for _, row, _ in read_table(path)[1]] == names


def test_numbers_are_left_as_they_are() -> None:
    assert csv_text(["x", "=y"], [[-1.5, "-1.5"], ["+1", "a=b"]]) == "x,'=y\n-1.5,-1.5\n+1,a=b\n"


def test_a_header_of_thousands_of_columns_is_read_at_once_and_a_name_that_stands_twice_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("slide_id," + ",".join(f"c{i}" for i in range(20_000)) + "\ns\n")
    assert len(read_table(path)[0]) == 20_001
    path.write_text("slide_id,a,a\ns\n")
    with pytest.raises(ProcessListError, match="two columns named 'a'"):
        read_table(path)


def test_no_text_of_a_pandas_table_is_run_by_a_spreadsheet() -> None:
    import pandas as pd

    kinds = pd.Categorical(["@a", "b", "b"])
    table = pd.DataFrame({"=class": ["=HYPERLINK(1)", " lead", None], "n": [-1, 2, 3], "kind": kinds})
    table["share"] = [0.25, float("nan"), -1.0]
    assert frame_text(table, float_format="%.1f").split("\n")[:-1] == [
        "'=class,n,kind,share", "'=HYPERLINK(1),-1,'@a,0.2", "' lead,2,b,", ",3,b,-1.0",
    ]  # fmt: skip
    assert list(table.columns) == ["=class", "n", "kind", "share"]  # the table itself is as it was
