"""Which maps of a slide are measured, as scores of the bag's patches in the bag's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import grouped, whole_number

if TYPE_CHECKING:
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.scores.patch_scores import PatchScores
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.stages.base import SlideWork

_BROUGHT = ("external", "consensus")
"""Kinds of scores that do not come from the run's model."""


def map_names(work: SlideWork, model: MILModel | None) -> list[str]:
    """Return the names of the maps to measure, the drawn one first.

    Without `faithfulness_arguments.scores`: the drawn map, the model's default map, those of
    `explanation_arguments.scores`, and the columns of scores that the user provides.
    """
    score_file = work.score_file
    kept = kept_maps(score_file, work.config.output_names)
    drawn = drawn_name(score_file, kept)
    asked = work.config.faithfulness_arguments.scores
    if asked is not None:
        return list(dict.fromkeys((drawn, *asked)))
    usual = [model.default_score] if model is not None else []
    beside = [name for name, scores in kept.items() if scores.explained is not None or scores.kind in _BROUGHT]
    beside += work.config.explanation_arguments.scores if model is not None and work.job.scores_path is None else []
    return list(dict.fromkeys((drawn, *usual, *beside)))


def kept_maps(score_file: ScoreFile, output_names: Sequence[str] | None) -> dict[str, PatchScores]:
    """Return the scores of a score file by name.

    Each column of scores from elsewhere is a separate map, unless the columns are classes; each column of a consensus
    always is.
    """
    prediction = score_file.prediction
    targets = {tuple(output_names or ()), () if prediction is None else prediction.classes}
    found: dict[str, PatchScores] = {}
    for name, scores in score_file.all_scores.items():
        unnamed = len(scores.names) > 1 or scores.score == "external"  # a table: its columns have the names
        if scores.kind in _BROUGHT and unnamed and scores.names not in targets:
            found |= {
                column: replace(scores, values=scores.values[:, [number]], names=(column,), score=column)
                for number, column in enumerate(scores.names)
            }
        else:
            found[name] = scores
    return found


def drawn_name(score_file: ScoreFile, kept: dict[str, PatchScores]) -> str:
    """Return the name of the drawn map; where each column is a map, the first."""
    name = score_file.scores.score
    return name if name in kept else score_file.scores.names[0]


def drawn_target(work: SlideWork) -> str | int:
    """Return the measured target: the class drawn by name if there is exactly one, else ``predicted``."""
    classes = work.config.heatmap_arguments.classes
    chosen = [classes] if isinstance(classes, str) else classes
    if len(chosen) != 1 or chosen[0] in ("predicted", "all"):
        return "predicted"
    name = chosen[0]
    if name == "label":
        label = work.job.row.group
        return label if label in (work.config.class_names or ()) else "predicted"
    names = work.config.output_names or ()
    number = None if name in names else whole_number(name)
    return name if number is None else number


def measured_output(work: SlideWork) -> str | None:
    """Return the name of the measured output, as far as the score file tells; None for a survival model."""
    prediction, target = work.score_file.prediction, drawn_target(work)
    if prediction is None or prediction.task == "survival":
        return None
    if target == "predicted":
        target = 0 if prediction.task == "regression" else int(prediction.logits.argmax())
    return prediction.classes[target] if isinstance(target, int) and target < len(prediction.classes) else str(target)


def on_bag(scores: PatchScores, bag: PatchGrid) -> tuple[PatchScores, list[Notice]]:
    """Return the scores in the row order of the bag, NaN for patches without one, and notices of patches left out.

    Raises
    ------
    ScoreError
        The patches have another size, or the bag has none of them: a map of another slide, or of other patches.
    """
    grid = scores.grid
    if grid is None or (len(grid) == len(bag) and np.array_equal(grid.coords_l0, bag.coords_l0)):
        return scores, []
    if max(abs(a - b) for a, b in zip(grid.size_l0, bag.size_l0, strict=True)) > 1:
        mine, theirs = (f"{width} x {height}" for width, height in (grid.size_l0, bag.size_l0))
        raise ScoreError(f"the scores are of patches of {mine} level-0 pixels, the features of {theirs}")
    row_of = {corner: row for row, corner in enumerate(map(tuple, bag.coords_l0.tolist()))}
    rows = np.array([row_of.get(corner, -1) for corner in map(tuple, grid.coords_l0.tolist())])
    known = rows >= 0
    if not known.any():
        raise ScoreError(
            f"none of the {grouped(len(grid))} patches with scores is among the {grouped(len(bag))} with features: "
            "scores of another slide, or of other patches"
        )
    values = np.full((len(bag), scores.values.shape[1]), np.nan, np.float32)
    values[rows[known]] = scores.values[known]
    said = []
    if lost := int((~known).sum()):
        words = f"{lost} of {len(grid)} patches with a score have no features and were not measured"
        said.append(Notice("unmeasured_patches", words, patches=lost))
    return replace(scores, grid=bag, values=values), said
