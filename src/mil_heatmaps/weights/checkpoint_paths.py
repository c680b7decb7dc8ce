"""Find the files of a checkpoint: the weights in a folder, the shards of an index, the config.json beside them.

The module does not import torch, so that a run that reuses everything need not load it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.files import json_files
from mil_heatmaps.weights.hub import HUB_FILES, SUFFIXES, hub_hint
from mil_heatmaps.words import said_by

INDEX_NAMES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Hugging Face's names for the list of the files that a large model is split into."""
WEIGHT_NAMES = (*HUB_FILES, *INDEX_NAMES, "model.pt", "model.pth", "model.bin", "best_valid.pth")
"""Names of the weights in a folder, best first."""
CONFIG_NAME = "config.json"
SLIDEFLOW_NAME = "mil_params.json"
"""Name of slideflow's settings beside the folder ``models`` with the weights."""
MOST_JSON_BYTES = 32 * 2**20
"""A larger JSON file is not read: an index of shards has about a hundred bytes per tensor."""

_LONGEST_NAME = 255
"""Characters of a file's name on any usual drive."""


def checkpoint_parts(path: Path) -> list[Path]:
    """Return every file of a checkpoint's weights: a single file, or an index and its shards.

    Raises
    ------
    CheckpointError
        There is nothing, there are several checkpoints in a folder, or an index that cannot be used.
    """
    file = weights_file(path)
    return [file, *sorted(set(shards_of(file).values()))] if is_index(file) else [file]


def config_of(path: Path) -> Path | None:
    """Return the config.json that belongs to the checkpoint at `path`, None if there is none."""
    return config_beside(weights_file(path), asked_for_folder=path.is_dir())


def weights_file(path: Path) -> Path:
    """Return the file of weights, or the index of several, for a path to a file or folder."""
    try:
        there = path.exists()
    except (OSError, ValueError) as error:  # a name too long for a file, or with a null byte
        why = getattr(error, "strerror", None) or said_by(error)
        raise CheckpointError(f"no checkpoint at {str(path)[:80]}…: {why}") from error
    if not there:
        raise CheckpointError(f"no checkpoint at {path}{hub_hint(path)}")
    return _file_in(path) if path.is_dir() else path


def _file_in(folder: Path) -> Path:
    """Return the weights in a folder, or in the only folder below it that has weights (save_model doubles names)."""
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return folder / name
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in SUFFIXES)
    if len(files) == 1:
        return files[0]
    if files:
        raise CheckpointError(
            f"{folder} holds several checkpoints ({', '.join(p.name for p in files[:8])}): name one of them"
        )
    below = [p for p in sorted(folder.iterdir()) if p.is_dir() and any(_weights_below(p))]
    if len(below) == 1:
        return _file_in(below[0])
    found = f"several models ({', '.join(p.name for p in below[:8])}): name one of them" if below else "no checkpoint"
    raise CheckpointError(f"{folder} holds {found} (looked for {', '.join(WEIGHT_NAMES)})")


def _weights_below(folder: Path) -> Iterator[Path]:
    return (p for pattern in ("*", "*/*") for p in folder.glob(pattern) if p.suffix in SUFFIXES)


def is_index(file: Path) -> bool:
    """Say whether a file lists shards, by its name."""
    return file.name.endswith(".index.json")


def shards_of(index: Path) -> dict[str, Path]:
    """Return tensor name -> file beside the index, as its ``weight_map`` says.

    Raises
    ------
    CheckpointError
        There is no such map, a file is missing, or a file is not directly in the index's folder.
    """
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{index} is not an index of weights: it needs a weight_map, tensor name to file name")
    found: dict[str, Path] = {}
    for key, name in names.items():
        # A name that contains a path could read any file of this machine.
        if name != Path(name).name or "\\" in name or name in ("", ".", "..") or len(name) > _LONGEST_NAME:
            said = repr(name[:_LONGEST_NAME])
            raise CheckpointError(f"{index} names {said}, which is not a file in its own folder: not read")
        found[key] = index.with_name(name)
    missing = sorted({path.name for path in found.values() if not path.is_file()})
    if missing:
        raise CheckpointError(f"{index} names {', '.join(missing[:8])}, not there: copy or download the whole folder")
    return found


def config_beside(file: Path, *, asked_for_folder: bool) -> Path | None:
    """Return the config.json or slideflow's mil_params.json that belongs to a file of weights, None without one."""
    path = file.with_name(CONFIG_NAME)
    belongs = asked_for_folder or file.name in WEIGHT_NAMES
    if belongs and path.is_file():
        return path
    homes = [file.parent, *([file.resolve().parent.parent] if file.resolve().parent.name == "models" else [])]
    return next((home / SLIDEFLOW_NAME for home in homes if (home / SLIDEFLOW_NAME).is_file()), None)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file beside weights; raise a `CheckpointError` if it is damaged or missing."""
    return json_files.read_json(path, CheckpointError, most_bytes=MOST_JSON_BYTES)
