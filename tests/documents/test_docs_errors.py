"""docs/reference/errors.md quotes messages of the program: words that no message holds any more make the test fail."""

from __future__ import annotations

import ast
import re
from functools import cache

from mil_heatmaps import errors
from tests.helpers.places import ROOT
from tests.helpers.source import nodes, nodes_of

PAGE = ROOT / "docs" / "reference" / "errors.md"
LEAST = 6
"""Shorter pieces between two names, such as ` in `, are in too many messages to say anything."""


@cache
def all_texts() -> str:
    """Return every text in the source, names and numbers in messages as `…`."""
    texts: list[str] = []
    for _, found in nodes():
        for node in found:
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def quoted(page: str) -> list[str]:
    """Return the messages in the first column of the tables of the page."""
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| message")]
    cells = [row.split("|")[1] for row in rows]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def pieces(message: str) -> list[str]:
    """Return what a message says between the names and numbers in it."""
    return [piece.strip(" ,:;()") for piece in message.split("…") if len(piece.strip(" ,:;()")) >= LEAST]


def test_the_messages_of_the_page_are_messages_of_the_program() -> None:
    messages = [message for message in quoted(PAGE.read_text(encoding="utf-8")) if not message[0].isupper()]
    assert len(messages) > 80
    gone = [(message, piece) for message in messages for piece in pieces(message) if piece not in all_texts()]
    assert not gone


def test_every_kind_of_error_has_messages_on_the_page() -> None:
    """A kind of error that a user can act on, and that no message of the page belongs to, is missing there."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)} - {"HeatmapError"}
    said: dict[str, str] = dict.fromkeys(kinds, "")
    for _, node in nodes_of(ast.Raise):
        if isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func)
            said[name] = said.get(name, "") + ast.unparse(node.exc)
    said["MissingDependencyError"] += (ROOT / "src/mil_heatmaps/words.py").read_text(encoding="utf-8")
    messages = [piece for message in quoted(PAGE.read_text(encoding="utf-8")) for piece in pieces(message)]
    assert {kind for kind in kinds if not any(piece in said[kind] for piece in messages)} == set()
