"""docs/reference/notices.md has every code of a notice that the program makes, and no other."""

import ast
import re
from pathlib import Path

from mil_heatmaps.notices import UNCLASSIFIED
from tests.helpers.source import nodes_of

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def codes_made() -> set[str]:
    """Return the code of every `Notice(...)` in the package; a code that is no plain text fails the test."""
    found = set()
    for path, node in nodes_of(ast.Call):
        if path.name != "notices.py" and isinstance(node.func, ast.Name) and node.func.id == "Notice":
            code = node.args[0]
            assert isinstance(code, ast.Constant), f"{path.name}, line {node.lineno}: write the code as it is"
            found.add(str(code.value))
    return found


def test_every_code_says_what_it_means_and_what_to_do() -> None:
    rows = ROW.findall((ROOT / "docs" / "reference" / "notices.md").read_text(encoding="utf-8"))
    listed = [code for code, _, _ in rows]
    assert len(set(listed)) == len(listed)
    assert set(listed) == codes_made() | {UNCLASSIFIED}
    assert all(meaning.strip() and cure.strip() for _, meaning, cure in rows)
