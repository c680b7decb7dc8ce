"""Models that take several bags of a slide: their inputs, the score file of each bag, the sum of the maps."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import SUM
from mil_heatmaps.errors import FeatureError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import csv_text
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.records.outcome_tables import EFFECT, PATCHES

if TYPE_CHECKING:
    from pathlib import Path

    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.models.several_inputs import SeveralInputsModel, SlideInputs
    from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.stages.base import SlideWork

_COLUMNS = ("input", "target", "output", "effect")
"""Columns of ``S_inputs.csv``."""
_IN_COMMON = 0.1
"""Least share of the smaller of two bags' areas that lies in the other: bags of one slide show the same tissue."""


def bag_inputs(work: SlideWork) -> dict[str, Any]:
    """Return the bags and the extra numbers of the slide for a stage's inputs; empty if there are none."""
    inputs: dict[str, Any] = {}
    if work.config.bags:
        inputs["bags"] = {work.config.bags[0]: None} | {
            name: {"features": work.fingerprint(path), "coords_file": _coords_file(work, path)}
            for name, path in work.job.other_bags.items()
        }
    if work.job.extra:
        inputs["extra"] = {name: list(values) for name, values in work.job.extra.items()}
    return inputs


def _coords_file(work: SlideWork, path: Path) -> dict[str, Any] | None:
    from mil_heatmaps.features.find import find_coords_file

    found = find_coords_file(path, None)
    return None if found is None else work.fingerprint(found)


def other_bag(work: SlideWork, name: str) -> PatchFeatures:
    """Read the features of a bag other than the first."""
    from mil_heatmaps.features.read import read_features

    path = work.job.other_bags[name]
    return read_features(path, slide_size_l0=work.slide.dimensions_l0, space=work.space)


def slide_inputs(work: SlideWork, first_bag: PatchFeatures | None = None) -> SlideInputs:
    """Return all inputs of the slide for a model that takes several; pass `first_bag` if it has been read already.

    Raises
    ------
    FeatureError
        The bags cover different places, as bags of two different slides do.
    """
    from mil_heatmaps.models.several_inputs import SlideInputs
    from mil_heatmaps.scores.sum_by_area import common_share

    first, *others = work.config.bags
    bags = {first: first_bag or work.bag_features()} | {name: other_bag(work, name) for name in others}
    for name in others:
        share = common_share(bags[first].grid, bags[name].grid)
        if share < _IN_COMMON:
            raise FeatureError(
                f"the bags {first} and {name} of {work.job.slide_id} cover different places ({share:.0%} in common): "
                f"they are not of one slide, or their coordinates are in other units ({bags[first].source.name}, "
                f"{bags[name].source.name})"
            )
    extra = {name: np.array(values, np.float32) for name, values in work.job.extra.items()}
    return SlideInputs(bags, extra)


def write_other_bags(
    work: SlideWork,
    model: MILModel,
    first: ScoreFile,
    ask: Callable[[PatchFeatures, str], tuple[Prediction | None, dict[str, PatchScores]]],
    notes: list[Notice],
) -> list[Path]:
    """Write the score files of the other bags, their sum, and the table of inputs; return their paths.

    Parameters
    ----------
    first : ScoreFile
        Scores of the first bag.
    ask : (bag, its name) -> prediction and scores
        Runs the model, which has the slide's inputs already, on one bag; the other inputs are held fixed.
    """
    from mil_heatmaps.models.several_inputs import SeveralInputsModel
    from mil_heatmaps.scores.score_schema import write_scores

    if not isinstance(model, SeveralInputsModel):
        return []
    inputs = model.inputs
    files, paths = {next(iter(inputs.bags)): first}, []
    for name in list(inputs.bags)[1:]:
        bag = inputs.bags[name]
        with model.on_slide(inputs, name):
            prediction, scores = ask(bag, name)
        drawn, *extra = scores.values()
        files[name] = replace(
            first, grid=bag.grid, scores=drawn, attention=np.empty(0, np.float32), extra=tuple(extra),
            prediction=prediction, features_file=bag.source.name, features_fingerprint=work.fingerprint(bag.source),
            encoder=bag.encoder,
        )  # fmt: skip
        notes += bag.notes
        paths.append(work.job.paths.blockmap_of(name))
        write_scores(paths[-1], files[name])
    total = _sum(files, notes) if len(files) > 1 else None
    if total is None:
        work.job.paths.blockmap_of(SUM).unlink(missing_ok=True)  # left from a score that could be summed
    else:
        paths.append(work.job.paths.blockmap_of(SUM))
        write_scores(paths[-1], total)
    paths.append(_write_inputs(work, model, first, notes))
    return paths


