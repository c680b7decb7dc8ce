"""The parts of `insight_run`: each makes its tables and sheets of a run and returns their paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mil_heatmaps.cohort.jobs import layout_of
from mil_heatmaps.insight.runs import SpaceOf
from mil_heatmaps.insight.study_files import StudyFiles
from mil_heatmaps.insight.tables import rows_of
from mil_heatmaps.pipeline.insight_study import Study
from mil_heatmaps.words import first_of


def concentration(study: Study) -> list[Path]:
    """Write ``concentration.csv`` and ``concentration.png``."""
    from mil_heatmaps.insight.concentration_study import concentration_table, write_concentration_sheet

    table, picture = concentration_table(study.run), study.out / "concentration.png"
    write_concentration_sheet(picture, table, study.run.patients)
    return [study.write("concentration.csv", table), picture]


def overview(study: Study) -> list[Path]:
    """Write the overview's pages, ``outcomes.csv``, ``confusion.csv``, ``metrics.csv``."""
    from mil_heatmaps.insight import outcomes
    from mil_heatmaps.insight.overview import write_overview

    patients = study.run.patients
    table = outcomes.outcome_table(study.run, study.config.data_arguments.label_dict)
    labelled = bool(table["class"].notna().any())
    curves = outcomes.roc_curves(table, patients) if labelled else []
    paths = write_overview(study.out, study.run, table, curves, patients)
    paths.append(study.write("outcomes.csv", table))
    if labelled:
        paths.append(study.write("confusion.csv", outcomes.confusion(table).reset_index()))
        paths.append(study.write("metrics.csv", outcomes.metrics_table(table, curves, patients)))
    return paths


def drawn(study: Study) -> list[Path]:
    """Write ``annotations.csv``, ``annotations_cohort.csv`` and ``annotations.png``."""
    from mil_heatmaps.insight.annotation_study import annotation_cohort, annotation_table, write_annotation_sheet

    asked, patients = study.asked, study.run.patients
    folder = study.input_folder("annotations")
    with _spaces(study) as space_of:
        table = annotation_table(
            study.run, folder, classes=asked.annotation_classes, mask_labels=asked.mask_labels,
            mask_downsample=asked.mask_downsample, top=asked.top, space_of=space_of,
        )  # fmt: skip
    paths = [study.write("annotations.csv", table)]
    for row in rows_of(table[table["error"].fillna("") != ""]):
        study.say(f"{row['slide_id']}: {row['error']}")
    if table["class"].notna().any():
        picture = study.out / "annotations.png"
        write_annotation_sheet(picture, table, patients, asked.top)
        paths += [study.write("annotations_cohort.csv", annotation_cohort(table, patients)), picture]
    elif table.empty:
        study.say(f"annotations: none of the slides has a file in {folder}")
    return paths


def phenotypes(study: Study) -> list[Path]:
    """Write the clusters of high patches: tables, sheet, and one score file per slide."""
    from mil_heatmaps.pipeline.phenotype_run import write_phenotypes

    return write_phenotypes(study)


def spots(study: Study) -> list[Path]:
    """Write how scores relate to spots or cells: ``spots.csv``, ``spots_cohort.csv``, and one score file per slide."""
    from mil_heatmaps.insight.spot_study import spot_cohort, spot_table

    with _spaces(study) as space_of:
        table = spot_table(
            study.run, study.input_folder("spots"), unit=study.asked.spots_unit, layers=layout_of(study.config).spots,
            space_of=space_of, say=study.say,
        )  # fmt: skip
    return [study.write("spots.csv", table), study.write("spots_cohort.csv", spot_cohort(table, study.run.patients))]


@contextmanager
def _spaces(study: Study) -> Iterator[SpaceOf]:
    """Yield the function that places positions of files on a slide; report for which slides this is uncertain."""
    with StudyFiles(study.run) as files:
        yield partial(files.space, frame=study.config.data_arguments.coords_frame)
        if files.absent:
            study.say(
                f"{first_of(files.absent, 5)}: the slide is not there, so that positions were taken as they stand; of "
                "slides with a scanned area (MRXS, SCN, BIF) they may count from its corner"
            )
