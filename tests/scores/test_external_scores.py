"""Scores somebody brings as a table."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.external_scores import read_external_scores
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.scores.score_tables import table_unit
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import grid_coords

ROWS = [(0, 0, 0.5), (256, 0, 1.5), (0, 256, -2.0), (256, 256, 3.25)]


def table(header: str, rows: list[tuple[Any, ...]] | None = None, sep: str = ",") -> str:
    lines = [sep.join(str(cell) for cell in row) for row in (ROWS if rows is None else rows)]
    return "\n".join([header, *lines]) + "\n"


def read(tmp_path: Path, text: str, name: str = "s.csv", **options: Any) -> ScoreFile:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_external_scores(tmp_path / name, **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", table("x,y,score")),
        ("s.CSV", table("X, Y ,score")),
        ("s.csv", table("\ufeffx,y,score")),
        ("s.tsv", table("x\ty\tscore", sep="\t")),
        ("s.txt", table("x y score", sep=" ")),
        ("s.csv", table("coord_x;coord_y;score", sep=";")),
        ("s.csv", table("x;y;score", sep=";").replace(".", ",")),
        ("s.csv", table("x,y,score") + "\n\n"),
    ],
)
def test_tables_of_every_dialect_are_read(tmp_path: Path, name: str, text: str) -> None:
    got = read(tmp_path, text, name)
    np.testing.assert_array_equal(got.grid.coords_l0, [row[:2] for row in ROWS])
    assert got.scores.values[:, 0].tolist() == [0.5, 1.5, -2.0, 3.25]
    assert (got.scores.names, got.scores.kind) == (("score",), "external")
    assert got.grid.size_l0 == (256, 256)
    assert "assuming no overlap" in got.notes[0]


def test_gzipped_tables_are_read(tmp_path: Path) -> None:
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(table("x,y,score").encode()))
    assert len(read_external_scores(tmp_path / "s.csv.gz")) == 4


def test_several_score_columns_are_all_taken(tmp_path: Path) -> None:
    rows = [(i, *row, row[2] * 2, "note") for i, row in enumerate(ROWS)]
    got = read(tmp_path, table("index,x,y,tumour,stroma,remark", rows))
    assert got.scores.names == ("tumour", "stroma")
    got = read(tmp_path, table("index,x,y,tumour,stroma,remark", rows), columns=["stroma"])
    assert got.scores.values[:, 0].tolist() == [1.0, 3.0, -4.0, 6.5]


def test_pandas_own_index_column_is_no_score(tmp_path: Path) -> None:
    rows = [(i, *row) for i, row in enumerate(ROWS)]
    assert read(tmp_path, table(",x,y,score", rows)).scores.names == ("score",)


def test_the_size_comes_from_columns_first(tmp_path: Path) -> None:
    rows = [(*row, 512) for row in ROWS]
    got = read(tmp_path, table("x,y,score,patch_size", rows), patch_size_l0=100)
    assert (got.grid.size_l0, got.grid.step_l0) == ((512, 512), (256, 256))
    rows = [(*row, 512, 300) for row in ROWS]
    assert read(tmp_path, table("x,y,score,width,height", rows)).grid.size_l0 == (512, 300)
    assert read(tmp_path, table("x,y,score"), patch_size_l0=300).grid.size_l0 == (300, 300)


def test_empty_cells_are_patches_without_a_score(tmp_path: Path) -> None:
    rows = [*ROWS[:3], (256, 256, "")]
    values = read(tmp_path, table("x,y,score", rows)).scores.values[:, 0]
    np.testing.assert_array_equal(np.isnan(values), [False, False, False, True])


def test_one_slide_of_many_is_picked_by_name(tmp_path: Path) -> None:
    rows = [("007", *row) for row in ROWS] + [("8", 0, 0, 9.0), ("8", 256, 0, 8.0)]
    text = table("slide_id,x,y,score", rows)
    assert len(read(tmp_path, text, slide_id="007")) == 4
    got = read(tmp_path, text, slide_id="8")
    assert got.scores.values[:, 0].tolist() == [9, 8]
    assert got.slide_id == "8"
    with pytest.raises(ScoreError, match=r"holds 2 slides \(007, 8"):
        read(tmp_path, text)
    with pytest.raises(ScoreError, match="no rows for slide '7'; its 'slide_id' are 007, 8"):
        read(tmp_path, text, slide_id="7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            table("0,0,0.5", ROWS[1:]),
            "the first line holds numbers; it must name the columns, such as x,y,score",
        ),
        (table("a,b,score"), r"no column x and y .*; the columns are \['a', 'b', 'score'\]"),
        (table("x,b,score"), "no column y "),
        (
            table("x,y", [row[:2] for row in ROWS]),
            "no column of scores besides x and y; the columns are x, y",
        ),
        (table("x,y,name", [(0, 0, "a"), (256, 0, "b")]), r"no column of scores .*\['name'\] hold text"),
        (table("x,y,score", [*ROWS, (512, 0, "high")]), "line 6, column 'score': 'high' is not a number"),
        (table("x,y,score", [ROWS[0], ("left", 0, 1.0)]), "line 3, column 'x': 'left' is not a number"),
        (table("x,y,score", [ROWS[0], ("", 0, 1.0)]), "line 3, column 'x': 'nan' is not a number"),
        (table("x,y,score", [(0.5, 0, 1.0), *ROWS]), "no whole numbers"),
        (table("x,y,score", []), "no rows below the header"),
        ("", "cannot be read as a table"),
        (table("x,y,score,score"), "two columns are called 'score'"),
        (table("x,y,score,size", [(*ROWS[0], 256), (*ROWS[1], 512)]), "different size, .* in line 3"),
        (table("x,y,score", [(0, 0, 1.0)]), "pass patch_size_l0"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScoreError, match=message) as caught:
        read(tmp_path, text)
    assert "s.csv" in str(caught.value)


def test_an_unknown_column_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"no column 'tumor'; choose from \['x', 'y', 'score'\]"):
        read(tmp_path, table("x,y,score"), columns=["tumor"])


def test_scores_of_another_slide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="4 of 4 patches lie outside"):
        read(tmp_path, table("x,y,score", [(x + 900, y, s) for x, y, s in ROWS]), slide_size_l0=(600, 600))


def test_missing_files_and_unknown_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"no\.csv: does not exist"):
        read_external_scores(tmp_path / "no.csv")
    with pytest.raises(ScoreError, match=r"scores are read from \.h5, \.hdf5, \.csv"):
        read_external_scores(tmp_path / "s.xlsx")


def test_a_score_file_goes_the_same_way(tmp_path: Path) -> None:
    grid = PatchGrid(grid_coords(), (256, 256), (256, 256))
    scores = PatchScores(grid, np.zeros((20, 1), np.float32), ("a",), "similarity", "sim")
    write_scores(tmp_path / "s.h5", ScoreFile(grid, scores))
    assert read_external_scores(tmp_path / "s.h5").scores.kind == "similarity"


SPACE = SlideSpace((2048, 1024), mpp=0.5)
HALF = [(x / 2, y / 2, score) for x, y, score in ROWS]


def test_columns_in_micrometres_become_pixels(tmp_path: Path) -> None:
    rows = [(*row, 128) for row in HALF]
    for header, space in (
        ("x_um,y_um,score,tile_size_um", SPACE),
        ("x_um,y_um,score,patch_size", SPACE),
        ("x,y,score,patch_size", replace(SPACE, unit="um")),
    ):
        got = read(tmp_path, table(header, rows), space=space)
        np.testing.assert_array_equal(got.grid.coords_l0, [row[:2] for row in ROWS])
        assert got.grid.size_l0 == (256, 256)
        assert got.scores.names == ("score",)
        assert [note.code for note in got.notes] == ["units"]
    with pytest.raises(ScoreError, match=r"s\.csv: its coordinates are µm, as the file says, .*resolution \(mpp\)"):
        read(tmp_path, table("x_um,y_um,score", HALF))
    assert table_unit(tmp_path / "s.csv") == "um"


def test_a_table_in_the_frame_of_the_scanned_area_is_moved(tmp_path: Path) -> None:
    space = SlideSpace((4096, 2048), (1024, 600, 1024, 1024))
    got = read(tmp_path, table("x,y,score"), space=space)
    np.testing.assert_array_equal(got.grid.coords_l0, np.array([row[:2] for row in ROWS]) + np.array([1024, 600]))
    assert [note.code for note in got.notes] == ["patch_size", "frame"]


def test_a_score_file_of_the_scanned_area_is_one_of_the_slide(tmp_path: Path) -> None:
    grid = PatchGrid(grid_coords(2, 2), (256, 256), (256, 256))
    scores = PatchScores(grid, np.zeros((4, 1), np.float32), ("a",), "external", "a")
    write_scores(tmp_path / "s.h5", ScoreFile(grid=grid, scores=scores, slide_size_l0=(1023, 1024), slide_id="other"))
    space = SlideSpace((4096, 2048), (1024, 600, 1024, 1024), name="s")
    got = read_external_scores(tmp_path / "s.h5", space=space)
    np.testing.assert_array_equal(got.grid.coords_l0, grid.coords_l0 + np.array([1024, 600]))
    assert got.slide_size_l0 == (4096, 2048)
    assert [note.code for note in got.notes] == ["frame", "pairing"]


def test_a_table_of_one_slide_is_taken_whatever_that_is_called(tmp_path: Path) -> None:
    text = table("slide_id,x,y,score", [("other.svs", *row) for row in ROWS])
    assert read(tmp_path, text, slide_id="other").notes[-1].code == "patch_size"
    got = read(tmp_path, text, slide_id="mine")
    assert got.notes[-1] == "s.csv says it is of the slide other.svs, and is drawn on mine"
    two = text + "third,0,0,1\n"
    assert len(read(tmp_path, two, slide_id="other")) == 4
    with pytest.raises(ScoreError, match=r"no rows for slide 'mine'; its 'slide_id' are other\.svs, third"):
        read(tmp_path, two, slide_id="mine")
