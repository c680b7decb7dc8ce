"""The concepts of a run: where their vectors come from, and what results depend on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.files.digests import sha256_file

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.scores.concepts import Concepts


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
