"""Write the phenotypes of a run: tables, sheet, a list for the viewer, maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.cohort.jobs import layout_of
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.insight.phenotype_study import nearest_patches, write_phenotype_sheet
from mil_heatmaps.insight.phenotypes import Phenotypes
from mil_heatmaps.insight.phenotypes_of_run import phenotypes_of_run
from mil_heatmaps.insight.study_files import StudyFiles
from mil_heatmaps.insight.tables import rows_of
from mil_heatmaps.pipeline.insight_study import Study
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.quick_read import read_quickly
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.version import __version__
from mil_heatmaps.visualization.palette import CATEGORICAL_CMAP, colour_table

if TYPE_CHECKING:
    import pandas as pd


def write_phenotypes(study: Study) -> list[Path]:
    """Write tables, a sheet, a list for the viewer (``phenotypes.json``), and one score file per slide.

    Raises a FeatureError if no slide has features.
    """
    asked = study.asked.phenotypes
    assert asked is not None
    with StudyFiles(study.run) as files:
        made = phenotypes_of_run(
            study.run, files, asked.k, top=asked.top, per_slide=asked.per_slide, contrast=asked.contrast,
            seed=asked.seed, label_dict=study.config.data_arguments.label_dict,
            say=lambda text: study.say(f"phenotypes: {text}"),
        )  # fmt: skip
        found, table, patches = made.found, made.table, made.patches
        nearest = nearest_patches(patches, found.k, asked.nearest)
        sheet = study.out / "phenotypes.png"
        write_phenotype_sheet(sheet, table, nearest, files.picture, found.words)
        maps = _write_maps(study, files, found)
    study.say(f"phenotypes: {found.words}; a map of {len(maps)} slides in {layout_of(study.config).clusters}")
    told = study.out / "phenotypes.json"
    write_text(told, json.dumps(_as_json(table, nearest, found, maps), indent=1))
    return [study.write("phenotypes.csv", table), study.write("phenotype_patches.csv", patches), sheet, told]


def _write_maps(study: Study, files: StudyFiles, found: Phenotypes) -> list[str]:
    """Write ``S.h5`` of every slide with the cluster of every patch."""
    out, made = layout_of(study.config).clusters, []
    for slide in study.run.slides.values():
        try:
            read = read_quickly(slide.scores)
            labels, _ = found.assign(files.features(slide.slide_id, read))
        except (HeatmapError, OSError):
            continue  # reported already
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
