"""How far models agree over a cohort: a table of pairs with intervals, and a clustered matrix as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.insight.statistics import mean_of, resampling_words
from mil_heatmaps.insight.tables import rows_of
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_parts import GREY, INK, SMALL, TEXT, TITLE, bare, short
from mil_heatmaps.visualization.picture_files import save_picture
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("spearman", "jaccard")


def cohort_table(agreement: pd.DataFrame, patients: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return one row per pair of models: the mean of each measure over the slides, with its interval.

    `agreement` is `consensus_files.agreement_table`.
    """
    import pandas as pd

    rows = []
    for (a, b), part in agreement.dropna(subset=["model_a"]).groupby(["model_a", "model_b"], sort=False):
        row: dict[str, Any] = {"model_a": a, "model_b": b, "slides": len(part)}
        for measure in MEASURES:
            row |= mean_of(part[measure].to_numpy(float), part["slide_id"].tolist(), patients).cells(measure)
        rows.append(row)
    return pd.DataFrame(rows)


def matrices(cohort: pd.DataFrame, names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the means of each measure as a symmetric matrix in the order of `names`, 1 on the diagonal."""
    found = {}
    place = {name: number for number, name in enumerate(names)}
    for measure in MEASURES:
        matrix = np.eye(len(names))
        for row in rows_of(cohort):
            a, b = place[row["model_a"]], place[row["model_b"]]
            matrix[a, b] = matrix[b, a] = row[measure]
        found[measure] = matrix
    return found


def cluster_order(spearman: npt.NDArray[np.float64]) -> list[int]:
    """Return the models in an order that puts similar ones side by side: average linkage of 1 - Spearman."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if len(spearman) < 3:
        return list(range(len(spearman)))
    distance = np.clip(1 - np.nan_to_num(spearman, nan=0.0), 0, 2)
    np.fill_diagonal(distance, 0)
    flat = squareform((distance + distance.T) / 2, checks=False)
    return [int(i) for i in leaves_list(optimal_leaf_ordering(linkage(flat, "average"), flat))]


def write_agreement_sheet(
    path: Path, cohort: pd.DataFrame, names: Sequence[str], *, slides: int, top: float,
    patients: Mapping[str, str] | None,
) -> None:  # fmt: skip
    """Write the clustered matrices of both measures as one picture."""
    found = matrices(cohort, names)
    order = cluster_order(found["spearman"])
    ordered = [names[i] for i in order]
    side = max(2.6, 0.62 * len(names))
    longest = max(len(short(name, 24)) for name in names)
    left, below, gap = 0.5 + 0.085 * longest, 0.35 + 0.075 * longest, 1.5
    page = Page(left + 2 * side + gap + 0.9, 1.15 + side + below + 0.4)
    page.write(0.3, 0.36, "Agreement of models", fontsize=TITLE, weight="bold", color=INK, va="center")
    words = f"mean over {counted(slides, 'slide')}; models that agree stand side by side (average linkage)"
    page.write(0.3, 0.68, words, fontsize=TEXT, color=GREY, va="center")
    titles = {
        "spearman": ("rank correlation (Spearman)", "coolwarm", -1.0, 1.0),
        "jaccard": (f"overlap of the top {top:.0%} (Jaccard)", "viridis", 0.0, 1.0),
    }
    for nth, (measure, (title, cmap, low, high)) in enumerate(titles.items()):
        axes = page.axes(left + nth * (side + gap), 1.15, side, side)
        matrix = found[measure][np.ix_(order, order)]
        image = axes.imshow(matrix, cmap=cmap, vmin=low, vmax=high, aspect="auto")
        axes.set_title(title, loc="left", fontsize=TEXT, color=INK, pad=6)
        bare(axes)
        axes.set_xticks(range(len(names)), [short(n, 24) for n in ordered], rotation=45, ha="right", fontsize=SMALL)
        axes.set_yticks(range(len(names)), [short(n, 24) for n in ordered] if nth == 0 else [], fontsize=SMALL)
        axes.tick_params(length=0)
        if len(names) <= 16:
            for i, j in np.ndindex(matrix.shape):
                share = (matrix[i, j] - low) / (high - low)
                dark = 0.25 < share < 0.78 if measure == "spearman" else share > 0.6
                axes.text(j, i, f"{matrix[i, j]:.2f}".replace("-", "\N{MINUS SIGN}"), ha="center", va="center",
                          fontsize=SMALL, color=INK if dark else "white")  # fmt: skip
        bar = page.axes(left + nth * (side + gap) + side + 0.12, 1.15, 0.12, side)
        page.figure.colorbar(image, cax=bar).ax.tick_params(labelsize=SMALL, colors=GREY)
    foot = f"intervals in agreement_cohort.csv: {resampling_words(patients)}"
    page.write(0.3, page.height - 0.2, foot, fontsize=SMALL, color=GREY, va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(path, page.rendered())
