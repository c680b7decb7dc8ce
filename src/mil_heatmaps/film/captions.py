"""Overlays of a frame: colour bar, scale bar, captions. Pillow draws the text, which is cached as small pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mil_heatmaps.film.camera import Window
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import Colour, draw_panels, shown_colours
from mil_heatmaps.visualization.figure_parts import bar_ticks, length_words, scale_bar_um, wrapped
from mil_heatmaps.visualization.fonts import figure_font
from mil_heatmaps.words import printable, tick_words

INK = (27, 31, 36)
GREY = (96, 103, 112)
_OPACITY = 0.86
_GROUND_PX = 256
"""Longer side of the picture that gives the mean colour of the slide under the map's colours."""
_LINE_CHARACTERS = 26


class Captions:
    """The overlays for the frames of one film.

    Parameters
    ----------
    drawing : Drawing
        The drawing whose colours and scale are shown.
    title : str
        Title of the colour bar.
    size_px : (width, height) of a frame
    colour_bar, captions : bool
        Which overlays to draw. The scale bar belongs to the captions.
    """

    def __init__(
        self, drawing: Drawing, title: str, size_px: tuple[int, int], *, colour_bar: bool, captions: bool
    ) -> None:
        self._width, self._height = size_px
        self._unit = max(9, round(min(size_px) / 42))
        self._mpp = drawing.slide.mpp
        self._captions = captions
        self._drawing, self._title, self._colour_bar = drawing, title, colour_bar
        self._ground = draw_panels(drawing, _GROUND_PX).ground if colour_bar else (255, 255, 255)
        self._bar: tuple[float, UInt8Array] | None = None

    def write(self, frame: UInt8Array, window: Window, words: str, blend: float) -> UInt8Array:
        """Return the frame, whose colours have the weight `blend`, with its overlays, drawn in place.

        The colour bar is blended like the colours, and left out if their weight is 0.
        """
        gap = self._unit
        if self._colour_bar and blend > 0:
            bar = self._bar_at(blend)
            _lay(frame, bar, self._width - bar.shape[1] - gap, gap, opacity=1.0)
        if not self._captions:
            return frame
        bottom = self._height - gap
        if words:
            line = _letters(_cut(words, self._width, self._unit), self._unit, INK)
            bottom -= line.shape[0]
            _lay(frame, line, gap, bottom)
            bottom -= gap // 2
        if self._mpp is not None:
            bar = self._scale_bar(window.downsample * self._mpp)
            _lay(frame, bar, gap, bottom - bar.shape[0])
        return frame

    def _bar_at(self, blend: float) -> UInt8Array:
        """Return the colour bar for a weight of the colours; the previous frame's bar is reused if possible."""
        if self._bar is None or self._bar[0] != blend:
            size_px = self._width, self._height
            bar = _colour_bar(self._drawing, self._title, self._unit, size_px, self._ground, blend)
            self._bar = blend, bar
        return self._bar[1]

    def _scale_bar(self, mpp: float) -> UInt8Array:
        length_um = scale_bar_um(self._width * mpp)
        text = _letters(length_words(length_um), self._unit, INK)
        length, gap = max(2, round(length_um / mpp)), self._unit // 2
        panel = np.full((text.shape[0] + gap + 3, max(text.shape[1], length + 2 * gap), 3), 255, np.uint8)
        panel[: text.shape[0], : text.shape[1]] = text
        panel[text.shape[0] : text.shape[0] + 3, gap : gap + length] = INK
        return panel


def _lay(frame: UInt8Array, panel: UInt8Array, x: int, y: int, opacity: float = _OPACITY) -> None:
    """Lay a slightly transparent panel over a frame."""
    x, y = max(0, x), max(0, y)
    part = frame[y : y + panel.shape[0], x : x + panel.shape[1]]
    if part.size:
        panel = panel[: part.shape[0], : part.shape[1]]
        part[:] = cv2.addWeighted(panel, opacity, np.ascontiguousarray(part), 1 - opacity, 0)


def _cut(text: str, width: int, size: int) -> str:
    """Return the text, shortened to fit a frame."""
    text, most = printable(text), width - 4 * size
    if figure_font(size).getlength(text) <= most:
        return text
    while text and figure_font(size).getlength(text + "…") > most:
        text = text[:-1]
    return text + "…"


@lru_cache(maxsize=64)
def _letters(text: str, size: int, ink: tuple[int, int, int]) -> UInt8Array:
    """Return a line of text on white, with a margin; the array is read-only."""
    font, gap = figure_font(size), size // 2
    image = Image.new("RGB", (round(font.getlength(text)) + 2 * gap, round(1.35 * size) + gap), "white")
    ImageDraw.Draw(image).text((gap, gap // 2), text, font=font, fill=ink)
    return np.asarray(image)


def _colour_bar(
    drawing: Drawing, title: str, unit: int, size_px: tuple[int, int], ground: Colour, blend: float
) -> UInt8Array:
    """Return the colour bar with ticks, title and scale, its colours blended with the ground like the map's."""
    small = max(9, round(0.82 * unit))
    scale = drawing.scale
    ticks = bar_ticks(drawing)
    words = tick_words(ticks)
    heads = [(line, unit, INK) for line in wrapped(printable(title), _LINE_CHARACTERS)]
    heads += [(line, small, GREY) for line in wrapped(f"{scale.label} {words.note}".strip(), _LINE_CHARACTERS + 4)]
    feet = [(line, small, GREY) for line in wrapped(scale.meaning, _LINE_CHARACTERS + 4)]
    above, below = ([_letters(*line) for line in lines] for lines in (heads, feet))
    labels = [_letters(label, small, INK) for label in words.labels]
    gap, height = unit // 2, max(60, round(0.3 * size_px[1]))
    width = max(line.shape[1] for line in (*above, *below, *labels))
    width = max(width, gap + unit + max(label.shape[1] for label in labels))
    top = sum(line.shape[0] for line in above) + gap
    total = top + height + 2 * gap + sum(line.shape[0] for line in below)
    panel = np.full((total, width, 3), 255, np.uint8)
    y = 0
    for line in above:
        panel[y : y + line.shape[0], : line.shape[1]] = line
        y += line.shape[0]
    shades = np.linspace(1, 0, height)
    colours = shown_colours(replace(drawing, alpha=blend), shades, ground, ground)
    panel[top : top + height, gap : gap + unit] = colours[:, None]
    for tick, label in zip(ticks, labels, strict=True):
        span = scale.vmax - scale.vmin
        at = top + round((1 - (tick - scale.vmin) / span if span else 0.5) * (height - 1))
        panel[at, gap + unit : gap + unit + 4] = INK
        y = max(0, at - label.shape[0] // 2)
        panel[y : y + label.shape[0], gap + unit + 2 : gap + unit + 2 + label.shape[1]] = np.minimum(
            panel[y : y + label.shape[0], gap + unit + 2 : gap + unit + 2 + label.shape[1]],
            label[: panel.shape[0] - y, : width - gap - unit - 2],
        )
    y = top + height + 2 * gap
    for line in below:
        panel[y : y + line.shape[0], : line.shape[1]] = line
        y += line.shape[0]
    return panel
