"""The picture of a cohort's faithfulness: SRG of every map with its interval, and how often a map beats chance."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mil_heatmaps.explain.faithfulness_cohort import FEWEST_SLIDES, MapSummary
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_parts import GREY, INK, LINE, PALE, SMALL, TEXT, TITLE, short
from mil_heatmaps.visualization.picture_files import save_picture
from mil_heatmaps.words import counted

_DRAWN, _OTHER, _POINT = "#1a5fb4", "#5e6672", "#aab1ba"
_MARGIN, _NAMES, _SRG, _SHARE, _GAP, _HEAD, _ROW, _FOOT = 0.35, 2.0, 4.2, 2.2, 0.5, 0.95, 0.42, 0.85
_MOST_POINTS = 2000
"""At most this many slides are shown as single points beside the mean."""


def write_cohort(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], summaries: Sequence[MapSummary]
) -> None:
    """Write the picture of `cohort_page`."""
    save_picture(path, cohort_page(rows, summaries).rendered())


def cohort_page(rows: Sequence[Mapping[str, Any]], summaries: Sequence[MapSummary]) -> Page:
    """Return the page as matplotlib objects.

    Parameters
    ----------
    rows : rows of the cohort's table
    summaries : one per map, the best first
    """
    high = max(len(summaries), 1) * _ROW
    page = Page(2 * _MARGIN + _NAMES + _SRG + _GAP + _SHARE, _HEAD + high + _FOOT)
    slides, noun = len({row["slide_id"] for row in rows}), summaries[0].noun if summaries else "slide"
    title = f"Faithfulness of {counted(len(summaries), 'map')} on {counted(slides, noun)}"
    page.write(_MARGIN, 0.32, title, fontsize=TITLE - 1, weight="bold", color=INK, va="center")
    outputs = _words_of(rows, noun)
    page.write(_MARGIN, 0.62, outputs, fontsize=SMALL, color=GREY, va="center")
    left = page.axes(_MARGIN + _NAMES, _HEAD, _SRG, high)
    right = page.axes(_MARGIN + _NAMES + _SRG + _GAP, _HEAD, _SHARE, high)
    for place, one in enumerate(summaries):
        _draw_srg(left, place, one, [row["srg"] for row in rows if _measures(row, one.score)])
        _draw_share(right, place, one)
    names = [short(one.score, 26) + (" (drawn)" if one.drawn else "") for one in summaries]
    means = any(one.mean is not None for one in summaries)
    dots = "the dot is their mean, the bar its 95 % interval" if means else f"no mean of fewer than {FEWEST_SLIDES}"
    for axes, label in ((left, f"SRG: points are {noun}s, {dots}"), (right, f"{noun}s better than random, %")):
        axes.set_ylim(len(summaries) - 0.5, -0.5)
        axes.set_xlabel(label, fontsize=SMALL, color=INK)
        axes.tick_params(labelsize=SMALL, colors=GREY, length=3, width=0.8)
        axes.grid(axis="x", color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
    left.axvline(0, color=GREY, linewidth=0.9)
    left.set_yticks(range(len(names)), names, fontsize=TEXT - 0.5, color=INK)
    left.tick_params(axis="y", length=0)
    right.set_yticks([])
    right.set_xlim(0, 140)
    right.set_xticks([0, 50, 100])
    return page


def _measures(row: Mapping[str, Any], score: str) -> bool:
    return bool(row["score"] == score and row["status"] == "measured")


def _draw_srg(axes: Any, place: int, one: MapSummary, values: Sequence[float]) -> None:
    shown = np.asarray(values, np.float64)[:_MOST_POINTS]
    spread = 0.22 * np.cos(2.4 * np.arange(len(shown)))  # keeps the points apart, the same way every time
    axes.plot(shown, place + spread, ".", color=_POINT, markersize=4, zorder=2)
    colour = _DRAWN if one.drawn else _OTHER
    if one.mean is not None and one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=3, solid_capstyle="butt", zorder=3)
        axes.plot([one.mean], [place], "o", color=colour, markersize=7, markeredgecolor="white", zorder=4)


def _draw_share(axes: Any, place: int, one: MapSummary) -> None:
    if not one.measured:
        axes.text(2, place, "not measured", fontsize=SMALL, color=GREY, va="center")
        return
    share = 100 * one.better / one.measured
    axes.barh(place, share, height=0.5, color=_DRAWN if one.drawn else _OTHER)
    axes.text(share + 2, place, f"{one.better} of {one.measured}", fontsize=SMALL, color=INK, va="center")


def _words_of(rows: Sequence[Mapping[str, Any]], noun: str) -> str:
    """Return how SRG was measured; without steps and orders if they differ between rows."""
    told = [row for row in rows if row["status"] == "measured"]
    steps, orders = ({row[key] for row in told} for key in ("steps", "random_orders"))
    if len(steps) == len(orders) == 1:
        how = f"{steps.pop()} steps, {orders.pop()} random orders a {noun}"
        return f"symmetric relevance gain (SRG), {how}; 0 is chance"
    return "symmetric relevance gain (SRG); 0 is chance"
