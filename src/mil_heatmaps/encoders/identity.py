"""What features depend on of an encoder, told from its name and files alone: nothing is loaded, no network asked."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from mil_heatmaps.encoders.catalogue import ENCODERS
from mil_heatmaps.encoders.weight_files import lite0_weights, named_weights, weights_digest
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.weights.hub import cached_snapshot, cached_weights
from mil_heatmaps.weights.own_code import code_digest

_WHOLE_REPOSITORY = ("transformers", "conch_v1_5")
"""Builders that load a repository by its commit, not one file."""


def describe_encoder(name: str, weights: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return what changes when the features of encoder `name` would, as plain values.

    ``weights_sha256``
        Of the file or folder given, of the environment variable's, or of what the hub's cache holds; ``repo@commit``
        where a whole repository is loaded; None when there are no weights yet, or a factory brings its own.
    ``code_sha256``
        For ``module:factory``: over the source of the module and of the user's own modules that it imports.
    ``preprocessing``
        For ``timm:NAME``, where it is timm's installed version that says it.
    """
    kind, colon, rest = name.partition(":")
    if name in ENCODERS or not colon:
        return {"weights_sha256": _digest(name, weights)}
    if kind == "timm":
        return {"weights_sha256": _digest(name, weights), **_preprocessing(rest)}
    return {"weights_sha256": _digest(name, weights), "code_sha256": code_digest(kind)}


def weights_at(name: str, weights: str | os.PathLike[str] | None) -> Path | None:
    """Return the file or folder of weights that encoder `name` would load, None when it would have to be fetched."""
    spec = ENCODERS.get(name)
    found: Path | None = None
    if weights is not None:
        found = Path(weights)
    elif spec is not None and (named := named_weights(spec)) is not None:
        found = named
    elif spec is not None and spec.builder == "efficientnet_lite0":
        with suppress(HeatmapError):  # not installed: told when it is loaded
            found = lite0_weights(name)
    elif spec is not None and spec.builder in _WHOLE_REPOSITORY:
        found = cached_snapshot(str(spec.repo))
    elif spec is not None:
        found = cached_weights(str(spec.repo))
    elif name.startswith("timm:"):
        repo = _timm_config(name.partition(":")[2]).get("hf_hub_id")
        found = cached_weights(repo) if repo else None
    return found if found is not None and found.exists() else None


def _digest(name: str, weights: str | os.PathLike[str] | None) -> str | None:
    path, spec = weights_at(name, weights), ENCODERS.get(name)
    if path is None:
        return None
    if weights is None and spec is not None and spec.builder in _WHOLE_REPOSITORY:
        return f"{spec.repo}@{path.name}"
    return weights_digest(path)


def _timm_config(name: str) -> dict[str, Any]:
    try:
        return pretrained_config(name)
    except (HeatmapError, RuntimeError):  # told when it is loaded
        return {}


@cache
def pretrained_config(name: str) -> dict[str, Any]:
    """Return what the installed timm says about the pretrained model, asked once a process."""
    from mil_heatmaps.encoders.timm_models import import_timm

    found = import_timm(f"timm:{name}").get_pretrained_cfg(name)
    return {} if found is None else dict(found.to_dict())


def _preprocessing(name: str) -> dict[str, Any]:
    from mil_heatmaps.encoders.timm_models import timm_preprocessing

    try:
        return {"preprocessing": timm_preprocessing(name, _timm_config(name)).identity()}
    except (HeatmapError, KeyError):
        return {}
