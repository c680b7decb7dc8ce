"""Phenotypes of a run: gather features of high and low patches, cluster, write tables, sheet and maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.cohort.jobs import layout_of
from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.insight.outcomes import class_of_label
from mil_heatmaps.insight.phenotype_study import (
    nearest_patches,
    phenotype_table,
    take_patches,
    write_phenotype_sheet,
)
from mil_heatmaps.insight.phenotypes import Phenotypes, cluster
from mil_heatmaps.insight.runs import ScoredSlide
from mil_heatmaps.insight.tables import rows_of
from mil_heatmaps.insight.thumbnails import drawn_column
from mil_heatmaps.pipeline.insight_study import Study
from mil_heatmaps.pipeline.study_files import StudyFiles
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.quick_read import QuickScores, read_quickly
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.version import __version__
from mil_heatmaps.visualization.palette import CATEGORICAL_CMAP, colour_table
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    import pandas as pd


def write_phenotypes(study: Study) -> list[Path]:
    """Write tables, a sheet, a list for the viewer (``phenotypes.json``), and a score file a slide.

    FeatureError when no slide has features.
    """
    asked = study.asked.phenotypes
    assert asked is not None
    with StudyFiles(study.run) as files:
        patches, features = _gather(study, files)
        found = cluster(features, asked.k, asked.seed)
        del features
        patches["cluster"], patches["distance"] = found.labels, found.distances
        table = phenotype_table(patches, found.k)
        nearest = nearest_patches(patches, found.k, asked.nearest)
        sheet = study.out / "phenotypes.png"
        write_phenotype_sheet(sheet, table, nearest, files.picture, found.words)
        maps = _write_maps(study, files, found)
    study.say(f"phenotypes: {found.words}; a map of {len(maps)} slides in {layout_of(study.config).clusters}")
    told = study.out / "phenotypes.json"
    write_text(told, json.dumps(_as_json(table, nearest, found, maps), indent=1))
    return [study.write("phenotypes.csv", table), study.write("phenotype_patches.csv", patches), sheet, told]


def _gather(study: Study, files: StudyFiles) -> tuple[pd.DataFrame, npt.NDArray[np.float16]]:
    """Return the patches that are clustered, and their features as float16."""
    import pandas as pd

    asked = study.asked.phenotypes
    assert asked is not None
    tables, features, width, first = [], [], 0, ""
    for number, slide in enumerate(study.run.slides.values()):
        try:
            read = read_quickly(slide.scores)
            taken = take_patches(
                drawn_column(read).scores, asked.top, asked.per_slide, contrast=asked.contrast, seed=asked.seed + number
            )
            own = files.features(slide.slide_id, read)
            width, first = width or own.shape[1], first or slide.slide_id
            if own.shape[1] != width:
                raise FeatureError(f"features are {own.shape[1]} wide, those of {first} are {width}: left out")
        except (HeatmapError, OSError) as error:
            study.say(f"phenotypes: {slide.slide_id}: {reason_of(error)}")
            continue
        rows = taken.rows
        x, y = read.grid.coords_l0[rows].T
        tables.append(pd.DataFrame({
            "slide_id": slide.slide_id, **_told(study, slide, read), "row": rows, "x": x, "y": y,
            "width": read.grid.size_l0[0], "height": read.grid.size_l0[1], "high": taken.high,
            "rank": taken.ranks[rows],
        }))  # fmt: skip
        with np.errstate(over="ignore"):
            features.append(own[rows].astype(np.float16))
    if not tables:
        raise FeatureError("no slide of the run has features that can be clustered")
    return pd.concat(tables, ignore_index=True), np.concatenate(features)


def _told(study: Study, slide: ScoredSlide, read: QuickScores) -> dict[str, Any]:
    prediction = read.prediction
    if prediction is None or prediction.task != "classification":
        return {"label": slide.label, "predicted": "", "right": None}
    predicted = prediction.classes[prediction.predicted]
    meant = class_of_label(slide.label, prediction.classes, study.config.data_arguments.label_dict)
    right = None if meant is None else meant == predicted
    return {"label": meant or slide.label, "predicted": predicted, "right": right}


def _write_maps(study: Study, files: StudyFiles, found: Phenotypes) -> list[str]:
    """Write ``S.h5`` of every slide with the cluster of every patch."""
    out, made = layout_of(study.config).clusters, []
    for slide in study.run.slides.values():
        try:
            read = read_quickly(slide.scores)
            labels, _ = found.assign(files.features(slide.slide_id, read))
        except (HeatmapError, OSError):
            continue  # it is said already
        values = labels.astype(np.float32)[:, None]
        write_scores(out / f"{slide.slide_id}.h5", ScoreFile(
            read.grid, PatchScores(read.grid, values, ("phenotype",), "cluster", "phenotype"),
            prediction=read.prediction, slide_id=slide.slide_id, slide_size_l0=read.slide_size_l0,
            level0_mpp=read.level0_mpp, program_version=__version__, scored_as=found.words,
        ))  # fmt: skip
        made.append(slide.slide_id)
    return made


def _as_json(
    table: pd.DataFrame, nearest: dict[int, pd.DataFrame], found: Phenotypes, maps: list[str]
) -> dict[str, Any]:
    """Return what a viewer lists: clusters with their colours and nearest patches, and which slides have maps."""
    colours = colour_table(CATEGORICAL_CMAP)
    keys = ["slide_id", "x", "y", "width", "height", "rank"]
    return {
        "format": "mil-heatmaps phenotypes", "version": 1, "how": found.words, "slides": maps,
        "silhouettes": {str(k): value for k, value in found.silhouettes.items()},
        "clusters": [
            {
                "number": int(row["cluster"]), "colour": colours[int(row["cluster"]) % len(colours)].tolist(),
                "share_high": row["share_high"], "share_low": row["share_low"],
                "patches": json.loads(nearest[int(row["cluster"])][keys].to_json(orient="records")),
            }
            for row in rows_of(table)
        ],
    }  # fmt: skip