def bag_files(work: SlideWork) -> dict[str, Path]:
    """Return the score files of all bags but the first, and of the sum if there is one, by name."""
    others = work.config.bags[1:]
    paths = {name: work.job.paths.blockmap_of(name) for name in (*others, SUM)} if others else {}
    return {name: path for name, path in paths.items() if name != SUM or path.is_file()}


def _sum(files: dict[str, ScoreFile], notes: list[Notice]) -> ScoreFile | None:
    """Return the sum of the drawn scores on the level-0 plane, None where a sum has no meaning."""
    from mil_heatmaps.scores.sum_by_area import SUMMED_KINDS, sum_by_area

    (first, *others), names = files.values(), ", ".join(files)
    kind, columns = first.scores.kind, first.scores.names
    if kind not in SUMMED_KINDS or any(file.scores.names != columns for file in others):
        words = f"the {first.scores.score} maps of {names} are not summed: their numbers are not parts of one whole"
        notes.append(Notice("bags_not_summed", words))
        return None
    grid, total = sum_by_area([(file.grid, file.scores.values) for file in files.values()])
    scores = replace(first.scores, grid=grid, values=total.astype(np.float32))
    return replace(
        first, grid=grid, scores=scores, attention=np.empty(0, np.float32), extra=(), encoder=None,
        features_file=None, features_fingerprint=None, scored_as=f"sum of {names} by area",
    )  # fmt: skip


def _write_inputs(work: SlideWork, model: SeveralInputsModel, first: ScoreFile, notes: list[Notice]) -> Path:
    """Write ``S_inputs.csv``, one row per input and target, and report the effects on the first target."""
    from mil_heatmaps.explain.outputs import choose_outputs
    from mil_heatmaps.models.several_inputs import effects_words
    from mil_heatmaps.stages.explanations import outputs_of, targets_of

    prediction, of_case = first.prediction, work.job.case if work.config.data_arguments.bag == "case" else None
    path = work.job.paths.inputs_csv if of_case is None else of_case.paths.inputs_csv
    if prediction is None:
        write_text(path, csv_text(_COLUMNS, ()))
        return path
    names, task = outputs_of(model, prediction), work.config.model_arguments.task
    logits = prediction.logits[-len(names) :].astype(np.float64)
    outputs = choose_outputs(
        logits, names, task=task, output=work.config.explanation_arguments.output,
        targets=targets_of(work, prediction, names),
    )  # fmt: skip
    effects = model.effects(outputs)
    told = {EFFECT + name: float(values[0]) for name, values in effects.items()}
    told |= {PATCHES + name: len(model.inputs.bags[name]) for name in list(model.inputs.bags)[1:]}
    work.record.summary["inputs"] = told
    rows = [
        (name, target, outputs.name, f"{values[column]:.6g}")
        for name, values in effects.items() for column, target in enumerate(outputs.targets)
    ]  # fmt: skip
    write_text(path, csv_text(_COLUMNS, rows))
    notes.append(Notice("inputs", effects_words(effects, outputs.targets)))
    return path


def inputs_of_case(work: SlideWork) -> list[Path]:
    """Copy the table of inputs from the slide's case, if the model takes several; return the path of the copy."""
    case = work.job.case
    if not work.config.bags or case is None:
        return []
    text, path = case.paths.inputs_csv.read_text(encoding="utf-8"), work.job.paths.inputs_csv
    write_text(path, text)
    rows = list(csv.DictReader(text.splitlines()))
    first = [row for row in rows if row["target"] == rows[0]["target"]]
    work.record.summary["inputs"] = {EFFECT + row["input"]: float(row["effect"]) for row in first}
    return [path]
