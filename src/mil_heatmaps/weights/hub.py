"""Weights from the Hugging Face hub, downloaded only when a user names them."""

import logging
import os
import re
from pathlib import Path

from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.words import install_line, lacking

logger = logging.getLogger(__name__)

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl")
"""What files of weights end in."""

SCHEME = "hf:/"  # hf://owner/name, whose second slash a Path drops
_WANTED = [
    "model.safetensors", "pytorch_model.bin", "config.json",
    "model-*.safetensors", "pytorch_model-*.bin", "*.index.json",  # of models in several files
]  # fmt: skip


def is_hub_name(path: str | os.PathLike[str]) -> bool:
    """Say whether a checkpoint is named on the hub: ``hf://owner/name`` or ``hf://owner/name@revision``."""
    return os.fspath(path).startswith(SCHEME)


def hub_hint(path: str | os.PathLike[str]) -> str:
    """Return what to add to the message that no such checkpoint exists, if it reads like a name on the hub."""
    text = os.fspath(path)
    if not re.fullmatch(r"[\w-]+/[\w.-]+", text) or Path(text).suffix in SUFFIXES:
        return ""
    return f"; weights on the Hugging Face hub are named hf://{text}"


def name_of_weights(model_name: str | None) -> str | None:
    """Return ``hf://owner/name`` of the public weights a MIL-Lab name stands for, None when its task is ``none``.

    ``abmil.base.uni_v2.pc108-24k`` and ``mahmoodlab/abmil.base.uni_v2.pc108-24k`` name weights, ``abmil`` does not.
    """
    if model_name is None:
        return None
    owner, _, name = model_name.rpartition("/")
    task = (name.split(".", 3) + ["none"] * 4)[3]
    return f"hf://{owner or 'mahmoodlab'}/{name}" if owner or task != "none" else None


def download(path: str | os.PathLike[str]) -> Path:
    """Return the local folder with the weights of ``hf://owner/name``, downloading what is not cached.

    Only weights and configuration are fetched, never code. ``HF_HUB_OFFLINE=1`` and ``HF_HOME`` work as in
    every program that uses the hub.

    Raises
    ------
    MissingDependencyError
        huggingface_hub is not installed.
    CheckpointError
        No such repository, no access, or no network.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        cure = f"{install_line('hub')}, or give a local checkpoint"
        raise lacking("downloading weights", "huggingface_hub", cure, error) from error
    repository, _, revision = os.fspath(path)[len(SCHEME) :].lstrip("/").partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise CheckpointError(f"{os.fspath(path)} must read hf://owner/name")
    logger.info("looking for %s on the Hugging Face hub", repository)
    try:
        folder = snapshot_download(repository, revision=revision or None, allow_patterns=_WANTED)
    except Exception as error:  # the hub's errors share no base class across its versions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"cannot get {repository} from the Hugging Face hub ({type(error).__name__}: {reason}): gated "
            "models need access granted on their page and `hf auth login`; offline (HF_HUB_OFFLINE=1) only "
            "cached ones load; a downloaded folder can be given as the checkpoint"
        ) from error
    return Path(folder)
