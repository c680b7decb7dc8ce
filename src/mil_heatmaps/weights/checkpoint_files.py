"""Read checkpoint files without ever running code from them.

Everything goes through safetensors or torch's ``weights_only`` unpickler. If a file holds objects beside its weights,
another unpickler turns them into inert records. A whole pickled model is refused; the message gives the line that
converts it if its origin is trusted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.files.inert import Record, is_module, load_inert
from mil_heatmaps.files.safe_pickle import UnsafePickleError
from mil_heatmaps.files.safe_torch import load_torch
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.weights.checkpoint_paths import config_beside, is_index, read_json, shards_of, weights_file
from mil_heatmaps.weights.pathforge_package import is_package
from mil_heatmaps.words import said_by

_FORBIDDEN = re.compile(r"GLOBAL ([\w.<>]+)")
_UNSAFE = re.compile(r"Unsupported (?:global|operand|class)|Trying to call reduce|Can only build|allowed types")
_WHOLE = (
    "holds a whole pickled {what} ({name}); unpickling it could run any code, so it was not loaded. Where you trust "
    "its origin, save its weights alone there: m = torch.load(FILE, map_location='cpu', weights_only=False); "
    "torch.save(m{way}.state_dict(), 'weights.pt')"
)
WEIGHT_PLACES = ("state_dict", "model", "model_state_dict", "net", "network", "learn", "learner")
"""Keys under which files hold their weights, or the whole model."""
_TORCHSCRIPT = re.compile(r"TorchScript")


@dataclass(frozen=True)
class Stored:
    """The content of a file, before it is searched for weights.

    Attributes
    ----------
    content : Any
        Tensors, plain values and containers of them.
    file : Path
        The file that was read: in a folder, the weights chosen; for weights in several files, their index.
    config : dict or None
        Content of `config_file`, a ``config.json`` beside the weights in the same folder.
    parts : tuple of Path
        Every file that the weights came from.
    """

    content: Any
    file: Path
    config: dict[str, Any] | None
    config_file: Path | None = None
    parts: tuple[Path, ...] = ()


def read_stored(path: Path) -> Stored:
    """Return the content of a checkpoint file, or of a folder with one.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or foreign, or holds objects that could run code.
    """
    file = weights_file(path)
    if file.stat().st_size == 0:
        raise CheckpointError(f"{file} is empty (0 bytes): copy it again")
    shards = shards_of(file) if is_index(file) else {}
    content = _read_shards(file, shards) if shards else _read_one(file)
    config_file = config_beside(file, asked_for_folder=path.is_dir())
    config = None if config_file is None else read_json(config_file)
    told = config if isinstance(config, dict) else None
    return Stored(content, file, told, config_file, (file, *sorted(set(shards.values()))))


def _read_one(file: Path) -> Any:
    refuse_stand_in(file, CheckpointError)
    return _read_safetensors(file) if _is_safetensors(file) else _read_torch(file)


def _read_shards(index: Path, shards: Mapping[str, Path]) -> dict[str, torch.Tensor]:
    """Return the tensors an index lists, each from its own file."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(set(shards.values())):
        content, listed = _read_one(file), [key for key, path in shards.items() if path == file]
        there = content if isinstance(content, Mapping) else {}
        if missing := [key for key in listed if not isinstance(there.get(key), torch.Tensor)]:
            raise CheckpointError(f"{file} lacks {', '.join(missing[:8])}, which {index.name} says are in it")
        found |= {key: there[key] for key in listed}
    return found


def _is_safetensors(file: Path) -> bool:
    """Say whether a file is safetensors, judged by its first bytes rather than its name."""
    with file.open("rb") as stream:
        start = stream.read(9)
    if file.suffix == ".safetensors" and not start.startswith((b"PK", b"\x80")):
        return True
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < file.stat().st_size


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(load_file(file, device="cpu"))
    except (SafetensorError, OSError, ValueError) as error:
        what = f"{file} is no whole safetensors file ({said_by(error)})"
        raise CheckpointError(f"{what}: copy or download it again") from error


def _read_torch(file: Path) -> Any:
    try:
        return load_torch(file)
    except UnsafePickleError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # damaged files raise nearly anything; every case ends in one message with a fix
        if (found := _explain_failure(file, error)) is not None:
            raise CheckpointError(found) from error
    try:
        return _without_modules(load_inert(file), file)
    except UnsafePickleError as error:
        raise CheckpointError(str(error)) from error


def _without_modules(content: Any, file: Path) -> Any:
    """Return `content`; raise if it is a whole pickled model or learner, or holds one in place of its weights."""
    places = content.items() if isinstance(content, Mapping) else [("", content)]
    if is_package(content):  # its object lies beside a state dict of the same weights
        return content
    for key, value in places:
        if not isinstance(value, Record):
            continue
        learner = value.attributes.get("model")
        held = is_module(learner) if isinstance(learner, Record) else False
        if is_module(value) or held or not key or key in WEIGHT_PLACES:
            what = "learner" if held else "model" if is_module(value) else "object"
            way = (f"[{key!r}]" if key else "") + (".model" if held else "")
            raise CheckpointError(f"{file} {_WHOLE.format(what=what, name=value.record_name, way=way)}")
    return content


def _explain_failure(file: Path, error: Exception) -> str | None:
    """Return what is wrong with a file that torch would not load, and the fix; None if it only holds objects."""
    message = str(error)
    with file.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(b"\x89HDF"):
        return f"{file} is an HDF5 file, not a PyTorch checkpoint; features go into data_arguments.h5_dir"
    if not start.startswith((b"PK", b"\x80")):
        return f"{file} is not a PyTorch or safetensors checkpoint (it begins with {start!r})"
    if _TORCHSCRIPT.search(message):
        return (
            f"{file} is a TorchScript program, which is code; it was not run. Where you trust its origin: "
            "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), 'weights.pt')"
        )
    if _FORBIDDEN.search(message) or _UNSAFE.search(message):
        return None
    lines = message.strip().splitlines()
    reason = lines[0].partition(". ")[0][:200] if lines else said_by(error)
    return f"{file} is a damaged, truncated or foreign checkpoint ({reason}): copy or download it again"
