"""The panels of the figure for people: pictures, colour bar, histogram, patches.

Every function draws into the axes it is given, and does not know where they are on the page.
"""

import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import Colour, shown_colours
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.words import grouped, tick_words

INK, GREY, LINE, PALE = "#1b1f24", "#69707a", "#c9ced4", "#eef0f2"
GOOD, BAD = "#1a7f37", "#b3261e"
_SHADES = 512
TITLE, TEXT, SMALL = FigureStyle().title, FigureStyle().text, FigureStyle().small
"""Default font sizes, in points."""


def bare(axes: Any) -> None:
    """Remove the ticks of the axes and make their border pale."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(LINE)
        spine.set_linewidth(0.8)


def show_picture(axes: Any, picture: UInt8Array) -> None:
    """Show a picture that fills the axes, pixel by pixel."""
    axes.imshow(picture, interpolation="none", aspect="auto")
    bare(axes)


def scale_bar_um(width_um: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) of at most a fifth of the width."""
    target = width_um / 5
    power = 10.0 ** math.floor(math.log10(target))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= target)


def length_words(length_um: float) -> str:
    """Return a length in the unit that suits it: ``200 µm``, ``2 mm``."""
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"


def draw_outlines(axes: Any, region: TissueMask, frame: Frame, names: Sequence[str], style: FigureStyle) -> None:
    """Draw a region's outlines and holes over the picture of a frame, dark with a pale edge, with their names."""
    from matplotlib.patheffects import withStroke

    size_l0 = [side * factor for side, factor in zip(frame.size_px, frame.downsample, strict=True)]
    rings = [*region.contours_l0, *(hole for holes in region.holes_l0 for hole in holes)]
    for nth, ring in enumerate(rings):
        x, y = ((np.vstack([ring[:, 0], ring[:1, 0]]) - frame.corner_l0) / size_l0).T
        (line,) = axes.plot(x, 1 - y, transform=axes.transAxes, color=INK, linewidth=1.2, zorder=3)
        line.set_path_effects([withStroke(linewidth=2.8, foreground="white", alpha=0.85)])
        if nth < len(names) and names[nth]:
            top = int(np.argmin(y))
            axes.text(
                float(np.clip(x[top], 0.01, 0.99)), float(np.clip(1 - y[top], 0.05, 0.98)), names[nth], va="top",
                ha="left" if x[top] < 0.5 else "right", transform=axes.transAxes, clip_on=True,
                fontsize=style.small, color=INK, zorder=4, parse_math=False,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0},
            )  # fmt: skip


def draw_box(axes: Any, frame: Frame, whole: Frame) -> None:
    """Draw a box where the picture of `frame` lies on the picture of the whole slide."""
    from matplotlib.patches import Rectangle

    size_l0 = [side * factor for side, factor in zip(whole.size_px, whole.downsample, strict=True)]
    x, y = (at / size for at, size in zip(frame.corner_l0, size_l0, strict=True))
    width, height = (
        side * factor / size for side, factor, size in zip(frame.size_px, frame.downsample, size_l0, strict=True)
    )
    for colour, line in (("white", 2.6), (INK, 1.2)):
        axes.add_patch(
            Rectangle((x, 1 - y - height), width, height, transform=axes.transAxes, fill=False, edgecolor=colour,
                      linewidth=line, zorder=3)
        )  # fmt: skip


def bar_ticks(drawing: Drawing) -> list[float]:
    """Return five even ticks, with the ends and the centre of a diverging scale among them; one for a single value."""
    scale = drawing.scale
    if scale.vmin == scale.vmax:
        return [scale.vmin]
    if scale.unit == "category":  # one number per colour on the map
        shades = drawing.shades[np.isfinite(drawing.shades)]
        last = round(scale.vmin + float(shades.max(initial=0.0)) * (scale.vmax - scale.vmin))
        return [float(number) for number in range(last + 1)]
    ticks = [float(tick) for tick in np.linspace(scale.vmin, scale.vmax, 5)]
    if scale.center is not None and ticks[1] < scale.center < ticks[3]:
        ticks[2] = scale.center
    return ticks


