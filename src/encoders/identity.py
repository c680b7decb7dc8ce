"""What features depend on of an encoder, told from its name and files alone: nothing is loaded, no network asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.encoders.catalogue import ENCODERS
from src.encoders.own_code import code_digest
from src.encoders.weight_files import cached_commit, cached_weights, lite0_weights, named_weights, weights_digest
from src.errors import HeatmapError

if TYPE_CHECKING:
    from src.encoders.catalogue import EncoderSpec

_TIMM: dict[str, dict[str, Any]] = {}


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
    told: dict[str, Any] = {}
    repo = None
    if name in ENCODERS:
        return {"weights_sha256": _given(weights) or _of_catalogue(ENCODERS[name])}
    if colon and kind == "timm":
        repo, told = _of_timm(rest)
    elif colon:
        told = {"code_sha256": code_digest(kind)}
    return {"weights_sha256": _given(weights) or _cached(repo), **told}


def _given(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None or not Path(path).exists() else weights_digest(Path(path))


def _cached(repo: str | None) -> str | None:
    return None if repo is None else _given(cached_weights(repo))


def _of_catalogue(spec: EncoderSpec) -> str | None:
    if (named := named_weights(spec)) is not None:
        return _given(named)
    if spec.builder == "efficientnet_lite0":
        try:
            return _given(lite0_weights(spec.name))
        except HeatmapError:  # not installed: told when it is loaded
            return None
    if spec.builder in ("transformers", "conch_v1_5"):
        commit = cached_commit(str(spec.repo))
        return None if commit is None else f"{spec.repo}@{commit}"
    return _cached(spec.repo)


def _of_timm(name: str) -> tuple[str | None, dict[str, Any]]:
    """Return (repository of the weights, preprocessing) as the installed timm says."""
    from src.encoders.timm_models import import_timm, timm_preprocessing

    if name not in _TIMM:
        try:
            found = import_timm(f"timm:{name}").get_pretrained_cfg(name)
            _TIMM[name] = {} if found is None else found.to_dict()
        except (HeatmapError, RuntimeError):  # told when it is loaded
            return None, {}
    config = _TIMM[name]
    try:
        return config.get("hf_hub_id"), {"preprocessing": timm_preprocessing(name, config).identity()}
    except (HeatmapError, KeyError):
        return config.get("hf_hub_id"), {}
