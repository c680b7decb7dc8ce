"""The checker of words in `make lint` finds what it is for, and the pages made from the program are up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("README.md", "one row a slide", ["one row a slide"]),
        ("README.md", "one row per slide and `one row a slide`", []),
        ("README.md", "a\nrow\na slide", ["a row a slide"]),
        ("README.md", "## How fast is it?", ["How fast is it?"]),
        ("docs/how-to/x.md", "# How do I do it?", []),
        ("docs/how-to/x.md", "# How do I do it?\n\n## And then?", ["And then?"]),
        ("README.md", "```\n# really?\nmend\n```\n", []),
        ("src/a.py", "mend = 1  # nothing to say", []),
        ("src/a.py", 'x = "mend"\ny = f"see {mend} there"', []),
        ("src/a.py", "x = 'say how to mend it'  # or mend it here", ["mend", "mend"]),
    ],
)
def test_words_that_stop_a_reader_are_found(name: str, text: str, found: list[str]) -> None:
    assert [what for _, what, _ in module("check_words").faults(name, text)] == found


def test_the_page_of_the_command_line_is_what_the_commands_print() -> None:
    made = module("make_command_line")
    assert made.PAGE.read_text(encoding="utf-8") == made.page_text()


@pytest.mark.parametrize(
    ("page", "link", "wanted"),
    [
        ("how-to/clam.md", "[x](../../HEATMAP_GENERATION.md#stages)", "[x](../project/HEATMAP_GENERATION.md#stages)"),
        ("project/README.md", "[x](docs/how-to/clam.md)", "[x](../how-to/clam.md)"),
        ("project/README.md", "![x](docs/images/figure.jpg)", "![x](../images/figure.jpg)"),
        ("explanation/scores.md", "[x](../planted_evidence.py)", "x"),
        ("explanation/scores.md", "[x](../no_such.py)", "[x](../no_such.py)"),
        ("index.md", "```\n[x](../README.md)\n```", None),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page: str, link: str, wanted: str | None) -> None:
    assert module("site_hooks").relinked(link, page) == (link if wanted is None else wanted)
