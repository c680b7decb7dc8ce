"""What an encoder's features depend on, from its name and files alone: no weights are loaded, no network is used."""

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
    """Return plain values that change whenever the features of encoder `name` would change.

    ``weights_sha256``
        SHA-256 of the given file or folder, of the environment variable's, or of the weights in the hub's cache;
        ``repo@commit`` if a whole repository is loaded; None if there are no weights yet, or a factory has its own.
    ``code_sha256``
        For ``module:factory``: SHA-256 over the source of the module and of the user's own modules that it imports.
    ``preprocessing``
        For ``timm:NAME``, whose preprocessing depends on the installed version of timm.
    """
    kind, colon, rest = name.partition(":")
    if name in ENCODERS or not colon:
        return {"weights_sha256": _digest(name, weights)}
    if kind == "timm":
        return {"weights_sha256": _digest(name, weights), **_preprocessing(rest)}
    return {"weights_sha256": _digest(name, weights), "code_sha256": code_digest(kind)}


def weights_at(name: str, weights: str | os.PathLike[str] | None) -> Path | None:
    """Return the file or folder of weights that encoder `name` would load, None if it has yet to be downloaded."""
    spec = ENCODERS.get(name)
    found: Path | None = None
    if weights is not None:
        found = Path(weights)
    elif spec is not None and (named := named_weights(spec)) is not None:
        found = named
    elif spec is not None and spec.builder == "efficientnet_lite0":
        with suppress(HeatmapError):  # not installed: reported when it is loaded
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
    except (HeatmapError, RuntimeError):  # reported when it is loaded
        return {}


@cache
def pretrained_config(name: str) -> dict[str, Any]:
    """Return the installed timm's configuration of the pretrained model, read once per process."""
    from mil_heatmaps.encoders.timm_models import import_timm

    found = import_timm(f"timm:{name}").get_pretrained_cfg(name)
    return {} if found is None else dict(found.to_dict())


def _preprocessing(name: str) -> dict[str, Any]:
    from mil_heatmaps.encoders.timm_models import timm_preprocessing

    try:
        return {"preprocessing": timm_preprocessing(name, _timm_config(name)).identity()}
    except (HeatmapError, KeyError):
        return {}
