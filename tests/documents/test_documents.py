"""What the documents say exists: files, links, commands with their options, keys, columns, and the code they show."""

from __future__ import annotations

import argparse
import re
import shlex
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from PIL import Image

from mil_heatmaps.choices import METHODS, STAGE_NAMES, STATUSES
from mil_heatmaps.cohort.process_list import KNOWN_COLUMNS
from mil_heatmaps.config.config import Config, make_config
from mil_heatmaps.config.drawing_sections import HeatmapArguments
from mil_heatmaps.config.export_section import ExportArguments
from mil_heatmaps.config.run_section import RunArguments
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.records.outcome_tables import STATUS_COLUMNS
from mil_heatmaps.visualization.compare import Comparison
from tests.helpers.cohort import make_small_cohort

ROOT = Path(__file__).resolve().parents[2]
ALL = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
REFERENCE = "HEATMAP_GENERATION.md"
OTHER_PROGRAMS = ("docs/reference/config_keys.md", "docs/reference/command_line.md")  # made, and compared elsewhere
OURS = [
    name for name in ALL
    if name in ("README.md", "HEATMAP_QUICKSTART.md", REFERENCE)
    or (name.startswith(("docs/tutorials", "docs/how-to", "docs/reference", "docs/explanation/colours",
                         "docs/explanation/resuming", "docs/automation")) and name not in OTHER_PROGRAMS)
]  # fmt: skip
"""Documents whose commands, options and keys are looked up one by one."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_FOREIGN_PROGRAMS = ("source", "pip", "ssh", "docker", "apptainer", "dask", "cd", "done", "for")
"""Programs that are not ours, and words of the shell. What pip installs of this project is looked at all the same."""

_FOREIGN_OPTIONS = {"--job_dir", "--no-deps", "--force-reinstall", "--average", "--arch", "--index-url", "--wheel-dir"}
"""Of TRIDENT, pip, DSMIL's and ACMIL's authors."""

_PART_OF = {"data_arguments": {"data_dir": "slides", "h5_dir": "h5"}, "model_arguments": {"ckpt_path": "model.pt"}}
"""What examples that show a part of a config take for granted."""
_INSTALL = re.compile(r"pip install '?(?:-e '?\.|mil-heatmaps)\[([\w,]+)\]'?")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(text_of(name)) if kind == language]


def prose(name: str) -> str:
    """Return a document without its blocks of code."""
    return _FENCE.sub("", text_of(name))


def anchors(text: str) -> set[str]:
    """Return the anchors GitHub gives the headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(name: str) -> Iterator[list[str]]:
    """Yield every command of the bash blocks as words, continued lines joined, comments left out."""
    for body in blocks(name, "bash"):
        for line in body.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def parser_of(script: str) -> argparse.ArgumentParser:
    module = {"test_heatmap_setup.py": "doctor"}.get(script, script.removesuffix(".py"))
    parser: argparse.ArgumentParser = import_module(f"mil_heatmaps.cli.{module}").build_parser()
    return parser


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("name", ALL)
def test_links_lead_somewhere(name: str) -> None:
    for target in _LINK.findall(prose(name)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        assert place.exists(), f"{name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{name} links to {target}: no such heading"


@pytest.mark.parametrize("name", [name for name in OURS if blocks(name, "bash")])
def test_commands_exist_and_take_their_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = 0
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in commands(name):
        found += 1
        shown = shlex.join(words)
        words = words[1:] if words[0] == "exec" else words
        if words[0] in _FOREIGN_PROGRAMS:
            continue
        if words[0] == "make":
            assert set(words[1:]) <= targets, shown
        elif words[0] == "cp":
            assert (ROOT / words[1]).is_file(), shown
        else:
            assert words[0] in ("python", ".venv/bin/python"), f"{name} shows an unknown command: {shown}"
            assert (ROOT / words[1]).is_file(), shown
            if words[1].startswith("benchmarks/"):
                options = {word for word in words if word.startswith("--")}
                assert options <= set(re.findall(r'add_argument\(\s*"(--\w+)"', text_of(words[1]))), shown
                continue
            if words[2:] == ["--version"]:
                continue
            try:
                parser_of(words[1]).parse_args([re.sub(r"\$SLURM_\w+|\$\w+", "1", word) for word in words[2:]])
            except SystemExit:
                pytest.fail(f"{name}: {shown}\n{capsys.readouterr().err}")
    assert found


@pytest.mark.parametrize("name", OURS)
def test_options_in_the_text_exist(name: str) -> None:
    known = set(_FOREIGN_OPTIONS)
    for script in ROOT.glob("*.py"):
        if script.name != "hatch_build.py":
            known |= options_of(parser_of(script.name))
    known |= options_of(parser_of("concept.py"))  # python -m mil_heatmaps.cli.concept
    for path in (ROOT / "benchmarks").glob("bench_*.py"):
        known |= set(re.findall(r'add_argument\(\s*"(--\w+)"', path.read_text(encoding="utf-8")))
    for code in _CODE.findall(prose(name)):
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
            assert option in known, f"{name} mentions {option}"


def test_the_reference_leaves_no_option_out() -> None:
    text = text_of(REFERENCE)
    for option in options_of(parser_of("create_heatmaps.py")) - {"-h", "--help", "--dry_run"}:
        assert option in text, option


def test_the_reference_leaves_no_stage_column_status_or_rule_out() -> None:
    pages = (REFERENCE, *(f"docs/{name}.md" for name in ("reference/process_list", "reference/files",
                                                         "explanation/colours")))  # fmt: skip
    codes = {word for name in pages for code in _CODE.findall(prose(name)) for word in re.split(r"[^\w.]+", code)}
    columns = [column for column in KNOWN_COLUMNS if column not in ("white_thresh", "black_thresh")]
    for group in (STAGE_NAMES, columns, STATUSES, STATUS_COLUMNS, METHODS):
        assert set(group) <= codes, set(group) - codes


def rows_of(name: str, heading: str) -> set[str]:
    """Return the words in backticks in the first column of the tables below a heading of a document."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text_of(name), re.MULTILINE | re.DOTALL)
    cells = re.findall(r"^\| ([^|]+) \|", section, flags=re.MULTILINE)
    return {word for cell in cells for word in _CODE.findall(cell)}


def test_the_reference_leaves_no_export_or_run_key_out() -> None:
    assert set(ExportArguments.model_fields) <= rows_of("docs/reference/files.md", "Exports")
    assert set(RunArguments.model_fields) <= rows_of("docs/reference/machine.md", "Workers, GPUs and memory")


def test_the_reference_names_every_column_of_a_comparison() -> None:
    columns = {"slide_id", "error", *Comparison(200, 0, 0, 0.5, {10: 1.0, 50: 1.0}).as_row()}
    assert columns == rows_of("docs/how-to/compare.md", "Comparing two runs")


def test_the_exit_codes_are_those_of_the_help() -> None:
    help_text = " ".join(parser_of("create_heatmaps.py").format_help().split())
    codes = re.findall(r"\b(\d+) [a-z]", help_text.partition("exit codes:")[2])
    assert codes
    assert codes == re.findall(r"^\| (\d+) \|", text_of("docs/reference/exit_codes.md"), flags=re.MULTILINE)


def test_every_benchmark_is_described() -> None:
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py") if path.name != "__init__.py"}
    assert scripts <= set(_CODE.findall(prose("docs/explanation/performance.md")))


def test_the_extras_are_those_of_the_project() -> None:
    project = text_of("pyproject.toml").partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", project, flags=re.MULTILINE))
    assert extras == rows_of("docs/how-to/installation.md", "Extras")
    for name in ALL:
        for names in _INSTALL.findall(text_of(name)):
            assert set(names.split(",")) <= extras, name


def test_every_document_is_reached_from_the_readme() -> None:
    """A document at the top is linked from there, a page of the site stands in its navigation."""
    linked = {target.partition("#")[0] for target in _LINK.findall(prose("README.md"))}
    named = {f"docs/{page}" for page in re.findall(r"^ +- [^#\n]+: (\S+\.md)$", text_of("mkdocs.yml"), re.MULTILINE)}
    assert {name for name in ALL if name.startswith("docs/")} <= named | linked
    assert {name for name in ALL if "/" not in name} - {"README.md"} <= linked
    assert "docs/index.md" in linked


def test_config_examples_are_valid() -> None:
    examples = [(name, body) for name in OURS for body in blocks(name, "yaml")]
    for name, body in examples:
        shown = yaml.safe_load(textwrap.dedent(body))
        shown = shown if set(shown) <= set(Config.model_fields) else {"run_arguments": shown}
        whole = {key: _PART_OF.get(key, {}) | shown.get(key, {}) for key in {*_PART_OF, *shown}}
        is_whole = name in ("README.md", "HEATMAP_QUICKSTART.md", REFERENCE) or "data_dir" in shown.get(
            "data_arguments", {}
        )
        try:
            make_config(shown if is_whole else whole, check_files=False)
        except ConfigError as error:
            pytest.fail(f"{name}: {error}")
    assert {name for name, _ in examples} >= {"HEATMAP_QUICKSTART.md", REFERENCE, "docs/explanation/colours.md"}


@pytest.mark.parametrize("name", OURS)
def test_keys_in_the_text_exist(name: str) -> None:
    sections = {section: field.annotation for section, field in Config.model_fields.items()}
    for code in _CODE.findall(prose(name)):
        for section, key in re.findall(r"\b(\w+_arguments)\.(\w+)", code):
            section_type: Any = sections[section]
            assert key in section_type.model_fields, f"{name} mentions {code}"


def test_values_of_keys_in_the_text_are_accepted() -> None:
    """`key: value` in backticks, for the keys that say how a heatmap looks."""
    tried = set()
    for name in OURS:
        for code in _CODE.findall(prose(name)):
            match = re.fullmatch(r"(?:heatmap_arguments\.)?(\w+): (\S+)", code)
            if match and match[1] in HeatmapArguments.model_fields:
                HeatmapArguments.model_validate({match[1]: yaml.safe_load(match[2])})
                tried.add(match[1])
    assert {"cmap", "scale", "normalize", "score", "smooth", "threshold"} <= tried


@pytest.mark.parametrize("name", OURS)
def test_files_of_the_project_in_the_text_are_there(name: str) -> None:
    made_by_runs = ("heatmaps/heatmap_", "heatmaps/results", "heatmaps/demo", "my_cohort")
    for code in _CODE.findall(prose(name)):
        if re.fullmatch(r"(heatmaps|presets|docs|benchmarks|src|tests|utils)(/[\w.]+)*", code):
            assert (ROOT / code).exists() or any(part in code for part in made_by_runs), f"{name} mentions {code}"


def test_the_table_of_normalisations_names_those_the_config_takes() -> None:
    annotation = HeatmapArguments.model_fields["normalize"].annotation
    in_config = {value for part in get_args(annotation) for value in get_args(part)}
    rows = re.findall(r"^\| `(\w+)`(?: \(default\))? \|", text_of("docs/explanation/colours.md"), flags=re.MULTILINE)
    assert in_config <= set(rows)


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make_small_cohort(tmp_path)
    (example,) = blocks("docs/how-to/scores_of_other_programs.md", "python")
    code = example.replace("heatmaps/demo/slides/demo_02_svs.svs", str(cohort.slides / "s2.svs"))
    code = code.replace("heatmaps/demo/h5_files/demo_02_svs.h5", str(cohort.features / "s2.h5"))
    code = code.replace('"a_t": 1, "a_h": 1', '"a_t": 0, "a_h": 0')  # the slide of the tests is tiny
    assert code.count(str(tmp_path)) == 2
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "scores_of_other_programs.md", "exec"), {})
    assert Image.open(tmp_path / "map.png").size


def test_pictures_are_small_and_all_used() -> None:
    text = "".join(text_of(name) for name in ALL)
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 300_000, picture.name
        assert f"images/{picture.name}" in text, f"{picture.name} is in no document"
