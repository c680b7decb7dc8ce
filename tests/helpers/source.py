"""The package's source, parsed once for all tests that read it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

from tests.helpers.places import ROOT

Node = TypeVar("Node", bound=ast.AST)


@cache
def nodes() -> tuple[tuple[Path, tuple[ast.AST, ...]], ...]:
    """Return every file of the package with all nodes of its syntax tree."""
    files = sorted((ROOT / "src" / "mil_heatmaps").rglob("*.py"))
    return tuple((path, tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))) for path in files)


def nodes_of(kind: type[Node]) -> Iterator[tuple[Path, Node]]:
    """Yield the nodes of a kind with their files."""
    return ((path, node) for path, found in nodes() for node in found if isinstance(node, kind))