def draw_colour_bar(
    axes: Any, drawing: Drawing, style: FigureStyle, ground: Colour, plain: Colour, *, across: bool = False
) -> None:
    """Draw the colours as the map shows them over its ground, with ticks in the scale's unit.

    A line marks the threshold. The bar is upright unless `across` is set.
    """
    scale = drawing.scale
    colours = shown_colours(drawing, (np.arange(_SHADES) + 0.5) / _SHADES, ground, plain)
    low, high = (scale.vmin, scale.vmax) if scale.vmin < scale.vmax else (scale.vmin - 0.5, scale.vmax + 0.5)
    axes.imshow(
        colours[None] if across else colours[:, None], origin="lower", aspect="auto", interpolation="none",
        extent=(low, high, 0, 1) if across else (0, 1, low, high),
    )  # fmt: skip
    bare(axes)
    ticks = bar_ticks(drawing)
    words = tick_words(ticks)
    if across:
        axes.set_xticks(ticks, words.labels, fontsize=style.small, color=INK)
        ends = axes.get_xticklabels()
        if len(ends) > 1:
            ends[0].set_ha("left")
            ends[-1].set_ha("right")
    else:
        axes.yaxis.tick_right()
        axes.set_yticks(ticks, words.labels, fontsize=style.small, color=INK)
    axes.tick_params(axis="x" if across else "y", length=3, width=0.8, color=GREY)
    cut = drawing.cut
    if cut is not None and 0 < cut <= 1:
        mark = axes.axvline if across else axes.axhline
        mark(low + cut * (high - low), color=INK, linewidth=1.2)


def draw_histogram(
    axes: Any, scores: npt.NDArray[Any], drawing: Drawing, style: FigureStyle, ground: Colour, plain: Colour
) -> str:
    """Draw the histogram of the scores, each bar in the mean colour of its patches; return the note for all ticks."""
    from matplotlib.ticker import MaxNLocator

    finite = np.isfinite(scores) & np.isfinite(drawing.shades)
    scores = scores[finite].astype(np.float64)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(labelsize=style.small, colors=GREY, length=3, width=0.8)
    patches = f"{grouped(len(scores))} {'patch' if len(scores) == 1 else 'patches'}"
    axes.set_title(patches, loc="left", fontsize=style.text, color=GREY, pad=6 * style.unit)
    if not len(scores):
        bare(axes)
        return ""
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = min(40, max(8, int(np.sqrt(len(scores)) * 1.5)))
    counts, edges = np.histogram(scores, bins=bins, range=(low, high))
    which = np.clip(np.digitize(scores, edges) - 1, 0, bins - 1)
    sums = np.bincount(which, weights=drawing.shades[finite].astype(np.float64), minlength=bins)
    means = np.divide(sums, counts, out=np.zeros(bins), where=counts > 0)
    colours = shown_colours(drawing, means, ground, plain) / 255
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours, edgecolor=GREY, linewidth=0.4)
    axes.set_xlim(low, high)
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    words = tick_words(ticks)
    axes.set_xticks(ticks, words.labels)
    most = int(counts.max())
    heights = [int(tick) for tick in MaxNLocator(4, integer=True).tick_values(0, most) if 0 <= tick <= most]
    axes.set_yticks(heights, [grouped(height) for height in heights])
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    return words.note


def short(text: str, most: int) -> str:
    """Return the text shortened in the middle to at most `most` characters."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def wrapped(text: str, most: int) -> list[str]:
    """Return the text in lines of at most `most` characters; a number stays with its sign."""
    together = re.sub(r"(?<=[<>]) (?=\d)| (?=%)", "\N{NO-BREAK SPACE}", text)
    return textwrap.wrap(together, most, break_on_hyphens=False)


def join(parts: Sequence[str]) -> str:
    """Return the parts that are not empty, with dots between them."""
    return "  ·  ".join(part for part in parts if part)
