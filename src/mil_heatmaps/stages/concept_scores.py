"""Scores of a bag against the concepts of a run, and the words of their map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mil_heatmaps.choices import CONCEPT_SCORES
from mil_heatmaps.notices import Notice

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.scores.patch_scores import PatchScores
    from mil_heatmaps.stages.base import SlideWork


def compared(
    work: SlideWork, features: PatchFeatures, notes: list[Notice]
) -> tuple[dict[str, PatchScores], dict[str, PatchScores]]:
    """Return the concept scores of a bag: the drawn score if it is one of them, and the others."""
    concepts = work.settings.model.concepts
    if concepts is None:
        return {}, {}
    notes += concepts.check(features)
    found = concepts.scores(features.features, features.grid)
    asked = work.config.heatmap_arguments.score
    drawn = {asked: found.pop(asked)} if asked in CONCEPT_SCORES and asked in found else {}
    return drawn, found


def concept_foot(work: SlideWork) -> tuple[str, ...]:
    """Return the concept of each number in a class map; empty for other maps."""
    told = work.score_file.all_scores
    if work.score_file.scores.score != "concept_class" or "similarity_to" not in told:
        return ()
    named = ", ".join(f"{number} {name}" for number, name in enumerate(told["similarity_to"].names))
    return (f"the colours are those of the nearest concept: {named}",)
