"""Process lists: what a row is read as, which rows fail and why, and how fast it goes."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.cohort.process_list import read_process_list
from mil_heatmaps.config.config import Config, make_config
from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.records.rows import ProcessList, ProcessRow
from tests.helpers.costs import assert_grows_with_number

Reader = Callable[..., ProcessList]


def config(**sections: dict[str, Any]) -> Config:
    data = {"data_dir": ".", "scores_dir": ".", "label_dict": {"LUAD": 0, "LSCC": 1}}
    return make_config({**sections, "data_arguments": {**data, **sections.get("data_arguments", {})}})


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def from_text(text: str, **sections: dict[str, Any]) -> ProcessList:
        path = tmp_path / "list.csv"
        path.write_text(text, encoding="utf-8")
        return read_process_list(path, config(**sections))

    return from_text


def problem(rows: ProcessList) -> str:
    """Return the problem of the only row."""
    (row,) = rows
    assert row.problem is not None
    return row.problem


def test_golden_lists_are_read_as_clam_does(golden: Path) -> None:
    lists = golden / "clam" / "e2e" / "tree" / "heatmaps" / "process_lists"
    first, second = read_process_list(lists / "pl1.csv", config(data_arguments={"slide_ext": ".tif"}))
    assert (first.slide_id, first.label, first.group, first.line) == ("B", "LUAD", "LUAD", 2)
    assert (second.slide_id, second.slide_name) == ("D_single", "D_single.tif")
    assert (first.segmentation.seg_level, second.segmentation.seg_level) == (1, -1)
    assert (first.segmentation.exclude_ids, second.segmentation.exclude_ids) == ((), (0,))
    assert (first.visualization.line_thickness, second.visualization.line_thickness) == (60, 250)
    (row,) = read_process_list(lists / "pl2.csv", config(heatmap_arguments={"use_roi": True}))
    assert (row.label, row.group, row.roi) == ("1", "LSCC", (700, 2700, 2301, 4500))


def test_rows_are_done_unless_process_says_otherwise(read: Reader) -> None:
    rows = read("slide_id,process\na,1\nb,0\nc,\nd,1.0\ne,0.0\nf,2\ng,FALSE\n")
    assert [row.slide_id for row in rows] == ["a", "c", "d"]
    assert rows.dropped == 4
    assert "process must be 1" in problem(read("slide_id,process\na,maybe\n"))


def test_each_layer_of_parameters_gives_way_to_the_next(read: Reader, tmp_path: Path) -> None:
    preset = tmp_path / "preset.csv"
    preset.write_text("sthresh,a_t,a_h,close\n8,0.5,0.25,4\n")
    rows = read(
        "slide_id,a_t,close\nA,0.05,\nB,,1\n",
        data_arguments={"preset": str(preset)},
        segmentation_arguments={"a_t": 3.0, "mthresh": 7},
        visualization_arguments={"vis_level": 2},
    )
    a, b = rows
    assert (a.segmentation.sthresh, a.segmentation.mthresh, a.segmentation.max_n_holes) == (8, 7, 10)
    assert (a.segmentation.a_t, b.segmentation.a_t) == (0.05, 3.0)
    assert (a.segmentation.a_h, a.segmentation.close, b.segmentation.close) == (0.25, 4, 1)
    assert (a.visualization.vis_level, a.visualization.line_thickness) == (2, 250)
    assert (a.segmentation.a_t, a.segmentation.a_h, a.segmentation.max_n_holes) == (0.05, 0.25, 10)


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("seg_level", "-1.0", -1),
        ("sthresh", "20", 20),
        ("a_t", "16", 16.0),
        ("use_otsu", "no", False),
        ("use_otsu", "TRUE", True),
        ("use_otsu", "1.0", True),
        ("use_otsu", "", False),
        ("keep_ids", "none", ()),
        ("keep_ids", "", ()),
        ("keep_ids", "NaN", ()),
        ("keep_ids", '"2,0"', (2, 0)),
        ("exclude_ids", "0.0", (0,)),
        ("exclude_ids", "1;3", (1, 3)),
        ("contour_fn", "center", "center"),
        ("line_thickness", "", 250),
    ],
)
def test_cells_are_read_as_people_and_spreadsheets_write_them(
    read: Reader, column: str, cell: str, value: object
) -> None:
    (row,) = read(f"slide_id,{column}\nA,{cell}\n")
    assert row.problem is None
    assert row.params.value(column) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slide_id,sthresh\na,high\n", "sthresh must be a whole number, got 'high'"),
        ("slide_id,sthresh\na,1.5\n", "sthresh must be a whole number, got '1.5'"),
        ("slide_id,mthresh\na,8\n", "mthresh must be odd"),
        ("slide_id,keep_ids\na,-1\n", "keep_ids must be none or contour numbers"),
        ("slide_id,use_otsu\na,perhaps\n", "use_otsu must be true or false"),
        ("slide_id,contour_fn\na,fore_pt\n", "did you mean 'four_pt'?"),
        (
            "slide_id,label\na,LUDA\n",
            "unknown label 'LUDA'; did you mean 'LUAD'? label_dict has LUAD (0), LSCC (1)",
        ),
        ("slide_id,label\na,7\n", "unknown label '7'"),
        ("slide_id\na/b\n", "slide_id 'a/b' holds a path separator '/'"),
        ("slide_id\na\\b\n", "holds a path separator"),
        ("slide_id\n..\n", "means a folder, not a name"),
        ("slide_id\n../x.svs\n", "holds a path separator"),
        ("slide_id\n.svs\n", "is empty"),
        ("slide_id\na\x07b\n", "holds the control character '\\x07'"),
        ('slide_id\n"a\nb"\n', "holds the control character '\\n'"),
        (f"slide_id\n{'x' * 300}\n", "is longer than 200 bytes"),
        ("slide_id,label\n,LUAD\n", "slide_id '' is empty"),
        ("slide_id,label\na,LUAD,3\n", "has 1 cells more than the header"),
    ],
)
def test_a_bad_row_fails_alone_and_says_why(read: Reader, text: str, expected: str) -> None:
    header, rest = text.split("\n", 1)
    filler = "," * header.count(",")
    bad, good = read(f"{header}\n{rest}good{filler}\n")
    assert bad.problem is not None
    assert expected in bad.problem
    assert (good.slide_id, good.problem) == ("good", None)


def test_a_slide_listed_twice_fails_the_second_time_only(read: Reader) -> None:
    first, other, again = read("slide_id\nA.svs\nB\nA\n")
    assert (first.problem, other.problem) == (None, None)
    assert again.problem == "slide_id 'A' is in the list already (line 2)"


def test_a_repeated_slide_whose_first_row_is_left_out_is_done(read: Reader) -> None:
    (row,) = read("slide_id,process\nA,0\nA,1\n")
    assert row.problem is None


def test_labels_are_names_or_numbers_and_may_be_missing(read: Reader) -> None:
    rows = read("slide_id,label\na,LUAD\nb,1\nc,1.0\nd,\ne,Unspecified\n")
    assert [(row.label, row.group) for row in rows] == [
        ("LUAD", "LUAD"),
        ("1", "LSCC"),
        ("1", "LSCC"),
        ("Unspecified", "Unspecified"),
        ("Unspecified", "Unspecified"),
    ]
    assert [row.notes for row in rows][3] == ("has no label; its group is Unspecified",)
    (row,) = read("slide_id\na\n")
    assert (row.label, row.group, row.notes) == ("Unspecified", "Unspecified", ())


def test_names_that_look_like_numbers_are_names_first(read: Reader) -> None:
    (row,) = read("slide_id,label\na,1\n", data_arguments={"label_dict": {"1": 0, "0": 1}})
    assert row.group == "1"


def test_without_a_label_dict_any_label_that_can_name_a_folder_will_do(read: Reader) -> None:
    grade, bad = read("slide_id,label\na,grade 3\nb,a/b\n", data_arguments={"label_dict": None})
    assert (grade.group, grade.problem) == ("grade 3", None)
    assert "names a folder, but holds a path separator" in str(bad.problem)
    (time_to_event,) = read(
        "slide_id,label\na,23.5\n", data_arguments={"label_dict": None}, model_arguments={"task": "survival"}
    )
    assert (time_to_event.label, time_to_event.group) == ("23.5", "Unspecified")


def test_dots_in_tcga_names_are_no_extension(read: Reader) -> None:
    name = "TCGA-56-8628-01Z-00-DX1.8628b4d2-svs-9a51"
    rows = read(
        f"slide_id\n{name}\n{name}2.SVS\nA.ome.tif\nB.svs.tif\nC.tiff\n",
        data_arguments={"slide_ext": [".svs", ".tif"]},
    )
    assert [row.slide_id for row in rows] == [name, name + "2", "A", "B.svs", "C.tiff"]


def test_the_box_is_needed_and_checked_only_when_it_is_used(read: Reader) -> None:
    text = "slide_id,x1,x2,y1,y2\na,1.0,5,2,6\nb,1,,2,6\nc,5,1,2,6\nd,x,1,2,6\n"
    unused = read(text)
    assert [row.problem for row in unused] == [None] * 4
    a, b, c, d = read(text, heatmap_arguments={"use_roi": True})
    assert a.roi == (1, 2, 5, 6)
    assert b.problem == "use_roi is on, but x2 of the box is missing"
    assert c.problem == "the box is empty: x 5 to 1, y 2 to 6"
    assert "must be numbers" in str(d.problem)


def test_the_source_column_chooses_the_folder(tmp_path: Path, read: Reader) -> None:
    folders = {name: str(tmp_path / name) for name in ("siteA", "siteB")}
    for folder in folders.values():
        Path(folder).mkdir()
    data = {"data_dir": folders, "scores_dir": str(tmp_path)}
    a, b = read("slide_id,source\nx,siteB\ny,siteC\n", data_arguments=data)
    assert (a.source, a.problem) == ("siteB", None)
    assert b.problem == "data_dir names folders for siteA, siteB, but the row has 'siteC' in column source"
    assert "no column 'source'" in problem(read("slide_id\nx\n", data_arguments=data))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty; its first line must name the columns"),
        ("slide_id\n", "has no rows below its header"),
        ("Slide_ID,label\na,b\n", "has no column slide_id; rename column 'Slide_ID'?"),
        ("slide_id,slide_id\na,b\n", "has two columns named 'slide_id'"),
        ('slide_id\n"a', "is not a CSV"),
    ],
)
def test_a_list_that_cannot_be_used_is_an_error_before_any_work(
    read: Reader, text: str, expected: str
) -> None:
    with pytest.raises(ProcessListError) as caught:
        read(text)
    assert expected in str(caught.value)


def test_a_list_in_another_encoding_says_so(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes("slide_id\ncafé\n".encode("latin-1"))
    with pytest.raises(ProcessListError, match="save it as CSV UTF-8"):
        read_process_list(path, config())
    with pytest.raises(ProcessListError, match="no such"):
        read_process_list(tmp_path / "gone.csv", config())


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_spreadsheets_of_other_countries_are_read(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        f"slide_id{sign}label{sign}{sign}\r\na{sign}LSCC{sign}{sign}\r\n{sign}{sign}{sign}\r\n",
        encoding="utf-8-sig",
    )
    (row,) = read_process_list(path, config())
    assert (row.slide_id, row.group, row.problem) == ("a", "LSCC", None)
    assert row.cells == {"slide_id": "a", "label": "LSCC"}


def test_a_column_that_is_nearly_a_known_one_is_pointed_out(read: Reader) -> None:
    rows = read("slide_id,Label,patient\na,LUAD,7\n")
    assert [note.split(" is not read")[0] for note in rows.notes] == [f"column 'Label' of {rows_path(rows)}"]
    assert rows[0].cells["patient"] == "7"


def rows_path(rows: ProcessList) -> str:
    return rows.notes[0].split(" of ")[1].split(" is not")[0]


def test_without_a_list_every_slide_of_the_folder_is_a_row(tmp_path: Path) -> None:
    for name in (
        "b.svs",
        "a.svs",
        "notes.txt",
        ".hidden.svs",
        "inner/c.svs",
        "inner/a.svs",
        "m.mrxs",
        "m/Data.svs",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    flat = read_process_list(None, config(data_arguments={"data_dir": str(tmp_path), "recursive": False}))
    assert [row.slide_id for row in flat] == ["a", "b", "m"]
    deep = read_process_list(None, config(data_arguments={"data_dir": str(tmp_path)}))
    assert [(row.slide_name, row.problem is None) for row in deep] == [
        ("a.svs", True),
        ("b.svs", True),
        ("m.mrxs", True),
        ("c.svs", True),
    ]
    sources = config(data_arguments={"data_dir": {"x": str(tmp_path / "inner")}})
    assert [(row.slide_id, row.source) for row in read_process_list(None, sources)] == [
        ("a", "x"),
        ("c", "x"),
    ]
    with pytest.raises(ProcessListError, match=r"no slide found in .*ends? with \.ndpi"):
        read_process_list(None, config(data_arguments={"data_dir": str(tmp_path), "slide_ext": "ndpi"}))


def test_the_example_list_is_sound() -> None:
    path = Path(__file__).resolve().parents[2] / "heatmaps" / "process_lists" / "example_process_list.csv"
    rows = read_process_list(path, config())
    assert [row.problem for row in rows] == [None] * 5
    assert rows.dropped == 1
    assert [row.segmentation.exclude_ids for row in rows if row.slide_id == "two_pieces"] == [(1, 3)]
    assert [row.roi for row in rows if row.slide_id == "region_only"] == [(12000, 8000, 20000, 16000)]


def test_many_rows_are_read_in_a_time_that_grows_with_their_number_alone(tmp_path: Path) -> None:
    for count in (1_000, 10_000):
        with (tmp_path / f"{count}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["slide_id", "label", "a_t"])
            writer.writerows([f"TCGA-{i:06d}.svs", ("LUAD", "1")[i % 2], i % 7] for i in range(count))

    def read_rows(count: int) -> None:
        rows = read_process_list(tmp_path / f"{count}.csv", config())
        assert len(rows) == count
        assert isinstance(rows[count - 1], ProcessRow)

    assert_grows_with_number(read_rows, 1_000, 10_000)


def test_labels_of_one_number_are_one_class_called_by_all_of_them(read: Reader) -> None:
    labels = {"benign": 0, "tumour": 1, "normal": 0}
    rows = read("slide_id,label\na,benign\nb,normal\nc,0\nd,tumour\n", data_arguments={"label_dict": labels})
    assert [row.group for row in rows] == ["benign/normal"] * 3 + ["tumour"]
    assert rows[0].label == "benign"
