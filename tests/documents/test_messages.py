"""Messages name what was seen: whatever is wrong with an input, no traceback, no cause left empty."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps import errors
from mil_heatmaps.cli.create_heatmaps import main as create_heatmaps
from mil_heatmaps.cli.create_process_list import main as create_process_list
from mil_heatmaps.cli.generate_heatmaps import main as generate_heatmaps
from mil_heatmaps.cli.view_heatmap_sync import main as view_heatmap_sync
from tests.helpers import bad_inputs as bad
from tests.helpers.cohort import write_abmil
from tests.helpers.slides import make_single_level
from tests.helpers.source import nodes_of

EMPTY = re.compile(r":\s*(?=$|[;,.)\]])|(?<!\w)\(\s*\)|, ,|: None\b|\bin ;|; ;|unexpected [A-Z]\w+", re.MULTILINE)
"""Nothing after a colon, in brackets, between commas; the word of Python for nothing."""

WORDS = ("Traceback", "no folder ends", "nothing in no folder", "<class", "object at 0x")

Main = Callable[[list[str]], int]


def faults(text: str) -> list[str]:
    """Return the lines of a text that say nothing where a cause belongs."""
    lines = [line for line in text.splitlines() if not re.search(r"^\S.*:$", line)]  # the headline of a list
    return [line for line in lines if EMPTY.search(line) or any(word in line for word in WORDS)]


def said(main: Main, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return exit code and everything a command prints."""
    try:
        code = main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with one slide, its features and a model, all sound."""
    monkeypatch.chdir(tmp_path)
    make_single_level(tmp_path / "slides" / "S.tif", bad.SIZE)
    (tmp_path / "h5").mkdir()
    bad.h5({"features": bad.VALUES, "coords": bad.COORDS}, patch_size_level0=64)(tmp_path / "h5" / "S.h5")
    write_abmil(tmp_path / "model.pt", width=bad.WIDTH)
    return tmp_path


def config(**changes: dict[str, Any]) -> str:
    """Write a config with these sections changed into the current folder; return its name."""
    sections: dict[str, dict[str, Any]] = {
        "exp_arguments": {"save_exp_code": "E", "raw_save_dir": "raw", "production_save_dir": "out"},
        "data_arguments": {"data_dir": "slides", "h5_dir": "h5"},
        "model_arguments": {"ckpt_path": "model.pt", "device": "cpu"},
        "heatmap_arguments": {"figure": False},
        "segmentation_arguments": {"a_t": 0, "a_h": 1},
        "run_arguments": {"workers": 1},
        "sample_arguments": {"samples": []},
    }
    sections["exp_arguments"]["results_dir"] = "results"
    whole = {name: {**sections.get(name, {}), **changes.get(name, {})} for name in {**sections, **changes}}
    Path("config.yaml").write_text(json.dumps(whole))
    return "config.yaml"


def run_of_many(name: str, capsys: pytest.CaptureFixture[str], **changes: dict[str, Any]) -> dict[str, str]:
    """Run a config in which every slide has something wrong; return each slide's error, after a look at all words."""
    code, text = said(create_heatmaps, ["--config", config(**changes)], capsys)
    assert code == 1, text
    with Path("raw/E/process_list.csv").open(newline="") as file:
        wrong = {row["slide_id"].removesuffix(".tif"): row["error"] for row in csv.DictReader(file)}
    assert not [slide for slide, error in wrong.items() if not error], f"{name}: these should have failed"
    assert not faults(text)
    assert not [line for error in wrong.values() for line in faults(error)]
    return wrong


def slides_named(place: Path, names: list[str]) -> None:
    """Put the one slide there under these names instead."""
    for name in names:
        os.link(place / "slides" / "S.tif", place / "slides" / f"{name}.tif")
    (place / "slides" / "S.tif").unlink()


def test_bad_features_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, make in bad.FEATURES.items():
        make(place / "h5" / f"{name}.h5")
    slides_named(place, list(bad.FEATURES))
    wrong = run_of_many("features", capsys)
    assert set(wrong) == set(bad.FEATURES)
    assert [name for name, error in wrong.items() if "this is a coordinates file" in error] == ["only_coords"]


def test_bad_scores_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "scores").mkdir()
    names = [name.replace(".", "_") for name in bad.SCORES]
    for name, (file, make) in zip(names, bad.SCORES.items(), strict=True):
        make(place / "scores" / f"{name}{Path(file).suffix}")
    slides_named(place, names)
    run_of_many("scores", capsys, data_arguments={"scores_dir": "scores", "h5_dir": None})


def test_bad_outlines_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "outlines").mkdir()
    names = [name.replace(".", "_") for name in bad.OUTLINES]
    for name, (file, make) in zip(names, bad.OUTLINES.items(), strict=True):
        make(place / "outlines" / (name + file[file.index(".") :]))
        os.link(place / "h5" / "S.h5", place / "h5" / f"{name}.h5")
    slides_named(place, names)
    run_of_many("outlines", capsys, data_arguments={"tissue_dir": "outlines"})


