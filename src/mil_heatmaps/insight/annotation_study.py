"""A run beside a folder of annotations: one row per slide and class, means with intervals, a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.insight.agreement import MEASURES, agreement_rows
from mil_heatmaps.insight.annotations import AnnotationIndex, read_annotations
from mil_heatmaps.insight.dot_sheet import DotPanel, write_dot_sheet
from mil_heatmaps.insight.runs import SpaceOf, StudyRun, told_space
from mil_heatmaps.insight.statistics import mean_of, resampling_words
from mil_heatmaps.scores.quick_read import read_quickly
from mil_heatmaps.scores.select import select_columns
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "slide_id", "label", "class", "score", "patches", "inside", "outside", "auroc", "average_precision", "pointing",
    "dice", "mass_inside", "area_inside", "enrichment", "notes", "error",
)  # fmt: skip
_TITLES = {
    "auroc": ("AUROC", 0.5),
    "average_precision": ("average precision", None),
    "pointing": ("highest patch inside (pointing game)", None),
    "dice": ("Dice of the top patches", None),
    "enrichment": ("attention inside / area inside", 1.0),
}


def annotation_table(
    run: StudyRun,
    folder: Path,
    *,
    classes: Sequence[str] | None = None,
    mask_labels: Mapping[str, str] | None = None,
    mask_downsample: float | None = None,
    top: float = 0.05,
    space_of: SpaceOf = told_space,
) -> pd.DataFrame:
    """Return one row per slide and class: how the scores agree with what was drawn, or why that cannot be said.

    Slides without an annotation file are no rows. Parameters are those of `read_annotations`; `top` is the part of the
    patches whose Dice is taken. `space_of` tells what is known of a slide; left out, what its scores say.
    """
    import pandas as pd

    index = AnnotationIndex((folder,))
    rows: list[dict[str, Any]] = []
    for slide in run.slides.values():
        told = {"slide_id": slide.slide_id, "label": slide.label}
        try:
            path = index.get(slide.slide_id)
            if path is None:
                continue
            read = read_quickly(slide.scores)
            drawn = read_annotations(
                path, space_of(slide.slide_id, read), classes=classes, mask_labels=mask_labels,
                mask_downsample=mask_downsample,
            )  # fmt: skip
            usual = select_columns(read.scores, read.prediction)[0]
            columns = {usual.name: usual.scores}
            columns |= {name: read.scores.values[:, k] for k, name in enumerate(read.scores.names)}
            notes = "; ".join(drawn.notes)
            for row in agreement_rows(drawn, columns, usual.name, read.scores.kind, read.grid, top):
                rows.append({**told, **row, "notes": notes})
        except (HeatmapError, OSError) as error:
            rows.append({**told, "error": reason_of(error)})
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    return table.astype(dict.fromkeys(("patches", "inside", "outside"), "Int64"))


def annotation_cohort(table: pd.DataFrame, patients: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return one row per class: how many slides have it, and the mean of each measure with its interval."""
    import pandas as pd

    rows = []
    for name, part in table.dropna(subset=["class"]).groupby("class", sort=True):
        row: dict[str, Any] = {"class": name, "slides": int((part["inside"] > 0).sum())}
        for measure in MEASURES:
            row |= mean_of(part[measure].to_numpy(float), part["slide_id"].tolist(), patients).cells(measure)
        rows.append(row)
    return pd.DataFrame(rows)


def write_annotation_sheet(path: Path, table: pd.DataFrame, patients: Mapping[str, str] | None, top: float) -> None:
    """Write a panel a measure and one line per class as a picture."""
    usable = table.dropna(subset=["class"])
    panels = []
    for measure in MEASURES:
        title, reference = _TITLES[measure]
        groups = {}
        for name, part in usable.groupby("class", sort=True):
            values = part[measure].to_numpy(float)
            groups[str(name)] = values, mean_of(values, part["slide_id"].tolist(), patients)
        title = title.replace("top patches", f"top {top:.0%}")
        panels.append(DotPanel(title, groups, reference, None if measure == "enrichment" else (0.0, 1.0)))
    slides, refused = usable["slide_id"].nunique(), int(table["class"].isna().sum())
    said = f"{slides} slides; dots: slides, diamond: mean" + (f"; {refused} more: see error" if refused else "")
    foot = [
        "a patch is inside where at least half of it is annotated; a bar is the 95 % bootstrap interval, from 10 "
        "slides on; dashed: chance",
        resampling_words(patients),
    ]
    write_dot_sheet(path, "Does attention lie on the annotations?", said, panels, foot)
