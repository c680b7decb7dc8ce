"""Matplotlib figures as SVG for a page whose Content-Security-Policy forbids inline styles."""

import io
import re
from typing import Any

_STYLE = re.compile(r' style="([^"]*)"')
_FONT = re.compile(r"^(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+)px\s+(?P<family>.+)$")
_FAMILY = "inherit"
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")
_ID = re.compile(r' id="([^"]+)"')


def page_svg(figure: Any, *, salt: str) -> str:
    """Return a matplotlib figure as an ``<svg>`` element with its size only in ``viewBox``, so that the page sizes it.

    Matplotlib writes ``style="fill: none"``; here it becomes ``fill="none"``, which the page's policy allows. The same
    figure and salt give the same text.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt or "page"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    svg = _STYLE.sub(lambda found: _attributes(found[1]), svg)
    # Ids without references are removed, since two plots on a page would repeat them; the other ids hold the salt.
    meant = set(re.findall(r'#([\w.-]+)', svg))
    svg = _ID.sub(lambda found: found[0] if found[1] in meant else "", svg)
    return re.sub(r">\s+<", "><", re.sub(r" *\n *", " ", _in_paths(svg)))


def _in_paths(svg: str) -> str:
    """Return the SVG with path numbers cut to hundredths of a unit, a difference nobody sees."""
    return re.sub(r' d="[^"]*"', lambda found: _LONG_NUMBER.sub(r"\1", found[0]), svg)


def _attributes(style: str) -> str:
    """Return a style as presentation attributes."""
    out = []
    for part in style.split(";"):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if not value:
            continue
        font = _FONT.match(value) if name == "font" else None
        if font is not None:
            out.append(f'font-size="{font["size"]}" font-family="{_FAMILY}"')
            out += [f'font-weight="{font["weight"]}"'] if font["weight"] else []
        elif name != "font":
            out.append(f'{name}="{value}"')
    return "".join(f" {attribute}" for attribute in out)
