"""The concepts of a run: where their vectors come from, what results depend on, and the scores of a bag."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import CONCEPT_SCORES
from mil_heatmaps.files.digests import sha256_file
from mil_heatmaps.notices import Notice

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.scores.concepts import Concepts
    from mil_heatmaps.scores.patch_scores import PatchScores
    from mil_heatmaps.stages.base import SlideWork


def concepts_of(config: Config) -> Concepts | None:
    """Return the vectors that the config names, None where it names none."""
    asked, path = config.data_arguments.concepts, config.inputs.concepts
    if asked is None:
        return None
    if asked.prompts is not None and asked.model is not None:
        from mil_heatmaps.encoders.text import concepts_of_prompts

        return concepts_of_prompts(asked.prompts, asked.model, asked.templates, asked.temperature)
    from mil_heatmaps.scores.concepts import read_concepts

    return read_concepts(path or Path(str(asked.file)), encoder=asked.encoder, temperature=asked.temperature)


def concepts_identity(config: Config) -> dict[str, Any] | None:
    """Return what the scores depend on, without making any vector; None without concepts."""
    asked, path = config.data_arguments.concepts, config.inputs.concepts
    if asked is None:
        return None
    told = asked.model_dump(mode="json", exclude={"file"}, exclude_none=True)
    if path is not None:
        told["sha256"] = sha256_file(path)
    where = Path((asked.model or "").rpartition(":")[0])
    if where.suffix == ".py" and where.is_file():
        from mil_heatmaps.weights.own_code import file_digest

        told["code_sha256"] = file_digest(where, "")
    return told


def compared(
    work: SlideWork, features: PatchFeatures, notes: list[Notice]
) -> tuple[dict[str, PatchScores], dict[str, PatchScores]]:
    """Return the scores of a bag against the concepts: the drawn one, where it is one of them, and the others."""
    concepts = work.settings.model.concepts
    if concepts is None:
        return {}, {}
    notes += concepts.check(features)
    found = concepts.scores(features.features, features.grid)
    asked = work.config.heatmap_arguments.score
    drawn = {asked: found.pop(asked)} if asked in CONCEPT_SCORES and asked in found else {}
    return drawn, found


def concept_foot(work: SlideWork) -> tuple[str, ...]:
    """Return which number of a map of classes is which concept; nothing for other maps."""
    told = work.score_file.all_scores
    if work.score_file.scores.score != "concept_class" or "similarity_to" not in told:
        return ()
    named = ", ".join(f"{number} {name}" for number, name in enumerate(told["similarity_to"].names))
    return (f"the colours are those of the nearest concept: {named}",)
