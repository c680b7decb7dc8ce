"""A sheet of small multiples: several slides, or several scores of one slide, on one scale with one colour bar."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mil_heatmaps.visualization import figure_parts as parts
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import Panels, draw_panels, shown_extent
from mil_heatmaps.visualization.figure_layout import GAP, MARGIN
from mil_heatmaps.visualization.figure_page import Page, wrapped
from mil_heatmaps.visualization.figure_parts import GREY, INK
from mil_heatmaps.visualization.figure_pieces import BarPlan, bar_words, draw_bar, draw_scale_bar
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.figure_words import FigureText

_USUAL_WIDTH = 11.0
_MOST_COLUMNS = 4
_CELL_HIGHEST = 1.5
"""Greatest height over width of a map's cell; taller slides are drawn narrower."""


@dataclass(frozen=True)
class SheetMap:
    """One map of a sheet and the words above it."""

    drawing: Drawing
    title: str


def write_sheet(
    path: str | os.PathLike[str],
    maps: Sequence[SheetMap],
    score_title: str,
    *,
    foot: Sequence[str] = (),
    style: FigureStyle | None = None,
) -> None:
    """Write the maps side by side in rows, in the format of the path's suffix.

    Parameters
    ----------
    maps : SheetMap
        All with the same scale and colormap; the bar is that of the first.
    score_title : str
        Title of the colour bar.
    foot : lines below the maps
    style : FigureStyle
        Width, size of letters and resolution.
    """
    compose_sheet(maps, score_title, foot=foot, style=(style or FigureStyle()).of_file(path)).save(path)


def compose_sheet(
    maps: Sequence[SheetMap], score_title: str, *, foot: Sequence[str] = (), style: FigureStyle | None = None
) -> Page:
    """Return the page of `write_sheet`."""
    style = style or FigureStyle()
    u, width = style.unit, style.width or _USUAL_WIDTH
    content, gap, text = width - 2 * MARGIN * u, GAP * u, FigureText(score_title)
    columns = min(_MOST_COLUMNS, len(maps))
    while columns > 1 and (content - 1.6 * u - columns * gap) / columns < 1.2 * u:
        columns -= 1
    room = 1.6 * u
    for _ in range(2):
        cell = (content - room - columns * gap) / columns
        sizes = [_size(one.drawing, cell, style) for one in maps]
        rows = [list(range(at, min(at + columns, len(maps)))) for at in range(0, len(maps), columns)]
        titles = [wrapped(one.title, style.text, cell) for one in maps]
        above = [0.2 * u * max(len(titles[i]) for i in row) + 0.1 * u for row in rows]
        heights = [head + max(sizes[i][1] for i in row) + 0.4 * u for head, row in zip(above, rows, strict=True)]
        length = min(sum(heights) - 0.6 * u, 5.6 * u)
        plan = BarPlan(maps[0].drawing, text, style, u, _no_panels(maps[0].drawing))
        said = bar_words(plan, length, upright=True)
        room = max(1.6 * u, said.room)
        length = max(0.8 * u, min(length, sum(heights) - 0.5 * u - style.step * len(said.meaning)))
    lines = [line for said in foot for line in wrapped(said, style.small, content)]
    page = Page(width, MARGIN * u + sum(heights) + style.step * len(lines) + 0.2 * u, style)
    panels, top = [], MARGIN * u
    for row, high in zip(rows, heights, strict=True):
        head = 0.2 * u * max(len(titles[i]) for i in row) + 0.1 * u
        for nth, i in enumerate(row):
            left, start = (round(at * style.dpi) / style.dpi for at in (MARGIN * u + nth * (cell + gap), top + head))
            panel = draw_panels(maps[i].drawing, round(max(sizes[i]) * style.dpi))
            panels.append(panel)
            page.write_lines(left, top + 0.1 * u, titles[i], 0.2 * u, fontsize=style.text, color=INK)
            parts.show_picture(page.axes(left, start, *sizes[i]), panel.heatmap)
            if (mpp := maps[i].drawing.slide.mpp) is not None:
                _, size_l0 = shown_extent(maps[i].drawing)
                draw_scale_bar(page, (left, start + sizes[i][1] + 0.06 * u), sizes[i][0], size_l0[0] * mpp)
        top += high
    red, green, blue = np.rint(np.mean([panel.ground for panel in panels], axis=0)).astype(int).tolist()
    shared = Panels(panels[0].drawing, panels[0].slide, panels[0].heatmap, (red, green, blue), panels[0].plain)
    place = MARGIN * u + columns * (cell + gap), MARGIN * u + 0.3 * u
    draw_bar(page, BarPlan(maps[0].drawing, text, style, u, shared), place, length, upright=True)
    page.write_lines(MARGIN * u, top + 0.5 * style.step, lines, style.step, fontsize=style.small, color=GREY)
    return page


def _size(drawing: Drawing, cell: float, style: FigureStyle) -> tuple[float, float]:
    """Return width and height of a map in inches, rounded to whole pixels of the page."""
    _, (width_l0, height_l0) = shown_extent(drawing)
    high = height_l0 / width_l0
    wide = min(cell, _CELL_HIGHEST * cell / high)
    whole_width, whole_height = (max(1, round(side * style.dpi)) / style.dpi for side in (wide, wide * high))
    return whole_width, whole_height


def _no_panels(drawing: Drawing) -> Panels:
    """Return panels without pictures, for measuring words."""
    nothing = np.zeros((0, 0, 3), np.uint8)
    return Panels(drawing, nothing, nothing, (255, 255, 255), (255, 255, 255))
