"""The parts of a figure with their words: colour bar, histogram, rows of patches, curves.

Each part says how much room it needs, and draws itself at its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.colour_profile import srgb_converter
from mil_heatmaps.visualization import figure_parts as parts
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import Panels
from mil_heatmaps.visualization.figure_layout import MARGIN, PATCHES, TILE, TILE_GAP, Piece
from mil_heatmaps.visualization.figure_page import Page, text_width, wrapped
from mil_heatmaps.visualization.figure_parts import GREY, INK
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.figure_words import FigureText, among
from mil_heatmaps.visualization.frame import choose_frame
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.sampling import Choice, Mode, SampledPatch, sample_patches
from mil_heatmaps.words import grouped, number_words, numbers_apart, tick_words

LOCATOR = (1.3, 0.95)
"""Greatest width and height of the small picture of the whole slide, beside a region."""
_BAR_WIDE = 0.17
_MOST_LINES = 4
_SHOWN: tuple[tuple[Mode, str], ...] = (("topk", "highest"), ("reverse_topk", "lowest"))


class Planned(Protocol):
    """What the parts need from a figure's plan."""

    @property
    def drawing(self) -> Drawing: ...
    @property
    def text(self) -> FigureText: ...
    @property
    def style(self) -> FigureStyle: ...
    @property
    def u(self) -> float: ...
    @property
    def panels(self) -> Panels: ...


@dataclass(frozen=True)
class BarPlan:
    """What a colour bar needs from a plan, for pages other than the figure of one slide."""

    drawing: Drawing
    text: FigureText
    style: FigureStyle
    u: float
    panels: Panels


@dataclass(frozen=True)
class BarWords:
    """The lines of words at a colour bar, the width of its numbers, and the room that bar and words need, in inches."""

    title: list[str]
    label: list[str]
    meaning: list[str]
    note: str
    numbers: float
    room: float


def bar_words(plan: Planned, length: float, *, upright: bool) -> BarWords:
    """Return the words at a bar of some length; `room` is the width of an upright bar or the height of a lying one."""
    style, u, drawing = plan.style, plan.u, plan.drawing
    told = tick_words(parts.bar_ticks(drawing))
    title = wrapped(plan.text.score_title, style.text, length, bold=True)[:_MOST_LINES]
    label = wrapped(drawing.scale.label, style.small, length)[:_MOST_LINES]
    numbers = max(text_width(number, style.small) for number in told.labels)
    if upright:
        room = (0.2 + _BAR_WIDE + 0.14 + 0.2 * len(title) + 0.1) * u + style.step * len(label) + numbers
    else:
        room = (0.2 * len(title) + _BAR_WIDE + 0.06) * u + style.under_ticks + style.step * len(label)
    meaning = wrapped(drawing.scale.meaning, style.small, max(room, 1.5 * u) - 0.1 * u if upright else length)
    if not upright:
        room += style.step * len(meaning)
    return BarWords(title, label, meaning, told.note, numbers, room)


def draw_bar(page: Page, plan: Planned, place: tuple[float, float], length: float, *, upright: bool) -> None:
    """Draw the colour bar with its top-left corner at `place`; a lying bar has its title above."""
    style, u, panels = plan.style, plan.u, plan.panels
    said, (left, top) = bar_words(plan, length, upright=upright), place
    bold: dict[str, Any] = {"fontsize": style.text, "weight": "bold", "color": INK}
    pale: dict[str, Any] = {"fontsize": style.small, "color": GREY}
    if upright:
        axes = page.axes(left, top, _BAR_WIDE * u, length)
        parts.draw_colour_bar(axes, plan.drawing, style, panels.ground, panels.plain)
        if said.note:
            page.write(left, top - 0.13 * u, said.note, **{**pale, "color": INK}, va="center")
        at = left + (_BAR_WIDE + 0.14 + 0.12) * u + said.numbers
        for lines, step, how in ((said.title, 0.2 * u, bold), (said.label, style.step, pale)):
            for line in lines:
                page.write(at, top + length / 2, line, rotation=90, ha="center", va="center", **how)
                at += step
        below = top + length + 0.06 * u + 0.5 * style.step
        page.write_lines(left, below, said.meaning, style.step, **{**pale, "color": INK})
        return
    page.write_lines(left, top + 0.08 * u, said.title, 0.2 * u, **bold)
    top += 0.2 * u * len(said.title)
    axes = page.axes(left, top, length, _BAR_WIDE * u)
    parts.draw_colour_bar(axes, plan.drawing, style, panels.ground, panels.plain, across=True)
    if said.note:
        page.write(left + length + 0.08 * u, top + _BAR_WIDE / 2 * u, said.note, **{**pale, "color": INK}, va="center")
    below = top + _BAR_WIDE * u + style.under_ticks + 0.5 * style.step
    page.write_lines(left, below, said.label, style.step, **pale)
    below += style.step * len(said.label)
    page.write_lines(left, below, said.meaning, style.step, **{**pale, "color": INK})


