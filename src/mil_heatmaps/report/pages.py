"""The templates of the report, their security policy, and streamed writing: no page is ever whole in memory."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.words import install_line, lacking

if TYPE_CHECKING:
    from jinja2 import Environment

INSTALL = install_line("report")
PAGE = Path(__file__).parent / "page"
_CHUNK = 1 << 16


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates. They escape everything that was not marked as markup here.

    Raises
    ------
    MissingDependencyError
        Jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        missing = None if isinstance(error, ModuleNotFoundError) and error.name == "jinja2" else error
        raise lacking("report_arguments", "jinja2", INSTALL, missing) from error
    style, script = ((PAGE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.globals |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": (
            f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
    }
    return made


def _hash(text: str) -> str:
    """Return the hash that lets this one style or script pass the policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_SVG = re.compile(r"\A<svg[\s>].*</svg>\Z", re.DOTALL)
_ACTIVE = re.compile(r"<\s*(?:script|foreignObject|iframe|a|animate|set)\b|\son\w+\s*=|javascript:", re.IGNORECASE)


def plot(svg: str) -> Any:
    """Return a drawing by this program as markup; one with other content, from a changed file, is left out."""
    from markupsafe import Markup

    return Markup(svg) if _SVG.match(svg) and not _ACTIVE.search(svg) else ""


def rendered(template: str, values: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a page as UTF-8, some ten thousand bytes at a time.

    Bytes of a name that are not text are written as ``\\udcff``.
    """
    held: list[str] = []
    size = 0
    for piece in environment().get_template(template).generate(values):
        held.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield "".join(held).encode("utf-8", "backslashreplace")
            held, size = [], 0
    yield "".join(held).encode("utf-8", "backslashreplace")
