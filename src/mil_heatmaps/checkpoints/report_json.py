"""What a checkpoint holds, for programs, as ``--inspect_checkpoint --json`` prints it (docs/automation.md)."""

from __future__ import annotations

import os
from typing import Any

from mil_heatmaps.checkpoints.identity import Identity, build
from mil_heatmaps.checkpoints.load import Checkpoint, identify, load_checkpoint
from mil_heatmaps.checkpoints.report import config_lines
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.models.registry import encoders_of_width


def checkpoint_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a checkpoint holds, as plain values for JSON.

    ``loads`` says whether a model can be built from it. If not, ``problem`` says why and ``model`` may be None.
    Raises `CheckpointError` for an unusable file.
    """
    checkpoint = load_checkpoint(path)
    facts: dict[str, Any] = {
        "format": 1,
        "file": str(checkpoint.source),
        "bytes": checkpoint.bytes,
        "sha256": checkpoint.sha256,
        "notes": list(checkpoint.notes),
        "model": None,
        "loads": False,
        "problem": None,
        "tensors": {key: list(value.shape) for key, value in checkpoint.tensors.items()},
    }
    try:
        identity = identify(checkpoint)
        return facts | _recognised(checkpoint, identity, os.fspath(path))
    except CheckpointError as error:
        return facts | {"problem": str(error)}


def _recognised(checkpoint: Checkpoint, identity: Identity, path: str) -> dict[str, Any]:
    """Return what is known about a recognised model; its scores only if it loads."""
    sizes = ("in_dim", "num_classes")
    known: dict[str, Any] = {
        "model": identity.model_type,
        "classes": identity.num_classes,
        "class_names": list(checkpoint.said.class_names or ()),
        "task": checkpoint.said.task,
        "feature_width": identity.in_dim,
        "encoders_of_that_width": encoders_of_width(identity.in_dim),
        "settings": {key: _plain(value) for key, value in identity.config.items() if key not in sizes},
        "assumed": sorted(identity.assumed),
        "roles": dict(identity.roles),
        "parameters": sum(value.numel() for value in identity.tensors.values()),
        "left_out": list(identity.left_out),
        "config": "\n".join(config_lines(identity, path, checkpoint.said)) + "\n",
    }
    try:
        model = build(identity)
    except CheckpointError as error:
        return known | {"problem": str(error)}
    specs = model.score_specs()
    return known | {
        "loads": True,
        "scores": [
            {
                "name": name,
                "default": name == model.default_score,
                "kind": str(specs[name].kind) if name in specs else name,
                "about": about,
            }
            for name, about in model.score_names().items()
        ],
        "refused_scores": dict(model.refused_scores()),
    }


def _plain(value: object) -> Any:
    """Return a setting in JSON's types: tuples as lists, other values as text."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
