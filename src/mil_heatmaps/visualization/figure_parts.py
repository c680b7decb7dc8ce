"""The panels of the figure for people: pictures with a scale bar, colour bar, histogram, rows of patches.

Every function draws into the axes it is given; nothing here knows where on the page they are.
"""

import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.palette import colour_index
from mil_heatmaps.visualization.sampling import SampledPatch
from mil_heatmaps.words import grouped, number_words, printable

INK, GREY, LINE, PALE = "#1b1f24", "#69707a", "#c9ced4", "#eef0f2"
_UNTINTED = (226, 229, 232)
GOOD, BAD = "#1a7f37", "#b3261e"
TITLE, TEXT, SMALL = 15.0, 9.5, 8.0
_MEANING_CHARACTERS = 34
"""A line under the colour bar."""


ARTEFACT_COLOURS = {"fold": "#8c564b", "dark": "#4d4d4d", "pen": "#2ca02c", "edge": "#17a2b8", "blur": "#c78bd6"}


class Artefact(NamedTuple):
    """What of a slide is an artefact, 0 to 1: of its attention, of its highest patches, of its tissue."""

    name: str
    attention: float
    top: float
    tissue: float


def draw_artefacts(axes: Any, artefacts: Sequence[Artefact]) -> None:
    """Draw a swatch for each artefact, with its shares beside it, in one line."""
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    width, height = (float(v) for v in axes.figure.get_size_inches() * axes.get_position().size)
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    left = 0.0
    for name, attention, top, tissue in artefacts:
        axes.add_patch(Rectangle((left, 0.04), 0.13, 0.13, facecolor=ARTEFACT_COLOURS.get(name, GREY)))
        words = f"{name}: {tissue:.1%} of the tissue, {attention:.1%} of the attention, {top:.1%} of the top 5%"
        axes.text(left + 0.2, 0.1, words, fontsize=SMALL, color=INK, va="center")
        left += 0.35 + 0.067 * len(words)


def bare(axes: Any) -> None:
    """Take the ticks off the axes and make their border pale."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(LINE)
        spine.set_linewidth(0.8)


def show_picture(axes: Any, picture: UInt8Array, title: str) -> None:
    """Show a picture to its edges, its title above its left corner."""
    axes.imshow(picture, interpolation="antialiased", aspect="auto")
    axes.set_title(printable(title), loc="left", fontsize=TEXT, color=GREY, pad=6)
    bare(axes)


def scale_bar_um(width_um: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) of about a fifth of the width."""
    target = width_um / 5
    power = 10.0 ** math.floor(math.log10(target))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= target)


def draw_scale_bar(axes: Any, width_um: float) -> None:
    """Draw a scale bar into the lower left corner of a picture that is `width_um` wide."""
    from matplotlib.patches import FancyBboxPatch
    from matplotlib.transforms import ScaledTranslation

    length_um = scale_bar_um(width_um)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    figure = axes.figure
    corner = axes.transAxes + ScaledTranslation(0.16, 0.16, figure.dpi_scale_trans)
    share = length_um / width_um
    inch = axes.get_position().width * figure.get_figwidth() * share
    back = FancyBboxPatch(
        (0, -0.02), max(inch, 0.35), 0.27, boxstyle="round,pad=0.05,rounding_size=0.04",
        transform=figure.dpi_scale_trans + ScaledTranslation(0.16, 0.16, figure.dpi_scale_trans)
        + ScaledTranslation(
            axes.get_position().x0 * figure.get_figwidth(), axes.get_position().y0 * figure.get_figheight(),
            figure.dpi_scale_trans,
        ),
        facecolor="white", edgecolor="none", alpha=0.82, zorder=4,
    )  # fmt: skip
    axes.add_artist(back)
    axes.plot([0, share], [0.0, 0.0], transform=corner, color=INK, linewidth=2.6, solid_capstyle="butt", zorder=5)
    label = axes.transAxes + ScaledTranslation(0.16, 0.21, figure.dpi_scale_trans)
    axes.text(0, 0, text, transform=label, fontsize=SMALL, color=INK, va="bottom", zorder=5)


def draw_outlines(axes: Any, region: TissueMask, frame: Frame) -> None:
    """Draw the outlines of a region and of its holes over the picture of a frame, dark with a pale edge."""
    from matplotlib.patheffects import withStroke

    size_l0 = [side * factor for side, factor in zip(frame.size_px, frame.downsample, strict=True)]
    for ring in (*region.contours_l0, *(hole for holes in region.holes_l0 for hole in holes)):
        x, y = ((np.vstack([ring[:, 0], ring[:1, 0]]) - frame.corner_l0) / size_l0).T
        (line,) = axes.plot(x, 1 - y, transform=axes.transAxes, color=INK, linewidth=1.2, zorder=3)
        line.set_path_effects([withStroke(linewidth=2.8, foreground="white", alpha=0.85)])


def shown_colours(drawing: Drawing, shades: npt.NDArray[np.floating]) -> UInt8Array:
    """Return the colour in which the map shows each shade; near white where it shows none."""
    colours = drawing.colours[colour_index(shades, len(drawing.colours))]
    cut = drawing.cut
    if cut is not None:
        if drawing.binarize:
            colours[:] = drawing.colours[-1]
        colours[shades < cut] = _UNTINTED
    return colours


