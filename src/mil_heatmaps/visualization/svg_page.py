"""Matplotlib's drawings as SVG inside a page that allows no style of an element's own (a Content-Security-Policy)."""

import io
import re
from typing import Any

_STYLE = re.compile(r' style="([^"]*)"')
_FONT = re.compile(r"^(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+)px\s+(?P<family>.+)$")
_FAMILY = "inherit"
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")
_ID = re.compile(r' id="([^"]+)"')


def page_svg(figure: Any, *, salt: str) -> str:
    """Return a matplotlib figure as an ``<svg>`` element, its size in ``viewBox`` alone, so that the page lays it out.

    What matplotlib writes as ``style="fill: none"`` becomes ``fill="none"``, which the policy of a page lets pass. The
    same figure and salt give the same text.
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
    # Names that nothing refers to would be there twice in a page of two plots; the others hold the salt.
    meant = set(re.findall(r'#([\w.-]+)', svg))
    svg = _ID.sub(lambda found: found[0] if found[1] in meant else "", svg)
    return re.sub(r">\s+<", "><", re.sub(r" *\n *", " ", _in_paths(svg)))


def _in_paths(svg: str) -> str:
    """Return the SVG with paths in hundredths of a unit, which is less than is seen."""
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