def draw_scale_bar(page: Page, place: tuple[float, float], width: float, width_um: float) -> None:
    """Draw a scale bar below a picture that is `width` inches and `width_um` µm wide; there it hides no tissue."""
    (left, top), u = place, page.style.unit
    length_um = parts.scale_bar_um(width_um)
    page.box(left, top + 0.05 * u, length_um / width_um * width, 0.035 * u, facecolor=INK, edgecolor="none")
    page.write(left, top + 0.2 * u, parts.length_words(length_um), fontsize=page.style.small, color=INK, va="center")


def draw_locator(page: Page, drawing: Drawing) -> None:
    """Draw a small picture of the whole slide at the top right, with a box around the drawing's region."""
    u, slide = page.style.unit, drawing.slide
    width_l0, height_l0 = slide.dimensions_l0
    scale = min(LOCATOR[0] * u / width_l0, LOCATOR[1] * u / height_l0)
    size = width_l0 * scale, height_l0 * scale
    longest = max(16, round(max(size) * page.style.dpi))
    whole = choose_frame(slide, downsample=max(1.0, max(width_l0, height_l0) / longest))
    alone = replace(drawing, frame=whole, alpha=0.0, blank_canvas=False, tissue=None, smooth="none", blur_px=None)
    axes = page.axes(page.width - MARGIN * u - size[0], 0.2 * u, *size)
    parts.show_picture(axes, draw(alone))
    parts.draw_box(axes, drawing.frame, whole)


def histogram(plan: Planned, scores: npt.NDArray[Any]) -> Piece:
    """Return the histogram of the scores."""
    style, u = plan.style, plan.u
    title, axis = 0.28 * u, style.under_ticks

    def lines(width: float) -> list[str]:
        return wrapped(plan.text.score_title, style.text, width - 0.4 * u)[:3]

    def height(width: float) -> float:
        return title + 1.25 * u + axis + len(lines(width)) * 0.2 * u + 0.05 * u

    def draw(page: Page, left: float, top: float, width: float) -> None:
        axes = page.axes(left + 0.4 * u, top + title, width - 0.4 * u, 1.25 * u)
        note = parts.draw_histogram(axes, scores, plan.drawing, style, plan.panels.ground, plan.panels.plain)
        under = lines(width)
        if note:
            under[-1] += f" ({note})"
        middle = top + title + 1.25 * u + axis + 0.13 * u
        for nth, line in enumerate(under):
            page.write(left + 0.4 * u + (width - 0.4 * u) / 2, middle + nth * 0.2 * u, line, ha="center", va="center",
                       fontsize=style.text, color=INK)  # fmt: skip

    return Piece(height, draw)


def patch_rows(plan: Planned, scores: npt.NDArray[Any]) -> list[Piece]:
    """Return the rows of the highest and lowest patches; no patch is shown twice."""
    count = int(np.isfinite(scores).sum())
    if count == 0:
        return []
    if count <= PATCHES:
        return [_row(plan, scores, "topk", count, f"all {count} patches, highest first" if count > 1 else "the patch")]
    most, those = {"topk": PATCHES, "reverse_topk": min(PATCHES, count - PATCHES)}, among(plan.drawing, plan.text)
    return [_row(plan, scores, mode, most[mode], name + those) for mode, name in _SHOWN]


