"""How concentrated the scores of a run are: one row per slide, and a sheet by predicted class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.insight.dot_sheet import DotPanel, write_dot_sheet
from mil_heatmaps.insight.runs import StudyRun
from mil_heatmaps.insight.statistics import mean_of, resampling_words
from mil_heatmaps.insight.thumbnails import drawn_column
from mil_heatmaps.scores.concentration import concentration as attention_concentration
from mil_heatmaps.scores.mass import concentration
from mil_heatmaps.scores.quick_read import read_quickly
from mil_heatmaps.words import counted, reason_of

if TYPE_CHECKING:
    import pandas as pd

_TITLES = {
    "attention_gini": "Gini coefficient",
    "attention_entropy": "entropy / log N",
    "effective_patches": "effective number of patches",
    "attention_top_1_percent": "mass in the top 1%",
    "attention_top_5_percent": "mass in the top 5%",
    "attention_clusters": "clusters with 80% of the top mass",
}


def concentration_table(run: StudyRun) -> pd.DataFrame:
    """Return one row per slide: label, prediction, patches, and the numbers of `Concentration`."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for slide in run.slides.values():
        row: dict[str, Any] = {"slide_id": slide.slide_id, "label": slide.label, "error": ""}
        try:
            read = read_quickly(slide.scores)
            prediction = read.prediction
            if prediction is not None and prediction.task in ("classification", "multilabel"):
                row["predicted"] = prediction.classes[prediction.predicted]
            scores, kind = drawn_column(read).scores, read.scores.kind
            found, spread = concentration(scores, kind, read.grid), attention_concentration(scores, kind)
            row |= {"patches": found.patches, **found.columns, **(spread.plain() if spread else {})}
        except (HeatmapError, OSError) as error:
            row["error"] = reason_of(error)
        rows.append(row)
    columns = ["slide_id", "label", "predicted", "patches", *_TITLES, "error"]
    return pd.DataFrame(rows, columns=columns).astype({"patches": "Int64"})


def write_concentration_sheet(path: Path, table: pd.DataFrame, patients: Mapping[str, str] | None) -> None:
    """Write a panel a number and a line a predicted class as a picture."""
    named = table.assign(predicted=table["predicted"].fillna("all slides"))
    panels = []
    for column, title in _TITLES.items():
        groups = {}
        for name, part in named.groupby("predicted", sort=True):
            values = part[column].to_numpy(float)
            groups[str(name)] = values, mean_of(values, part["slide_id"].tolist(), patients)
        shares = column not in ("effective_patches", "attention_clusters")
        whole = column == "attention_clusters"
        panels.append(DotPanel(title, groups, limits=(0.0, 1.0) if shares else None, counts=whole))
    said = f"{counted(len(table), 'slide')} by predicted class; dots: slides, diamond: mean"
    foot = ["a bar is the 95 % bootstrap interval, from 10 slides or patients on", resampling_words(patients)]
    write_dot_sheet(path, "How concentrated is attention?", said, panels, foot)
