"""Where the parts of a figure lie: sizes in inches, computed from the slide's shape and the page's width.

`arrange` chooses how slide, map and colour bar stand together; `lay` places the other parts below or beside them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_style import FigureStyle

MARGIN, GAP, BAR = 0.4, 0.3, 1.6
TILE, TILE_GAP, PATCHES = 1.12, 0.1, 4
BLOCK = PATCHES * TILE + (PATCHES - 1) * TILE_GAP
"""Width of a row of patches."""
SIDE = max(BLOCK, 3.6)
_PANEL_MOST, _PANEL_LEAST, _HIGHEST = 5.6, 1.6, 9.0
_WIDE, _TALL = 0.42, 1.15
"""Height over width of a slide. Below the first, slide and map are stacked; above the second, the rest stands beside
them."""
_UPRIGHT_LEAST, _UPRIGHT_MOST = 2.0, 5.6
"""Least and greatest height of an upright bar."""
_STACKED = 0.3
"""Slide and map are easier to compare side by side, so the area of stacked pictures counts only by this factor."""
_PRINTED_MOST = 4.6
"""Greatest height of slide and map on a printed page, in inches: the text needs room as well."""


@dataclass(frozen=True)
class Arrangement:
    """How slide, map and bar stand together; all in inches.

    Attributes
    ----------
    panel : (width, height)
        Size of the slide and of the map.
    stacked : bool
        True if slide and map are stacked, False if they stand side by side.
    upright : bool
        True if the bar stands beside them, False if it lies below.
    content : float
        Width between the margins.
    side : bool
        True if the rest stands beside them, False if it is below.
    """

    panel: tuple[float, float]
    stacked: bool
    upright: bool
    content: float
    side: bool

    def bar_length(self, unit: float, pictures: int) -> float:
        """Return the length of the colour bar."""
        if self.upright:
            high = self.panel[1] * (pictures if self.stacked else 1)
            return min(high, _UPRIGHT_MOST * unit)
        return min(self.panel[0] * (1 if self.stacked else pictures) if self.side else self.content, 5 * unit)


def arrange(
    high: float, style: FigureStyle, *, pictures: int, bar: float, below: bool, shrink: float = 1.0, beside: float = 0.0
) -> Arrangement:
    """Return how slide, map and bar stand together.

    Parameters
    ----------
    high : float
        Height over width of the slide.
    pictures : int
        How many pictures: slide and map, or one of them.
    bar : float
        Width of an upright colour bar with its words; 0 without a bar.
    below : bool
        Whether there are other parts to place below or beside.
    shrink : float
        Makes the pictures smaller, for a page of given height.
    beside : float
        Width kept free to the right of the pictures for the other parts; 0 keeps none free.
    """
    u = style.unit
    gap, room = GAP * u, bar
    if style.width is None:
        return _as_large_as_needed(high, u, pictures, room, below=below)
    whole = style.width - 2 * MARGIN * u
    content = whole - beside
    most = (style.height or _PRINTED_MOST) * (0.62 if style.height else 1.0) * shrink
    found: list[tuple[float, Arrangement]] = []
    for stacked in (False, True) if pictures > 1 else (False,):
        for upright in (True, False) if bar else (False,):
            across = 1 if stacked else pictures
            width = (content - (room if upright else 0.0) - (across - 1) * gap) / across
            width = min(width * shrink, most / high / (pictures if stacked else 1))
            total = width * high * (pictures if stacked else 1)
            if width <= 0 or (upright and total < min(_UPRIGHT_LEAST * u, 0.9 * most)):
                continue
            used = across * width + (across - 1) * gap + (room if upright else 0.0)
            side = below and (beside > 0 or content - used >= (SIDE + 2 * GAP) * u)
            area = width * width * high * (_STACKED if stacked else 1.0)
            found.append((area, Arrangement((width, width * high), stacked, upright, whole, side)))
    if not found:
        return _as_large_as_needed(high, u, pictures, room, below=below)
    return max(found, key=lambda pair: pair[0])[1]


def _as_large_as_needed(
    high: float, u: float, pictures: int, room: float, *, below: bool
) -> Arrangement:
    three = (3.0 + 2 * (BLOCK + 2 * GAP)) * u if below else 0.0
    if high < _WIDE and pictures > 1:
        width = 2 * _PANEL_MOST * u
        return Arrangement((width, width * high), True, False, max(width, three), False)
    width = _PANEL_MOST if high <= 1 else max(_PANEL_MOST / high, _PANEL_LEAST)
    width = min(width, _HIGHEST / high) * u
    upright = room > 0 and width * high >= _UPRIGHT_LEAST * u
    used = pictures * width + (pictures - 1) * GAP * u + (room if upright else 0.0)
    if high > _TALL and below:
        return Arrangement((width, width * high), False, upright, used + (2 * GAP + SIDE) * u, True)
    return Arrangement((width, width * high), False, upright, max(used, three), False)


@dataclass(frozen=True)
class Piece:
    """A part of the figure that can lie anywhere. `height` returns its height for a width; `draw` draws it at a place
    (left, top) with that width."""

    height: Callable[[float], float]
    draw: Callable[[Page, float, float, float], None]
    block: bool = False
    """Whether this part is a row of patches."""


@dataclass(frozen=True)
class Placed:
    """A piece and its place: left, top (from the top of all rows) and width, in inches."""

    piece: Piece
    left: float
    top: float
    width: float


def lay(
    pieces: Sequence[Piece], width: float, style: FigureStyle, *, column: bool
) -> tuple[list[Placed], float]:
    """Return where the pieces lie within a width, and their total height; in a `column` each lies below the last."""
    u, gap = style.unit, 2 * GAP * style.unit
    if column:
        rows = [[(piece, min(width, 1.3 * SIDE * u))] for piece in pieces]
    else:
        blocks, others = [p for p in pieces if p.block], [p for p in pieces if not p.block]
        three = (3.0 + 2 * (BLOCK + 2 * GAP)) * u
        if width >= three - 1e-6:
            first = width - len(blocks) * (BLOCK * u + gap)
            rows = [[(others[0], first)] if others else []]
            rows[0] += [(block, BLOCK * u) for block in blocks]
            rows += [[(piece, width / 2)] for piece in others[1:]]
        else:
            rows = _in_pairs(blocks, width, gap, least=3.2 * u) + _in_pairs(others, width, gap, least=3.0 * u)
    placed: list[Placed] = []
    top = 0.0
    for row in (row for row in rows if row):
        left, high = 0.0, 0.0
        for piece, wide in row:
            placed.append(Placed(piece, left, top, wide))
            left, high = left + wide + gap, max(high, piece.height(wide))
        top += high + 0.12 * u
    return placed, top


def _in_pairs(
    pieces: Sequence[Piece], width: float, gap: float, least: float
) -> list[list[tuple[Piece, float]]]:
    """Return rows of two pieces if each gets a width of at least `least`, else rows of one."""
    half = (width - gap) / 2
    if half < least or len(pieces) < 2:
        return [[(piece, width)] for piece in pieces]
    return [[(piece, half) for piece in pieces[at : at + 2]] for at in range(0, len(pieces), 2)]
