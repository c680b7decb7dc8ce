"""A sheet of numbers per slide: one panel per measure, one line per group, one dot per slide, mean with interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mil_heatmaps.insight.statistics import Estimate
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_parts import GREY, INK, LINE, PALE, SMALL, TEXT, TITLE, short
from mil_heatmaps.visualization.picture_files import save_picture

_ACROSS, _PANEL, _GAP, _LINE = 3, 2.7, 0.4, 0.42
_DOT, _MEAN = "#8aa4c8", "#1f4e9c"


@dataclass(frozen=True)
class DotPanel:
    """One measure.

    Attributes
    ----------
    title : str
    groups : name -> (values of the slides, their mean)
    reference : float or None
        Position of a reference line, such as 0.5 for an AUROC.
    limits : (low, high) or None
        Range of the axis; by default, that of the values.
    counts : bool
        Whether the values are whole numbers.
    """

    title: str
    groups: Mapping[str, tuple[npt.NDArray[np.float64], Estimate]]
    reference: float | None = None
    limits: tuple[float, float] | None = None
    counts: bool = False


def write_dot_sheet(
    path: Path, title: str, subtitle: str, panels: Sequence[DotPanel], foot: Sequence[str] = ()
) -> None:
    """Write the panels, three in a row, as a picture."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.groups))
    left = 0.5 + 0.08 * max((len(short(name, 26)) for name in names), default=4)
    high = max(0.9, _LINE * len(names) + 0.3)
    across, rows = min(_ACROSS, len(panels)), math.ceil(len(panels) / _ACROSS)
    width = max(left + across * (_PANEL + _GAP) + 0.2, 6.5)
    page = Page(width, 1.35 + rows * (high + 1.0) + 0.2 * len(foot) + 0.1)
    page.write(0.3, 0.36, title, fontsize=TITLE, weight="bold", color=INK, va="center")
    page.write(0.3, 0.68, subtitle, fontsize=TEXT, color=GREY, va="center")
    rng = np.random.default_rng(0)
    for nth, panel in enumerate(panels):
        row, column = divmod(nth, _ACROSS)
        axes = page.axes(left + column * (_PANEL + _GAP), 1.35 + row * (high + 1.0), _PANEL, high)
        axes.set_title(panel.title, loc="left", fontsize=TEXT, color=INK, pad=6)
        if panel.reference is not None:
            axes.axvline(panel.reference, color=LINE, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        for place, name in enumerate(names):
            values, mean = panel.groups.get(name, (np.empty(0), None))
            finite = values[np.isfinite(values)]
            spread = rng.uniform(-0.16, 0.16, len(finite))
            axes.scatter(finite, place + spread, s=14, color=_DOT, alpha=0.75, linewidths=0, zorder=2)
            if mean is not None and math.isfinite(mean.value):
                if math.isfinite(mean.low):
                    axes.plot([mean.low, mean.high], [place, place], color=_MEAN, linewidth=2.2, zorder=3)
                axes.scatter([mean.value], [place], s=38, marker="D", color=_MEAN, zorder=4)
        if panel.limits is not None:
            room = 0.04 * (panel.limits[1] - panel.limits[0])
            axes.set_xlim(panel.limits[0] - room, panel.limits[1] + room)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), [short(n, 26) for n in names] if column == 0 else [], fontsize=SMALL)
        axes.tick_params(labelsize=SMALL, colors=GREY, length=3, width=0.8)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.locator_params(axis="x", nbins=5, integer=panel.counts)
        axes.grid(axis="x", color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
    for nth, line in enumerate(foot):
        page.write(0.3, page.height - 0.2 * (len(foot) - nth), line, fontsize=SMALL, color=GREY, va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(path, page.rendered())
