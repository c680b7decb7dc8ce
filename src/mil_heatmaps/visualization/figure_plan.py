"""The plan of a figure: wraps its words, places its parts, and draws them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy.typing as npt

from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization import figure_parts as parts
from mil_heatmaps.visualization import figure_words as words
from mil_heatmaps.visualization.case_piece import other_slides
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import Colour, Panels, draw_panels, shown_extent, swatches
from mil_heatmaps.visualization.figure_layout import BAR, GAP, MARGIN, SIDE, Arrangement, Piece, Placed, arrange, lay
from mil_heatmaps.visualization.figure_page import Page, text_width, wrapped
from mil_heatmaps.visualization.figure_parts import BAD, GREY, INK
from mil_heatmaps.visualization.figure_pieces import (
    LOCATOR,
    bar_words,
    curves,
    draw_bar,
    draw_locator,
    draw_scale_bar,
    histogram,
    patch_rows,
)
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.figure_words import FigureText, Run

_NOTICE_LINES = 6


class FigurePlan:
    """Where all parts of a figure lie, and how to draw them. All lengths are inches."""

    def __init__(
        self,
        drawing: Drawing,
        scores: npt.NDArray[Any],
        text: FigureText,
        style: FigureStyle,
        *,
        legend: bool,
        shrink: float = 1.0,
        beside: float = 0.0,
        like: Panels | None = None,
    ) -> None:
        self.drawing, self.text, self.style, self.u = drawing, text, style, style.unit
        there = ("slide", "map") if text.beside is None else ("beside", "slide", "map")
        self.shown = [name for name in there if name in style.panels]
        self.bar = legend and "bar" in style.panels and "map" in style.panels
        self.legend = legend
        self._panels: Panels | None = None
        self._like = like  # panels of another size with the same swatches
        pieces = self._pieces(scores)
        _, self.size_l0 = shown_extent(drawing)
        self.high = self.size_l0[1] / self.size_l0[0]
        self.bar_room = BAR * self.u if self.bar else 0.0
        for _ in range(2):  # the bar's length must be known before its words tell its width
            self.how: Arrangement = arrange(
                self.high, style, pictures=len(self.shown), bar=self.bar_room, below=bool(pieces), shrink=shrink,
                beside=beside * (SIDE + 2 * GAP) * self.u if pieces else 0.0,
            )  # fmt: skip
            if self.bar and self.how.upright:
                room = bar_words(self, self.how.bar_length(self.u, len(self.shown)), upright=True).room
                self.bar_room = max(self.bar_room, room)
        self.panel = self._whole_pixels(self.how.panel)
        self.width = style.width or 2 * MARGIN * self.u + self.how.content
        self._measure(pieces)

    def _whole_pixels(self, panel: tuple[float, float]) -> tuple[float, float]:
        """Return the panel's size rounded to whole pixels, so that each pixel of a picture is one pixel of the page."""
        width, height = (max(1, round(side * self.style.dpi)) / self.style.dpi for side in panel)
        return width, height

    @property
    def panels(self) -> Panels:
        """The pictures, drawn on first use."""
        if self._panels is None:
            self._panels = draw_panels(self.drawing, round(max(self.panel) * self.style.dpi))
        return self._panels

    def _pieces(self, scores: npt.NDArray[Any]) -> list[Piece]:
        out: list[Piece] = []
        if "histogram" in self.style.panels:
            out.append(histogram(self, scores))
        if self.text.others and "map" in self.style.panels:
            out.append(other_slides(self, self.text.others, self.text.others_title))
        if "patches" in self.style.panels:
            out += patch_rows(self, scores)
        if "curves" in self.style.panels and self.text.curves is not None:
            out.append(curves(self))
        return out

    def _measure(self, pieces: Sequence[Piece]) -> None:
        u, style, content = self.u, self.style, self.width - 2 * MARGIN * self.u
        locator = 0.0 if self.drawing.frame.whole else (LOCATOR[0] + GAP) * u
        name = self.text.slide_id or self.drawing.slide.slide_id
        name = parts.short(name, 400 if style.height is None else 110)
        self.names = wrapped(name, style.title, content - locator, bold=True)
        self.groups = self._flow(words.head_runs(self.drawing, self.text), content - locator)
        titles = {"slide": words.slide_title(self.drawing), "map": words.map_title(self.drawing, self.text)}
        if self.text.beside is not None:
            titles["beside"] = self.text.beside.title
        beside = self.bar_room if self.bar and self.how.upright else 0.0  # the last title may extend above the bar
        self.titles = [
            wrapped(titles[shown], style.text, self.panel[0] + (beside if shown == self.shown[-1] else 0.0))
            for shown in self.shown
        ]
        lines = max(map(len, self.titles))
        self.step = max(0.2 * u, style.step)
        self.prediction_top = (0.36 + 0.33 + (len(self.names) - 1) * 0.27) * u
        head = self.prediction_top + (0.41 * u if self.groups else 0.09 * u)
        self.head = head + (max(len(self.groups) - 1, 0) + lines - 1) * self.step
        if locator:
            self.head = max(self.head, (LOCATOR[1] + 0.5) * u)
        self.key_lines = self._flow_swatches()
        top = self.head + self.panel[1] * (len(self.shown) if self.how.stacked else 1)
        top += (self.step * max(map(len, self.titles)) + 0.12 * u) * (len(self.shown) - 1) if self.how.stacked else 0.0
        self.under = top
        measured = self._scale_bar_um() is not None
        self.key_below = 2 if measured and (self.how.stacked or len(self.shown) < 2) else 0
        rows = max(len(self.key_lines) + self.key_below * bool(self.key_lines), 2 * measured)
        top += (0.08 * u + rows * self.step) if rows else 0.0
        self.bar_top = top + 0.1 * u
        if self.bar and not self.how.upright:
            top = self.bar_top + bar_words(self, self.bar_length, upright=False).room
        upright = self.head
        if self.bar and self.how.upright:
            meaning = bar_words(self, self.bar_length, upright=True).meaning
            upright += self.bar_length + (0.1 * u + style.step * len(meaning) if meaning else 0.0)
        self.placed: list[Placed]
        if self.how.side:
            used = self._pictures_width() + (self.bar_room if self.how.upright else 0.0) + 2 * GAP * u
            self.corner = MARGIN * u + used, self.head - 0.28 * u
            self.placed, high = lay(pieces, content - used, style, column=True)
            bottom = max(top, upright, self.corner[1] + high)
        else:
            self.corner = MARGIN * u, max(top, upright) + 0.16 * u
            self.placed, high = lay(pieces, content, style, column=False)
            bottom = self.corner[1] + high if self.placed else max(top, upright)
        notices = _notice_lines((*self.text.notices, *self.drawing.notes), style, content)
        told = words.foot_lines(self.drawing, self.text)
        grey = [line for fact in told for line in wrapped(fact, style.small, content)]
        believed = words.belief_lines(self.text)
        said = [(line, colour) for fact, colour, _ in believed for line in wrapped(fact, style.small, content)]
        self.foot = [*((line, BAD) for line in notices), *said, *((line, GREY) for line in grey)]
        self.foot_top = bottom + 0.2 * u
        self.height = self.foot_top + len(self.foot) * style.step + 0.08 * u

    def _pictures_width(self) -> float:
        across = 1 if self.how.stacked else len(self.shown)
        return across * self.panel[0] + (across - 1) * GAP * self.u

    @property
    def bar_length(self) -> float:
        """Length of the colour bar."""
        return self.how.bar_length(self.u, len(self.shown))

    def _flow(self, groups: Sequence[Sequence[Run]], width: float) -> list[list[tuple[float, Run]]]:
        """Return the groups of runs in lines, each run with its distance from the left; long groups are wrapped."""
        size = self.style.text + 0.5 * self.u
        lines: list[list[tuple[float, Run]]] = []
        at = width + 1
        for group in groups:
            wide = sum(text_width(text, size, bold=bold) for text, _, bold in group)
            if at + wide > width:
                lines.append([])
                at = 0.0
            for text, colour, bold in group:
                pieces = [text] if wide <= width else wrapped(text, size, width - at if at else width, bold=bold)
                for nth, piece in enumerate(pieces):
                    if nth or at + text_width(piece, size, bold=bold) > width + 1e-6:
                        lines.append([])
                        at = 0.0
                    lines[-1].append((at, (piece, colour, bold)))
                    at += text_width(piece, size, bold=bold)
            at += 0.22 * self.u
        return [line for line in lines if line]

    def _scale_bar_um(self) -> float | None:
        """Return the width of the pictures in micrometres; None without a scale bar."""
        mpp = self.drawing.slide.mpp
        if not self.legend or mpp is None:
            return None
        return self.size_l0[0] * mpp

    def _flow_swatches(self) -> list[list[tuple[float, Colour | None, str]]]:
        """Return the lines of swatches under the map, each swatch with its distance from the map's left edge.

        If the words of a swatch take several lines, only the first line has its colour.
        """
        if not self.bar:
            return []
        lines: list[list[tuple[float, Colour | None, str]]] = []
        self.key_width = self._pictures_width() if self.how.stacked or len(self.shown) < 2 else self.panel[0]
        if self.how.upright and not self.drawing.scale.meaning:
            self.key_width += self.bar_room
        room, box = self.key_width, 0.22 * self.u
        at = room + 1
        artefacts = (artefact.swatch for artefact in self.text.artefacts)
        for colour, said in (*swatches(self._like or self.panels, self.text.unreadable), *artefacts):
            for nth, piece in enumerate(wrapped(said, self.style.small, room - box)):
                wide = box + text_width(piece, self.style.small)
                if nth or at + wide > room:
                    lines.append([])
                    at = 0.0
                lines[-1].append((at, colour if nth == 0 else None, piece))
                at += wide + 0.2 * self.u
        return lines

    def draw(self, page: Page) -> None:
        """Draw everything."""
        u, style, left = self.u, self.style, MARGIN * self.u
        page.write_lines(left, 0.36 * u, self.names, 0.27 * u, fontsize=style.title, weight="bold", color=INK)
        for nth, line in enumerate(self.groups):
            for at, (said, colour, bold) in line:
                weight = "bold" if bold else "normal"
                page.write(left + at, self.prediction_top + nth * self.step, said, fontsize=style.text + 0.5 * u,
                           color=colour, weight=weight, va="center")  # fmt: skip
        places = self._draw_pictures(page)
        self._draw_under(page, places)
        if self.bar and self.how.upright:
            beside = left + self._pictures_width() + 0.2 * u
            draw_bar(page, self, (beside, self.head), self.bar_length, upright=True)
        elif self.bar:
            draw_bar(page, self, (left, self.bar_top), self.bar_length, upright=False)
        if not self.drawing.frame.whole:
            draw_locator(page, self.drawing)
        for placed in self.placed:
            placed.piece.draw(page, self.corner[0] + placed.left, self.corner[1] + placed.top, placed.width)
        for nth, (said, colour) in reversed(list(enumerate(self.foot))):  # the last line is drawn first
            middle = self.foot_top + (nth + 0.5) * style.step
            page.write(left, middle, said, fontsize=style.small, color=colour, va="center")

    def _draw_pictures(self, page: Page) -> list[tuple[float, float]]:
        places, (width, height) = [], self.panel
        for nth, shown in enumerate(self.shown):
            left, top = MARGIN * self.u, self.head
            if self.how.stacked:
                top += nth * (height + self.step * max(map(len, self.titles)) + 0.12 * self.u)
            else:
                left += nth * (width + GAP * self.u)
            left, top = (round(at * self.style.dpi) / self.style.dpi for at in (left, top))
            axes = page.axes(left, top, width, height)
            parts.show_picture(axes, self._picture(shown))
            lines = self.titles[nth]
            page.write_lines(left, top - 0.13 * self.u - (len(lines) - 1) * self.step, lines, self.step,
                             fontsize=self.style.text, color=GREY)  # fmt: skip
            if self.drawing.region is not None:
                parts.draw_outlines(
                    axes, self.drawing.region, self.panels.drawing.frame, self.text.region_names, self.style
                )
            if shown != "slide" and self.text.evidence is not None:
                parts.draw_outlines(axes, self.text.evidence.outlines_l0, self.panels.drawing.frame, (), self.style)
            places.append((left, top))
        return places

    def _picture(self, shown: str) -> UInt8Array:
        panels = self.panels
        if shown == "beside" and self.text.beside is not None:
            return self.text.beside.picture(panels.drawing.frame, self.drawing.color_profile)
        return panels.slide if shown == "slide" else panels.heatmap

    def _draw_under(self, page: Page, places: Sequence[tuple[float, float]]) -> None:
        """Draw the scale bar and the swatches below the pictures, so that they hide no tissue."""
        u, width_um, top = self.u, self._scale_bar_um(), self.under + 0.08 * self.u
        if width_um is not None:
            draw_scale_bar(page, (places[0][0], top), self.panel[0], width_um)
        left, apart = places[-1][0], self.key_below * self.step
        for nth, line in enumerate(self.key_lines):
            for at, colour, said in line:
                middle = top + apart + (nth + 0.5) * self.step
                if colour is not None:
                    page.box(left + at, middle - 0.055 * u, 0.15 * u, 0.11 * u, edgecolor=GREY, linewidth=0.6,
                             facecolor=[part / 255 for part in colour])  # fmt: skip
                page.write(left + at + 0.22 * u, middle, said, fontsize=self.style.small, color=INK, va="center")


def _notice_lines(notices: Iterable[str], style: FigureStyle, width: float) -> list[str]:
    """Return the notices, each once, as lines no wider than `width` inches; if lines are cut off, the last says so."""
    joined = wrapped(parts.join(list(dict.fromkeys(notices))), style.small, width)
    if len(joined) <= _NOTICE_LINES:
        return joined
    more = wrapped("… and more: the column `notes` of the process list has them all", style.small, width)
    return [*joined[: _NOTICE_LINES - 1], *more]
