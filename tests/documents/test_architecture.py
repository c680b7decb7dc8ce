"""The house holds: floors, sizes, and what may be imported without torch. The contract is in pyproject.toml."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "mil_heatmaps"
MODULES = list(PACKAGE.rglob("*.py"))
LIGHT_ROOMS = ("cli", "config", "cohort", "records", "progress")


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_room_is_more_than_a_seventh_of_the_source() -> None:
    lines = Counter[str]()
    for path in MODULES:
        lines[path.relative_to(PACKAGE).parts[0]] += length(path)
    room, most = lines.most_common(1)[0]
    assert most <= lines.total() / 7, f"{room} has {most} of {lines.total()} lines"


def test_no_file_is_longer_than_350_lines() -> None:
    pages = [path for path in (PACKAGE / "viewer" / "page").rglob("*.*") if "vendor" not in path.parts]
    long = {str(path.relative_to(ROOT)): length(path) for path in [*MODULES, *pages] if length(path) > 350}
    assert not long


def test_package_files_import_nothing_so_that_importing_a_module_imports_no_neighbour() -> None:
    packages = [path for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE]
    assert len(packages) > 15
    # A function may import once it is called, as `viewer.show` does; the file itself runs no import.
    parsed = {path: ast.parse(path.read_text(encoding="utf-8")) for path in packages}
    assert [str(path) for path, tree in parsed.items() if any(map(_imports, tree.body))] == []


def _imports(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return False
    return any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(statement))


def test_rooms_without_torch_are_imported_without_torch() -> None:
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for room in LIGHT_ROOMS
        for path in sorted((PACKAGE / room).glob("*.py"))
        if path.stem not in ("__init__", "__main__")
    ]
    assert len(names) > 50
    code = (
        f"import importlib, sys\nfor name in {names!r}:\n"
        "    importlib.import_module(name)\n    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_import_from_a_room_above_breaks_the_contract(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    shutil.copytree(PACKAGE, tmp_path / "mil_heatmaps", ignore=shutil.ignore_patterns("page", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [sys.executable, "-c", "import sys; sys.path.insert(0, ''); from importlinter.cli import *;"
               "lint_imports_command()", "--no-cache"]  # fmt: skip
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stdout
    upward = tmp_path / "mil_heatmaps" / "slides" / "reader.py"
    upward.write_text(upward.read_text() + "\n\ndef _late() -> None:\n    import mil_heatmaps.viewer.app  # noqa\n")
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "slides is not allowed to import mil_heatmaps.viewer" in " ".join(second.stdout.split())
