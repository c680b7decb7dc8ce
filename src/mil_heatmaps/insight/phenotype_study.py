"""Phenotypes over a cohort: the choice of patches, what the clusters share, the sheet of the most typical patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.insight.tables import rows_of
from mil_heatmaps.scores.mass import top_count
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_parts import GREY, INK, SMALL, TEXT, TITLE, bare, short
from mil_heatmaps.visualization.palette import CATEGORICAL_CMAP, colour_table
from mil_heatmaps.visualization.picture_files import save_picture
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    import pandas as pd

_A_SLIDE = 2
"""Pictures per slide and cluster in the sheet, so that it shows the cohort."""


@dataclass(frozen=True)
class Taken:
    """Patches of one slide to cluster: their rows, which of them are high, and the ranks of all patches, 0 to 1."""

    rows: npt.NDArray[np.intp]
    high: npt.NDArray[np.bool_]
    ranks: npt.NDArray[np.float64]


def take_patches(scores: npt.ArrayLike, top: float, most: int, *, contrast: bool, seed: int) -> Taken:
    """Return the high patches of a slide, at most `most` drawn at random, and with `contrast` as many low ones."""
    values = np.asarray(scores, np.float64)
    ranks = rank_percentiles(values) / 100
    scored = np.flatnonzero(np.isfinite(values))
    order = scored[np.argsort(-values[scored], kind="stable")]
    count = top_count(len(order), top)
    rng = np.random.default_rng(seed)

    def some(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        return np.sort(rows if len(rows) <= most else rng.choice(rows, most, replace=False))

    high = some(order[:count])
    low = some(order[max(count, len(order) - count) :]) if contrast else np.empty(0, np.intp)
    return Taken(np.concatenate([high, low]), np.repeat([True, False], [len(high), len(low)]), ranks)


def phenotype_table(patches: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return one row per cluster: its high and low patches, mean rank, slides, its share by label and by outcome.

    ``share_label_<x>`` is the share of the high patches of slides labelled x that lie in the cluster; ``share_right``
    and ``share_wrong`` are the same for slides predicted right and wrong.

    Parameters
    ----------
    patches : table with ``slide_id``, ``label``, ``predicted``, ``right``, ``cluster``, ``high``, ``rank``
    """
    import pandas as pd

    high = patches[patches["high"]]
    low = patches[~patches["high"]]
    table = pd.DataFrame({"cluster": range(k)}).set_index("cluster")

    def share(part: pd.DataFrame) -> pd.Series:
        return part["cluster"].value_counts().reindex(range(k), fill_value=0) / max(len(part), 1)

    table["patches_high"] = high["cluster"].value_counts().reindex(range(k), fill_value=0)
    table["patches_low"] = low["cluster"].value_counts().reindex(range(k), fill_value=0)
    table["slides"] = patches.groupby("cluster")["slide_id"].nunique().reindex(range(k), fill_value=0)
    table["mean_rank"] = patches.groupby("cluster")["rank"].mean().reindex(range(k))
    table["share_high"], table["share_low"] = share(high), share(low)
    for column in ("label", "predicted"):
        for name, part in high.groupby(column, sort=True):
            if str(name):
                table[f"share_{column}_{name}"] = share(part)
    for word, flag in (("right", True), ("wrong", False)):
        part = high[high["right"].isin([flag])]
        if len(part):
            table[f"share_{word}"] = share(part)
    return table.reset_index()


def nearest_patches(patches: pd.DataFrame, k: int, count: int) -> dict[int, pd.DataFrame]:
    """Return, for each cluster, the patches nearest its centre, at most two per slide."""
    found = {}
    for number in range(k):
        own = patches[patches["cluster"] == number].sort_values("distance", kind="stable")
        found[number] = own[own.groupby("slide_id").cumcount() < _A_SLIDE].head(count)
    return found


def write_phenotype_sheet(
    path: Path,
    table: pd.DataFrame,
    nearest: Mapping[int, pd.DataFrame],
    picture: Callable[[Mapping[str, Any]], npt.NDArray[np.uint8] | None],
    words: str,
) -> None:
    """Write one line per cluster: its numbers, and pictures of the patches nearest its centre.

    `picture` cuts a patch from its slide; it returns None where it cannot.
    """
    across = max((len(part) for part in nearest.values()), default=1)
    tile, left, line = 1.0, 4.3, 1.3
    page = Page(max(left + across * (tile + 0.08) + 0.4, 8.5), 1.2 + line * len(table) + 0.35)
    page.write(0.35, 0.38, "Phenotypes", fontsize=TITLE, weight="bold", color=INK, va="center")
    page.write(0.35, 0.7, words, fontsize=TEXT, color=GREY, va="center")
    colours = colour_table(CATEGORICAL_CMAP)
    missing = 0
    for nth, row in enumerate(rows_of(table)):
        top, number = 1.1 + nth * line, int(row["cluster"])
        swatch = page.axes(0.35, top, 0.22, tile)
        swatch.imshow(colours[None, None, number % len(colours)], aspect="auto")
        bare(swatch)
        page.write(0.7, top + 0.14, f"cluster {number}", fontsize=TEXT + 1, weight="bold", color=INK, va="center")
        for at, text in enumerate(_numbers(row)):
            page.write(0.7, top + 0.38 + 0.19 * at, short(text, 52), fontsize=SMALL, color=GREY, va="center")
        for place, patch in enumerate(rows_of(nearest[number])):
            axes = page.axes(left + place * (tile + 0.08), top, tile, tile)
            pixels = picture(patch)
            missing += pixels is None
            if pixels is not None:
                axes.imshow(pixels, aspect="auto", interpolation="antialiased")
            bare(axes)
            axes.text(0, -0.05, short(str(patch["slide_id"]), 15), transform=axes.transAxes, fontsize=SMALL - 1.5,
                      color=GREY, va="top")  # fmt: skip
    if missing:
        said = f"{missing} patches could not be cut: their slides are not there"
        page.write(0.35, page.height - 0.18, said, fontsize=SMALL, color=GREY, va="center")
    save_picture(path, page.rendered())


def _numbers(row: Mapping[str, Any]) -> list[str]:
    shares = f"{row['share_high']:.0%} of high, {row['share_low']:.0%} of low patches"
    lines = [f"{shares}; mean rank {row['mean_rank']:.2f}"]
    for what, words in (("label", "by label"), ("predicted", "by prediction")):
        parts = {key.removeprefix(f"share_{what}_"): v for key, v in row.items() if key.startswith(f"share_{what}_")}
        if parts:
            lines.append(f"{words}: " + ", ".join(f"{name} {value:.0%}" for name, value in parts.items()))
    return [*lines, counted(int(row["slides"]), "slide")]
