"""Weights from the Hugging Face hub, downloaded only when a user names them."""

import importlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import CheckpointError, MissingDependencyError
from mil_heatmaps.words import install_line

logger = logging.getLogger(__name__)

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl")
"""Suffixes of files with weights."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""The hub's names for a model in one file, best first."""

SCHEME = "hf:/"  # hf://owner/name: a Path drops the second slash
_WANTED = [
    *HUB_FILES, "config.json",
    "model-*.safetensors", "pytorch_model-*.bin", "*.index.json",  # of models in several files
]  # fmt: skip


def is_hub_name(path: str | os.PathLike[str]) -> bool:
    """Say whether a checkpoint is a name on the hub: ``hf://owner/name`` or ``hf://owner/name@revision``."""
    return os.fspath(path).startswith(SCHEME)


def hub_hint(path: str | os.PathLike[str]) -> str:
    """Return a hint for the message that no such checkpoint exists, if the path reads like a name on the hub."""
    text = os.fspath(path)
    if not re.fullmatch(r"[\w-]+/[\w.-]+", text) or Path(text).suffix in SUFFIXES:
        return ""
    return f"; weights on the Hugging Face hub are named hf://{text}"


def name_of_weights(model_name: str | None) -> str | None:
    """Return ``hf://owner/name`` of the public weights that a MIL-Lab name stands for, None if its task is ``none``.

    ``abmil.base.uni_v2.pc108-24k`` and ``mahmoodlab/abmil.base.uni_v2.pc108-24k`` name weights, ``abmil`` does not.
    """
    if model_name is None:
        return None
    owner, _, name = model_name.rpartition("/")
    task = (name.split(".", 3) + ["none"] * 4)[3]
    return f"hf://{owner or 'mahmoodlab'}/{name}" if owner or task != "none" else None


def download(path: str | os.PathLike[str]) -> Path:
    """Return the local folder with the weights of ``hf://owner/name``, downloading files that are not cached.

    Only weights and configuration are downloaded, never code. ``HF_HUB_OFFLINE=1`` and ``HF_HOME`` work as in
    every program that uses the hub.

    Raises
    ------
    MissingDependencyError
        huggingface_hub is not installed.
    CheckpointError
        There is no such repository, no access, or no network.
    """
    hub = _hub(f"downloading weights needs huggingface_hub: {install_line('hub')}, or give a local checkpoint")
    repository, _, revision = os.fspath(path)[len(SCHEME) :].lstrip("/").partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise CheckpointError(f"{os.fspath(path)} must read hf://owner/name")
    logger.info("looking for %s on the Hugging Face hub", repository)
    try:
        return Path(hub.snapshot_download(repository, revision=revision or None, allow_patterns=_WANTED))
    except Exception as error:  # the hub's errors share no base class across its versions
        fix = "or give a downloaded folder as the checkpoint"
        raise explain_failure(error, f"the weights {repository}", repository, fix) from error


def fetch_weights(repo: str, missing: str) -> Path:
    """Return the single file of weights in a repository, downloaded if it is not cached.

    Raises
    ------
    MissingDependencyError
        huggingface_hub is not installed; the message is `missing`.
    Exception
        Any error of the hub, see `explain_failure`.
    """
    hub = _hub(missing)
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    failures: list[Exception] = []
    for name in HUB_FILES:
        try:
            return Path(hub.hf_hub_download(repo, name))
        except EntryNotFoundError as error:  # no such file, or not cached and no network: try the other name
            failures.append(error)
    raise next((error for error in failures if isinstance(error, LocalEntryNotFoundError)), failures[0])


def cached_weights(repo: str) -> Path | None:
    """Return the weights of a repository if they are in the hub's cache, without network access."""
    return next((path for name in HUB_FILES if (path := _cached(repo, name)) is not None), None)


def cached_snapshot(repo: str) -> Path | None:
    """Return the folder of a repository in the hub's cache, named after its commit, without network access."""
    found = _cached(repo, "config.json")
    return None if found is None else found.parent


def explain_failure(error: Exception, what: str, repo: str, fix: str, *, gated: bool = False) -> CheckpointError:
    """Return the error that says why `what` cannot be downloaded from a repository, and what to do.

    Parameters
    ----------
    what : str
        In the plural, as in "the weights of encoder uni_v1".
    fix : str
        Another way to provide them.
    gated : bool
        Whether the repository is known to need access: without access, the hub says that it does not exist.
    """
    page = f"https://huggingface.co/{repo}"
    kinds = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    absent = "RepositoryNotFoundError" in kinds
    if kinds & {"GatedRepoError", "LocalTokenNotFoundError"} or (absent and gated):
        return CheckpointError(
            f"{what} are gated: request access at {page}, then log in with `hf auth login` or set HF_TOKEN; {fix}"
        )
    if absent:
        return CheckpointError(
            f"{what} are not at {page}, or only for those who log in with `hf auth login` or set HF_TOKEN; {fix}"
        )
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}:
        first = f"request access at {page}, then, " if gated else ""
        return CheckpointError(
            f"{what} are not in the local cache, and the hub cannot be asked (offline, or HF_HUB_OFFLINE is set): "
            f"{first}where there is a network, run `hf download {repo}` and copy the cache (HF_HOME); {fix}"
        )
    summary = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CheckpointError(f"cannot get {what} from {page} ({summary}); {fix}")


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes: transformers wraps the hub's errors in an OSError."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _cached(repo: str, name: str) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(repo, name)
    return Path(found) if isinstance(found, str) else None


def _hub(missing: str) -> Any:
    """Return the package huggingface_hub, or raise a `MissingDependencyError` that says `missing`."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise MissingDependencyError(missing) from error