def draw_colour_bar(axes: Any, drawing: Drawing, title: str) -> None:
    """Draw the colours with what they mean: ticks in the scale's unit, title and normalisation beside them."""
    scale = drawing.scale
    if scale.unit == "category":
        draw_legend(axes, drawing, title)
        return
    steps = (np.arange(512) + 0.5) / 512
    axes.imshow(
        shown_colours(drawing, steps)[:, None], origin="lower", aspect="auto",
        extent=(0, 1, scale.vmin, scale.vmax), interpolation="nearest",
    )  # fmt: skip
    bare(axes)
    axes.yaxis.tick_right()
    ticks = _ticks(scale.vmin, scale.vmax, scale.center)
    names = [number_words(tick, 3) for tick in ticks]
    axes.set_yticks(ticks, names, fontsize=SMALL, color=INK)
    axes.tick_params(axis="y", length=3, width=0.8, color=GREY)
    cut = drawing.cut
    if cut is not None and 0 < cut <= 1:
        value = scale.vmin + cut * (scale.vmax - scale.vmin)
        axes.axhline(value, color=INK, linewidth=1.2)
        axes.text(-0.6, value, "tinted from here", fontsize=SMALL - 0.5, color=INK, ha="right", va="bottom",
                  rotation=90)  # fmt: skip
    beside = 2.6 + 0.5 * max(map(len, names))
    axes.text(beside, 0.5, printable(title), transform=axes.transAxes, rotation=90, fontsize=TEXT, color=INK,
              weight="bold", ha="center", va="center")  # fmt: skip
    axes.text(beside + 1.2, 0.5, scale.label, transform=axes.transAxes, rotation=90, fontsize=SMALL,
              color=GREY, ha="center", va="center")  # fmt: skip
    if scale.meaning:
        clauses = re.split(r"(?<=[,;]) ", scale.meaning)
        lines = [line for clause in clauses for line in textwrap.wrap(clause, _MEANING_CHARACTERS)]
        meaning = "\n".join(lines)
        axes.annotate(meaning, (0, 0), (0, -6), "axes fraction", "offset points", fontsize=SMALL - 0.5, color=INK,
                      va="top")  # fmt: skip


def draw_legend(axes: Any, drawing: Drawing, title: str) -> None:
    """Draw the categories of a map whose numbers are names: a square and a number each, from the top."""
    scale, finite = drawing.scale, drawing.shades[np.isfinite(drawing.shades)]
    last = int(scale.vmin + float(finite.max()) * (scale.vmax - scale.vmin) + 0.5) if len(finite) else 0
    numbers = np.arange(last + 1)
    shades = (numbers - scale.vmin) / (scale.vmax - scale.vmin)
    axes.imshow(shown_colours(drawing, shades)[:, None], aspect="auto", interpolation="nearest")
    bare(axes)
    axes.yaxis.tick_right()
    axes.set_yticks(numbers, list(map(str, numbers)), fontsize=SMALL, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.text(2.6, 0.5, title, transform=axes.transAxes, rotation=90, fontsize=TEXT, color=INK, weight="bold",
              ha="center", va="center")  # fmt: skip
    axes.text(3.8, 0.5, scale.label, transform=axes.transAxes, rotation=90, fontsize=SMALL, color=GREY,
              ha="center", va="center")  # fmt: skip


def _ticks(low: float, high: float, center: float | None) -> list[float]:
    """Return five even ticks, the ends (and so the centre of a diverging scale) among them."""
    ticks = [float(tick) for tick in np.linspace(low, high, 5)]
    if center is not None:
        ticks[2] = center
    return ticks


def draw_histogram(axes: Any, scores: npt.NDArray[Any], drawing: Drawing, score_name: str) -> None:
    """Draw how the scores are spread, each bar in the mean colour of its patches."""
    finite = np.isfinite(scores) & np.isfinite(drawing.shades)
    scores = scores[finite].astype(np.float64)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(labelsize=SMALL, colors=GREY, length=3, width=0.8)
    axes.set_xlabel(score_name, fontsize=TEXT, color=INK)
    axes.set_title(f"{grouped(len(scores))} patches", loc="left", fontsize=TEXT, color=GREY, pad=6)
    if not len(scores):
        bare(axes)
        return
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = min(40, max(8, int(np.sqrt(len(scores)) * 1.5)))
    counts, edges = np.histogram(scores, bins=bins, range=(low, high))
    which = np.clip(np.digitize(scores, edges) - 1, 0, bins - 1)
    sums = np.bincount(which, weights=drawing.shades[finite].astype(np.float64), minlength=bins)
    means = np.divide(sums, counts, out=np.zeros(bins), where=counts > 0)
    colours = shown_colours(drawing, means) / 255
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours, edgecolor="white", linewidth=0.4)
    axes.set_xlim(low, high)
    axes.locator_params(axis="y", nbins=4, integer=True)
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def draw_patch(axes: Any, patch: SampledPatch) -> None:
    """Show a patch with its rank and percentile below."""
    axes.imshow(patch.image, interpolation="antialiased", aspect="auto")
    bare(axes)
    axes.text(0, -0.05, f"#{patch.rank}", transform=axes.transAxes, fontsize=TEXT, weight="bold", color=INK, va="top")
    axes.text(1, -0.055, f"{patch.percentile:.1f} %ile", transform=axes.transAxes, fontsize=SMALL, color=INK,
              ha="right", va="top")  # fmt: skip
    axes.text(0, -0.22, number_words(patch.score), transform=axes.transAxes,
              fontsize=SMALL, color=GREY, va="top")  # fmt: skip


def short(text: str, most: int) -> str:
    """Return the text cut in the middle to at most `most` characters."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def wrapped(text: str, most: int) -> list[str]:
    """Return the text in lines of at most `most` characters; a number stays with its sign."""
    together = re.sub(r"(?<=[<>]) (?=\d)| (?=%)", "\N{NO-BREAK SPACE}", text)
    return textwrap.wrap(together, most, break_on_hyphens=False)


def join(parts: Sequence[str]) -> str:
    """Return the parts that say something, with dots between them."""
    return "  ·  ".join(part for part in parts if part)
