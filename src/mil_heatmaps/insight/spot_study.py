"""A run compared with spots or cells: how each gene or cell type correlates with the scores, by slide and column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.insight.runs import SpaceOf, StudyRun, told_space
from mil_heatmaps.insight.spatial_null import correlations
from mil_heatmaps.insight.spots import SpotIndex, on_patches, read_spots
from mil_heatmaps.insight.statistics import mean_of
from mil_heatmaps.insight.thumbnails import drawn_column
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.quick_read import QuickScores, read_quickly
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.version import __version__
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "slide_id", "name", "kind", "points", "on_patches", "patches", "spearman", "p", "shifts", "high_minus_low",
    "notes", "error",
)  # fmt: skip

_LAYERS = 12
"""Columns of a slide's layer: those with the largest difference between high and low patches."""


def spot_table(
    run: StudyRun, folder: Path, *, unit: str = "px", layers: Path | None = None,
    space_of: SpaceOf = told_space, say: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:  # fmt: skip
    """Return one row per slide and gene or cell type, largest difference between high and low patches first.

    For cells there is also ``cells``: their number per patch. Slides without a file have no rows. With `layers`, one
    score file per slide is written there with the 12 columns that differ most, for pictures, exports and the viewer.
    """
    import pandas as pd

    index, rows = SpotIndex((folder,)), list[dict[str, Any]]()
    for slide in run.slides.values():
        try:
            path = index.get(slide.slide_id)
            if path is None:
                continue
            read = read_quickly(slide.scores)
            spots = read_spots(path, unit=unit, space=space_of(slide.slide_id, read))
            counts, means = on_patches(spots, read.grid)
            names, kind = list(spots.names), "cell type" if spots.are_types else "number"
            if spots.are_types:
                names, means = ["cells", *names], np.column_stack([counts, means])
            if not counts.any():
                raise HeatmapError(f"{path}: none of the {len(spots.points_l0)} points lies on a scored patch: are "
                                   "positions in the slide's pixels (insight_arguments.spots_unit)?")  # fmt: skip
            found = correlations(drawn_column(read).scores, means, read.grid)
            notes = "; ".join(map(str, spots.notices))
            order = np.argsort(-np.nan_to_num(np.abs(found.difference)), kind="stable")
            if layers is not None:
                shown = order[:_LAYERS]
                _write_layer(layers / f"{slide.slide_id}.h5", read, means[:, shown], [names[k] for k in shown])
            for k in order:
                rows.append({
                    "slide_id": slide.slide_id, "name": names[k], "kind": "count" if names[k] == "cells" else kind,
                    "points": len(spots.points_l0), "on_patches": int(counts.sum()), "patches": found.patches,
                    "spearman": found.spearman[k], "p": found.p[k], "shifts": found.shifts,
                    "high_minus_low": found.difference[k], "notes": notes, "error": "",
                })  # fmt: skip
        except (HeatmapError, OSError) as error:
            rows.append({"slide_id": slide.slide_id, "error": reason_of(error)})
            say(f"{slide.slide_id}: {rows[-1]['error']}")
    whole = dict.fromkeys(("points", "on_patches", "patches", "shifts"), "Int64")
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(whole)


def _write_layer(path: Path, read: QuickScores, values: npt.NDArray[np.float64], names: list[str]) -> None:
    shown = tuple(names[: values.shape[1]])
    scores = PatchScores(read.grid, values.astype(np.float32), shown, "external", "spots")
    write_scores(path, ScoreFile(
        read.grid, scores, slide_id=path.stem, slide_size_l0=read.slide_size_l0, level0_mpp=read.level0_mpp,
        program_version=__version__,
    ))  # fmt: skip


def spot_cohort(table: pd.DataFrame, patients: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return one row per gene or cell type: mean correlation and mean difference over the slides, with intervals."""
    import pandas as pd

    rows = []
    for name, part in table.dropna(subset=["name"]).groupby("name", sort=False):
        row: dict[str, Any] = {"name": name, "kind": part["kind"].iat[0], "slides": len(part)}
        for measure in ("spearman", "high_minus_low"):
            row |= mean_of(part[measure].to_numpy(float), part["slide_id"].tolist(), patients).cells(measure)
        rows.append(row)
    rows.sort(key=lambda row: -abs(row["high_minus_low"]) if row["high_minus_low"] == row["high_minus_low"] else 0.0)
    return pd.DataFrame(rows)
