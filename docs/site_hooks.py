"""Bring the documents at the top of the repository into the site as pages of `project/`, with links that hold.

Documents link to one another as files of the repository, so that they can be read there. Links are rewritten here:
a document leads to its page; a file that is no document (a script, a template) is named without a link.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "project"
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def place_of(page_uri: str) -> str:
    """Return the path in the repository of a page of the site."""
    folder, _, name = page_uri.partition("/")
    return name if folder == PROJECT else f"docs/{page_uri}"


def page_of(place: str) -> str | None:
    """Return the page of the site that shows a file of the repository, None if it is not in the site."""
    if place.startswith("docs/") and not place.endswith(".py"):
        return place.removeprefix("docs/")
    return f"{PROJECT}/{place}" if "/" not in place and place.endswith(".md") else None


def relinked(text: str, page_uri: str) -> str:
    """Return Markdown with its links as the site needs them; code stays as it is."""
    place = place_of(page_uri)

    def one(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        path, sharp, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        full = posixpath.normpath(posixpath.join(posixpath.dirname(place), path))
        page = page_of(full)
        if page is None:
            return words if (ROOT / full).exists() else match[0]
        return f"{mark}[{words}]({posixpath.relpath(page, posixpath.dirname(page_uri) or '.')}{sharp}{anchor})"

    parts, last = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(one, text[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, _LINK.sub(one, text[last:])])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents at the top of the repository."""
    from mkdocs.structure.files import File

    for path in sorted(ROOT.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        files.append(File.generated(config, f"{PROJECT}/{path.name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    return relinked(markdown, page.file.src_uri)
