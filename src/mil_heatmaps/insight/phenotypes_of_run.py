"""Phenotypes of a run: features of high and low patches over its slides, clustered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.insight.outcomes import class_of_label
from mil_heatmaps.insight.phenotype_study import phenotype_table, take_patches
from mil_heatmaps.insight.phenotypes import Phenotypes, cluster
from mil_heatmaps.insight.runs import ScoredSlide, StudyRun
from mil_heatmaps.insight.study_files import StudyFiles
from mil_heatmaps.insight.thumbnails import drawn_column
from mil_heatmaps.scores.quick_read import QuickScores, read_quickly
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False, eq=False)
class RunPhenotypes:
    """Clusters of a run.

    Attributes
    ----------
    table : DataFrame
        One row per cluster, see `phenotype_table`.
    patches : DataFrame
        One row per clustered patch: slide, place, rank, cluster, distance to the cluster's centre.
    found : Phenotypes
        Assigns clusters to further features.
    """

    table: pd.DataFrame
    patches: pd.DataFrame
    found: Phenotypes


def phenotypes_of_run(
    run: StudyRun,
    files: StudyFiles,
    k: int | None = None,
    *,
    top: float = 0.05,
    per_slide: int = 200,
    contrast: bool = True,
    seed: int = 1,
    label_dict: Mapping[str, int] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RunPhenotypes:
    """Cluster the features of each slide's high patches and, with `contrast`, of equally many of its lowest.

    Parameters
    ----------
    top, per_slide : share of a slide's patches that is high, and the most that are taken
    say : called for slides that are left out: without features, or with another feature width than the first slide

    Raises
    ------
    FeatureError
        No slide has features, or they cannot be clustered.
    """
    import pandas as pd

    tables, features, width, first = [], [], 0, ""
    for number, slide in enumerate(run.slides.values()):
        try:
            read = read_quickly(slide.scores)
            scores = drawn_column(read).scores
            taken = take_patches(scores, top, per_slide, contrast=contrast, seed=seed + number)
            own = files.features(slide.slide_id, read)
            width, first = width or own.shape[1], first or slide.slide_id
            if own.shape[1] != width:
                raise FeatureError(f"features are {own.shape[1]} wide, those of {first} are {width}: left out")
        except (HeatmapError, OSError) as error:
            say(f"{slide.slide_id}: {reason_of(error)}")
            continue
        rows = taken.rows
        x, y = read.grid.coords_l0[rows].T
        tables.append(pd.DataFrame({
            "slide_id": slide.slide_id, **_told(slide, read, label_dict), "row": rows, "x": x, "y": y,
            "width": read.grid.size_l0[0], "height": read.grid.size_l0[1], "high": taken.high,
            "rank": taken.ranks[rows],
        }))  # fmt: skip
        with np.errstate(over="ignore"):
            features.append(own[rows].astype(np.float16))
    if not tables:
        raise FeatureError("no slide of the run has features that can be clustered")
    patches = pd.concat(tables, ignore_index=True)
    found = cluster(_joined(features), k, seed)
    patches["cluster"], patches["distance"] = found.labels, found.distances
    return RunPhenotypes(phenotype_table(patches, found.k), patches, found)


def _joined(features: list[npt.NDArray[np.float16]]) -> npt.NDArray[np.float16]:
    """Return the rows of all slides joined; empties `features` to free memory."""
    whole = np.concatenate(features)
    features.clear()
    return whole


def _told(slide: ScoredSlide, read: QuickScores, label_dict: Mapping[str, int] | None) -> dict[str, Any]:
    prediction = read.prediction
    if prediction is None or prediction.task != "classification":
        return {"label": slide.label, "predicted": "", "right": None}
    predicted = prediction.classes[prediction.predicted]
    meant = class_of_label(slide.label, prediction.classes, label_dict)
    right = None if meant is None else meant == predicted
    return {"label": meant or slide.label, "predicted": predicted, "right": right}