def test_bad_slides_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "slides" / "S.tif").unlink()
    for file, make in bad.SLIDES.items():
        name = Path(file.replace(".", "_", 1)).stem
        make(place / "slides" / f"{name}{Path(file).suffix}")
        os.link(place / "h5" / "S.h5", place / "h5" / f"{name}.h5")
    wrong = run_of_many("slides", capsys)
    assert len(wrong) == len(bad.SLIDES)


def test_bad_lists_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"process_list": "list.csv", "label_dict": {"a": 0, "b": 1}}
    name = config(data_arguments=labels, heatmap_arguments={"figure": False, "use_roi": True})
    for kind, content in bad.LISTS.items():
        bad.text(content)(place / "list.csv")
        code, text = said(create_heatmaps, ["--config", name], capsys)
        assert code, f"{kind}: {text}"
        assert not faults(text + said(create_heatmaps, ["--config", name, "--dry-run"], capsys)[1]), kind
        code, text = said(create_process_list, ["--slide_dir", "slides", "--labels", "list.csv"], capsys)
        assert not faults(text), kind


def test_bad_configs_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, content in bad.CONFIGS.items():
        bad.text(content)(place / "bad.yaml")
        code, text = said(create_heatmaps, ["--config", "bad.yaml"], capsys)
        assert code == 2, f"{kind}: {text}"
        assert not faults(text), kind
    for kind, changes in bad.KEYS.items():
        code, text = said(create_heatmaps, ["--config", config(**changes), "--dry-run"], capsys)
        assert code, f"{kind}: {text}"
        assert not faults(text), kind


def test_bad_checkpoints_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, make in bad.CHECKPOINTS.items():
        make(place / name)
        changed = config(model_arguments={"ckpt_path": name})
        code, text = said(create_heatmaps, ["--config", changed, "--dry-run"], capsys)
        assert code, f"{name}: {text}"
        assert not faults(text), name
        assert not faults(said(generate_heatmaps, ["--inspect_checkpoint", name], capsys)[1]), name


def test_what_a_model_of_the_users_own_raises_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, code in bad.OWN_MODELS.items():
        (place / f"{name}.py").write_text(code)
        changes = {"ckpt_path": None, "model_class": f"{name}.py:Model"}
        failed, text = said(create_heatmaps, ["--config", config(model_arguments=changes)], capsys)
        assert failed, f"{name}: {text}"
        assert not faults(text), name


def test_bad_flags_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = ["--checkpoint", "model.pt", "--slide_dir", "slides", "--h5_dir", "h5", "--output_dir", "out"]
    given: list[tuple[Main, list[str]]] = [
        (generate_heatmaps, [*sound, *more])
        for more in (["--slide_dir", "h5"], ["--h5_dir", "slides"], ["--h5_dir", "absent"], ["--checkpoint", ""],
                     ["--checkpoint", "absent.pt"], ["--csv", "absent.csv"], ["--class_names", "a", "a"],
                     ["--output_dir", "model.pt"], ["--job_dir", "h5"], ["--cmap", ""])
    ]  # fmt: skip
    given += [
        (view_heatmap_sync, more)
        for more in ([], ["--run", "h5"], ["--run", "absent"], ["--slide", "absent.svs", "--scores", "h5/S.h5"],
                     ["--slide", "model.pt", "--export_html", "x.html"], ["--run", "h5", "--slide", "slides/S.tif"],
                     ["--slide", "slides/S.tif", "--export_html", "model.pt/x.html"])
    ]  # fmt: skip
    given += [
        (create_heatmaps, more)
        for more in ([], ["--config", "absent.yaml"], ["--config", "h5"], ["--watch", "h5"], ["--watch", "absent"],
                     ["--compare", "h5", "slides"], ["--config", config(), "--slides", "T"],
                     ["--config", config(), "--stages", "draw"], ["--config", config(), "--shard", "5/3"],
                     ["--config", config(), "--rerun", "bad"], ["--inspect_checkpoint", "absent.pt"])
    ]  # fmt: skip
    given += [
        (create_process_list, more)
        for more in (["--slide_dir", "h5"], ["--slide_dir", "absent"], ["--from_run", "h5"],
                     ["--slide_dir", "slides", "--h5_dir", "slides"], ["--slide_dir", "slides", "--output", "h5"],
                     ["--slide_dir", "slides", "--output", "model.pt/list.csv"])
    ]  # fmt: skip
    for main, arguments in given:
        code, text = said(main, arguments, capsys)
        assert code, f"{arguments}: {text}"
        assert not faults(text), arguments


def test_no_message_quotes_the_bare_words_of_a_foreign_error() -> None:
    """An error of others may say nothing at all: `words.said_by` says its kind then."""
    own = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | {"UnsafePickleError"}
    bare = []
    for path, handler in nodes_of(ast.ExceptHandler):
        if handler.name is None or handler.type is None:
            continue
        if {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} <= own:
            continue
        bare += [
            f"{path.name}:{value.lineno}"
            for raised in ast.walk(handler)
            if isinstance(raised, ast.Raise) and raised.exc is not None
            for value in ast.walk(raised.exc)
            if isinstance(value, ast.FormattedValue) and ast.unparse(value.value) == handler.name
        ]
    assert not bare
