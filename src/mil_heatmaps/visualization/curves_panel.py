"""Deletion and insertion curves of a map, with the band of random orders.

Both are drawn over the share of patches taken from the top of the map. Deletion is the model's output without these
patches, insertion its output for these patches alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.explain.sentences import quantity
from mil_heatmaps.visualization.figure_parts import GREY, INK, PALE, SMALL, TEXT, bare
from mil_heatmaps.words import tick_words

DELETION, INSERTION, BAND = "#b3261e", "#1a5fb4", "#b8bec6"

_NAMES = (("without the top patches", DELETION), ("the top patches alone", INSERTION), ("random, 95 %", GREY))


def curve_names(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key of the numbers that people read, and their name: ``probability``, ``p(tumour)``."""
    key = "probability" if "probability" in document["full"] else document["output"]
    of = document["target"]["name"], document["task"], document["output"]
    what = quantity(*of, chances=key == "probability")
    return key, what


def _entry(document: Mapping[str, Any], map_name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the map's name and its measurement; those of the drawn map if no map has that name."""
    maps = document["maps"]
    if map_name not in maps:
        map_name = next((name for name, entry in maps.items() if entry.get("drawn")), map_name)
    return map_name, maps.get(map_name, {"status": "not measured", "foot": "This map was not measured."})


def curves_title(document: Mapping[str, Any], map_name: str) -> str:
    """Return the map's name and its verdict."""
    name, entry = _entry(document, map_name)
    return f"{name}: {entry.get('verdict', entry['status'])}"


def draw_curves(
    axes: Any, document: Mapping[str, Any], map_name: str, *, title: str | None = None, legend: bool = True
) -> None:
    """Draw the curves of one map into given axes.

    Parameters
    ----------
    axes : matplotlib axes
    document : mapping
        ``<slide>_faithfulness.json``, read.
    map_name : str
        One of ``document["maps"]``; for any other name, the drawn map is taken. A map that was not measured gets a
        sentence in place of curves.
    title : str, optional
        Default: the map's name and its verdict.
    legend : bool
        Whether the lines are named; one of several panels is enough.
    """
    _, entry = _entry(document, map_name)
    heading = curves_title(document, map_name) if title is None else title
    axes.set_title(heading, loc="left", fontsize=TEXT, color=INK, pad=6)
    if entry["status"] != "measured":
        bare(axes)
        axes.text(0.5, 0.5, entry["foot"], transform=axes.transAxes, ha="center", va="center", fontsize=SMALL,
                  color=GREY, wrap=True)  # fmt: skip
        return
    key, what = curve_names(document)
    removed = np.array(entry.get("fractions", document["fractions"]), np.float64)
    random = entry.get("random", document["random"])[key]
    for share in (removed, 1 - removed):
        axes.fill_between(100 * share, random["low"], random["high"], color=BAND, alpha=0.45, linewidth=0)
        axes.plot(100 * share, random["mean"], color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
    axes.plot(100 * removed, entry["morf"][key], color=DELETION, linewidth=1.6)
    axes.plot(100 * (1 - removed), entry["lerf"][key], color=INSERTION, linewidth=1.6)
    _dress(axes, what, key == "probability")
    if legend:
        _name_curves(axes)


def _name_curves(axes: Any) -> None:
    """Write the names of the lines, in their colours, where the fewest points of the curves lie."""
    from matplotlib.patches import Rectangle

    middle = _emptiest(axes)
    axes.add_patch(Rectangle((0.24, middle - 0.13), 0.52, 0.26, transform=axes.transAxes, color="white", alpha=0.8,
                             linewidth=0, zorder=3))  # fmt: skip
    for nth, (words, colour) in enumerate(_NAMES):
        axes.text(0.5, middle + 0.085 * (1 - nth), words, transform=axes.transAxes, fontsize=SMALL - 1, color=colour,
                  ha="center", va="center")  # fmt: skip


def _emptiest(axes: Any) -> float:
    """Return the height for the legend, as a share of the axes: where the fewest points of the curves lie."""
    low, high = axes.get_ylim()
    heights = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()])
    places = np.array([0.25, 0.5, 0.75])  # the legend's three lines stay within the axes
    return float(places[np.bincount(np.abs((heights - low) / (high - low) - places[:, None]).argmin(axis=0),
                                    minlength=3).argmin()])  # fmt: skip


def _dress(axes: Any, what: str, chance: bool) -> None:
    """Draw the ticks and axis names as plain lines and text: matplotlib's take longer than all curves together."""
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import ScaledTranslation

    low, high = (-0.02, 1.02) if chance else axes.get_ylim()
    axes.set_xlim(0, 100)
    axes.set_ylim(low, high)
    axes.set_axis_off()
    ticks = [0, 0.5, 1] if chance else MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    up: npt.NDArray[np.float64] = np.asarray(ticks, np.float64)
    up = up[(up >= low) & (up <= high)]
    across, heights = np.array([0, 0.5, 1]), (up - low) / (high - low)
    grid = [[(x, 0), (x, 1)] for x in across] + [[(0, y), (1, y)] for y in heights]
    for lines, colour, layer in ((grid, PALE, 0.5), ([[(0, 1), (0, 0), (1, 0)]], GREY, 2.5)):
        drawn = LineCollection(lines, colors=colour, linewidths=0.8, zorder=layer, clip_on=False)
        drawn.set_transform(axes.transAxes)
        axes.add_collection(drawn, autolim=False)
    points = axes.figure.dpi_scale_trans

    def write(words: str, place: tuple[float, float], off: tuple[float, float], **style: Any) -> None:
        there = axes.transAxes + ScaledTranslation(off[0] / 72, off[1] / 72, points)
        axes.text(*place, words, transform=there, fontsize=SMALL, parse_math=False, **style)

    for x in across:
        write(f"{100 * x:.0f}", (x, 0), (0, -4), ha="center", va="top", color=GREY)
    for y, number in zip(heights, tick_words(up.tolist()).labels, strict=True):
        write(number, (0, y), (-4, 0), ha="right", va="center", color=GREY)
    write("top patches, %", (0.5, 0), (0, -15), ha="center", va="top", color=INK)
    write(what, (0, 0.5), (-26, 0), ha="right", va="center", rotation=90, color=INK)