def _row(plan: Planned, scores: npt.NDArray[Any], mode: Mode, most: int, title: str) -> Piece:
    style, u = plan.style, plan.u
    head, line = 0.28 * u, style.step
    percentiles = plan.drawing.scale.unit == "percentile"

    def side(width: float) -> float:
        return min((width - (PATCHES - 1) * TILE_GAP * u) / PATCHES, 1.35 * TILE * u)

    def height(width: float) -> float:
        return head + side(width) + 0.2 * u + line * (2 if percentiles else 1)

    def draw(page: Page, left: float, top: float, width: float) -> None:
        tile = round(side(width) * style.dpi) / style.dpi
        patches = _sampled(plan, scores, mode, most, round(tile * style.dpi))
        page.write(left, top + head / 2, title, fontsize=style.text, color=GREY, va="center")
        values = numbers_apart([patch.score for patch in patches])
        count = grouped(int(np.isfinite(scores).sum()))
        for nth, (patch, value) in enumerate(zip(patches, values, strict=True)):
            x = left + nth * (tile + TILE_GAP * u)
            axes = page.axes(x, top + head, tile, tile)
            parts.show_picture(axes, patch.image)
            below = top + head + tile + 0.1 * u
            rank = f"#{patch.rank} of {count}"
            if text_width(rank, style.text, bold=True) > tile:
                rank = f"#{patch.rank}"
            page.write(x, below, rank, fontsize=style.text, weight="bold", color=INK, va="center")
            page.write(x, below + line, value, fontsize=style.small, color=INK, va="center")
            if percentiles:
                shade = float(plan.drawing.shades[patch.index])
                scale = plan.drawing.scale
                at = number_words(round(scale.vmin + shade * (scale.vmax - scale.vmin), 1), 4)
                words = f"percentile {at}" if text_width(f"percentile {at}", style.small) <= tile else f"at {at}"
                page.write(x, below + 2 * line, words, fontsize=style.small, color=GREY, va="center")

    return Piece(height, draw, block=True)


def _sampled(plan: Planned, scores: npt.NDArray[Any], mode: Mode, most: int, side_px: int) -> Sequence[SampledPatch]:
    """Return the patches with their pictures, resized to `side_px`, in sRGB if the drawing is."""
    import cv2

    drawing = plan.drawing
    slide, size_l0 = drawing.slide, drawing.grid.size_l0
    level = slide.level_for_downsample(max(1.0, max(size_l0) / side_px))
    factors = slide.level_downsamples[level]
    size = max(1, round(size_l0[0] / factors[0])), max(1, round(size_l0[1] / factors[1]))
    patches = sample_patches(scores, drawing.grid, slide, Choice(most, mode), size_px=size, level=level)
    converter = srgb_converter(slide.icc_profile) if drawing.color_profile == "convert" else None
    out = []
    for patch in patches:
        image = patch.image if converter is None else converter(patch.image)
        how = cv2.INTER_AREA if max(image.shape[:2]) >= side_px else cv2.INTER_CUBIC
        out.append(patch.with_image(np.asarray(cv2.resize(image, (side_px, side_px), interpolation=how), np.uint8)))
    return out


def curves(plan: Planned) -> Piece:
    """Return the curves of the slide's faithfulness file."""
    from mil_heatmaps.visualization.curves_panel import curves_title, draw_curves

    style, u, told = plan.style, plan.u, plan.text.curves
    assert told is not None  # called only if the text has curves
    title = f"how faithful the map is · {curves_title(told, plan.text.map_name)}"

    def head(width: float) -> float:
        return 0.1 * u + style.step * len(wrapped(title, style.text, width))

    def draw(page: Page, left: float, top: float, width: float) -> None:
        lines = wrapped(title, style.text, width)
        page.write_lines(left, top + 0.14 * u, lines, style.step, fontsize=style.text, color=GREY)
        axes = page.axes(left + 0.4 * u, top + head(width), width - 0.4 * u, 1.25 * u)
        draw_curves(axes, told, plan.text.map_name, title="")
        enlarge(axes, style)
        for words in axes.texts:
            if words.get_wrap():  # the sentence that says why there are no curves
                words.set_text("\n".join(wrapped(words.get_text(), style.small, width - 0.6 * u)))

    return Piece(lambda width: head(width) + 1.72 * u, draw)


def enlarge(axes: Any, style: FigureStyle) -> None:
    """Set all text of the axes to the size of small letters."""
    from matplotlib.text import Text

    for words in axes.findobj(Text):
        words.set_fontsize(style.small)
