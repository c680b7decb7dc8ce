"""Small maps of the other slides of a case, for the figure of one slide: one pixel per patch, in the map's colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.visualization import figure_parts as parts
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.figure_layout import Piece
from mil_heatmaps.visualization.figure_page import wrapped
from mil_heatmaps.visualization.figure_parts import GREY, INK
from mil_heatmaps.visualization.figure_pieces import Planned
from mil_heatmaps.visualization.figure_words import SmallMap
from mil_heatmaps.visualization.palette import colour_index, colour_table

if TYPE_CHECKING:
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.visualization.figure_page import Page

_MOST = 8
_ACROSS = 4


def small_map(scores: npt.NDArray[Any], grid: PatchGrid, rule: ColourRule, title: str) -> SmallMap:
    """Return the map of scores (N,) on their grid. If overlapping patches share a pixel, it shows the last one."""
    table = colour_table(rule.cmap)
    shades, _ = rule.shades(scores, of_region=False)
    cells = np.rint((grid.coords_l0 - grid.coords_l0.min(axis=0)) / np.asarray(grid.step_l0)).astype(np.int64)
    width, height = (int(side) + 1 for side in cells.max(axis=0))
    picture = np.full((height, width, 3), 255, np.uint8)
    there = np.isfinite(shades)
    colours = table[colour_index(shades[there], len(table))]
    # Blended with white, like glass, so that colours match those of the slide's full map.
    picture[cells[there, 1], cells[there, 0]] = np.rint(255 + (colours - 255.0) * rule.alpha)
    return SmallMap(picture, title)


def other_slides(plan: Planned, maps: Sequence[SmallMap], title: str) -> Piece:
    """Return the small maps, four per row, each in a square of the same size; at most the first `_MOST` are shown."""
    style, u = plan.style, plan.u
    shown, head, gap = maps[:_MOST], 0.28 * u, 0.12 * u
    more = f", {_MOST} of {len(maps)}" if len(maps) > _MOST else ""

    def side(width: float) -> float:
        return min((width - (_ACROSS - 1) * gap) / _ACROSS, 1.1 * u)

    def below(width: float) -> list[list[str]]:
        return [wrapped(one.title, style.small, side(width)) for one in shown]

    def high(width: float) -> float:
        return side(width) * float(max(one.picture.shape[0] / max(one.picture.shape[:2]) for one in shown))

    def row_height(width: float) -> float:
        return high(width) + 0.1 * u + style.step * max(map(len, below(width)))

    def height(width: float) -> float:
        return head + -(-len(shown) // _ACROSS) * row_height(width)

    def draw(page: Page, left: float, top: float, width: float) -> None:
        page.write(left, top + head / 2, title + more, fontsize=style.text, color=GREY, va="center")
        tile = side(width)
        for nth, (one, lines) in enumerate(zip(shown, below(width), strict=True)):
            x = left + nth % _ACROSS * (tile + gap)
            y = top + head + nth // _ACROSS * row_height(width)
            tall, wide = one.picture.shape[:2]
            scale = tile / max(tall, wide)
            enlarged = max(1, round(scale * style.dpi))
            picture = np.repeat(np.repeat(one.picture, enlarged, axis=0), enlarged, axis=1)
            parts.show_picture(page.axes(x, y, wide * scale, tall * scale), picture)
            page.write_lines(x, y + high(width) + 0.1 * u, lines, style.step, fontsize=style.small, color=INK)

    return Piece(height, draw)
