"""The picture of one slide's faithfulness: the curves of every map, each with its sentence."""

import os
from collections.abc import Mapping
from typing import Any

from mil_heatmaps.visualization.curves_panel import draw_curves
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_parts import GREY, INK, SMALL, TITLE, short, wrapped
from mil_heatmaps.visualization.picture_files import save_picture

_MARGIN, _HEAD, _WIDTH, _HEIGHT, _LEFT, _FOOT = 0.35, 0.95, 3.0, 2.1, 0.6, 1.1
_MOST_ACROSS = 4
_LINE_CHARACTERS = 56
_LINES = 4


def write_curves(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write the curves of every map of a slide as a picture; see `draw_curves`."""
    save_picture(path, curves_page(document).rendered())


def curves_page(document: Mapping[str, Any]) -> Page:
    """Return the page as matplotlib objects."""
    maps = sorted(document["maps"], key=lambda name: not document["maps"][name]["drawn"])
    across = min(len(maps), _MOST_ACROSS)
    rows = -(-len(maps) // across)
    cell = _LEFT + _WIDTH + 0.25, _HEIGHT + _FOOT
    page = Page(2 * _MARGIN + max(across * cell[0], 5.0), _HEAD + rows * cell[1] + 0.1)
    page.write(_MARGIN, 0.32, short(str(document.get("slide_id") or ""), 60), fontsize=TITLE - 2, weight="bold",
               color=INK, va="center")  # fmt: skip
    said = f"faithfulness, {document['level']}: {document['num_patches']} patches, target {document['target']['name']}"
    page.write(_MARGIN, 0.6, short(said, int(page.width * 14)), fontsize=SMALL, color=GREY, va="center")
    first = next((name for name in maps if document["maps"][name]["status"] == "measured"), None)
    for number, name in enumerate(maps):
        left = _MARGIN + _LEFT + number % across * cell[0]
        top = _HEAD + number // across * cell[1]
        entry = document["maps"][name]
        drawn = " (drawn)" if entry["drawn"] else ""
        title = short(f"{name}{drawn}: {entry.get('verdict', entry['status'])}", 48)
        draw_curves(page.axes(left, top, _WIDTH, _HEIGHT), document, name, title=title, legend=name == first)
        lines = wrapped(entry["foot"], _LINE_CHARACTERS)[:_LINES] if entry["status"] == "measured" else []
        for nth, line in enumerate(lines):
            below = top + _HEIGHT + 0.52 + 0.15 * nth
            page.write(left - 0.3, below, line, fontsize=SMALL - 0.5, color=INK, va="center")
    return page


def curves_svg(document: Mapping[str, Any], map_name: str, *, salt: str = "") -> str:
    """Return the curves of one map as SVG for a web page, without background; text stays text.

    `salt` keeps its ids apart from those in another slide's SVG.
    """
    from mil_heatmaps.visualization.svg_page import page_svg

    page = Page(_LEFT + 4.6 + 0.25, 2.6 + 0.75)
    draw_curves(page.axes(_LEFT, 0.3, 4.6, 2.5), document, map_name)
    return page_svg(page.figure, salt=salt)
