"""Deletion and insertion curves of a map, with the band that orders without knowledge give.

Both are drawn over the share of patches that are the map's highest: deletion is what the model says without them,
insertion what it says of them alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mil_heatmaps.explain.sentences import quantity
from mil_heatmaps.visualization.figure_parts import GREY, INK, PALE, SMALL, TEXT, bare

DELETION, INSERTION, BAND = "#b3261e", "#1a5fb4", "#b8bec6"


def curve_names(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key of the numbers that people read, and what they are of: ``probability``, ``p(tumour)``."""
    key = "probability" if "probability" in document["full"] else document["output"]
    what = quantity(document["target"]["name"], document["task"], document["output"])
    return key, what


def _entry(document: Mapping[str, Any], map_name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the map's name and what was measured of it; the drawn one's where there is none of the name."""
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
        One of ``document["maps"]``, else the drawn one is taken. A map that was not measured is told in words.
    title : str, optional
        The map's name and its verdict when left out.
    legend : bool
        Whether the lines are named; of several panels one does.
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
    for share, name in ((removed, "random"), (1 - removed, "")):
        label = "random, 95 %" if name else None
        axes.fill_between(100 * share, random["low"], random["high"], color=BAND, alpha=0.45, linewidth=0, label=label)
        axes.plot(100 * share, random["mean"], color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
    axes.plot(100 * removed, entry["morf"][key], color=DELETION, linewidth=1.6, label="without the top patches")
    axes.plot(100 * (1 - removed), entry["lerf"][key], color=INSERTION, linewidth=1.6, label="the top patches alone")
    _dress(axes, what, key == "probability")
    if legend:  # where no curve begins or ends: looking for the best place costs as much as the curves
        axes.legend(fontsize=SMALL - 1, frameon=True, framealpha=0.85, edgecolor="none", loc="center", handlelength=1.4,
                    bbox_to_anchor=(0.5, _emptiest(axes)))  # fmt: skip


def _emptiest(axes: Any) -> float:
    """Return the height of the axes, as a share, where fewest points of the curves lie: the legend's place."""
    low, high = axes.get_ylim()
    heights = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()])
    places = np.array([0.25, 0.5, 0.75])  # so high that its three lines stay within the axes
    return float(places[np.bincount(np.abs((heights - low) / (high - low) - places[:, None]).argmin(axis=0),
                                    minlength=3).argmin()])  # fmt: skip


def _dress(axes: Any, what: str, chance: bool) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(labelsize=SMALL, colors=GREY, length=3, width=0.8)
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    if chance:
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("top patches, %", fontsize=SMALL, color=INK)
    axes.set_ylabel(what, fontsize=SMALL, color=INK)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
