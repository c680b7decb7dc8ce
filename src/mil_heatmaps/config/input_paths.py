"""Find a file or folder that a config names; say where it was looked for when it is missing."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.weights.hub import hub_hint

Kind = Literal["config", "process_list", "preset", "checkpoint", "file", "folder"]
FolderMap = dict[str, tuple[Path, ...]]
"""Folders by value of the process list's data_dir_key column; only '' when the config gives no mapping."""

CONFIG_DIR = Path("heatmaps/configs")
PRESET_DIR = Path("presets")
PROCESS_LIST_DIR = Path("heatmaps/process_lists")


def resolve_input_path(
    value: str | os.PathLike[str], config_dir: Path | None = None, kind: Kind = "file"
) -> Path:
    """Return the existing path that `value` names.

    Looked for as given (relative to the working directory), then relative to the config's folder, then where
    CLAM keeps such files. A leading ``~`` and ``$VARIABLES`` are expanded.

    Raises
    ------
    ConfigError
        When it is in none of these places (all are listed), or is a file where a folder is wanted.
    """
    places = list(_candidates(os.path.expandvars(os.path.expanduser(os.fspath(value))), config_dir, kind))
    kinds = {
        "folder": Path.is_dir,
        "checkpoint": Path.exists,
    }  # a checkpoint may be a folder, as the hub saves it
    wanted: Callable[[Path], bool] = kinds.get(kind, Path.is_file)
    for place in places:
        if _quietly(wanted, place):
            return place
    noun = {"process_list": "process list"}.get(kind, kind)
    if found := next((place for place in places if _quietly(Path.exists, place)), None):
        wrong = "a file where a folder is wanted" if kind == "folder" else "a folder where a file is wanted"
        raise ConfigError(f"{wrong}: {found}")
    raise ConfigError(
        f"no such {noun}: {str(value)!r}; looked for {', '.join(str(place) for place in places)}"
        f"{hub_hint(value) if kind == 'checkpoint' else ''}"
    )


def _quietly(test: Callable[[Path], bool], place: Path) -> bool:
    try:
        return test(place)
    except (OSError, ValueError):  # a name too long for a file, or with a null byte
        return False


def _candidates(value: str, config_dir: Path | None, kind: Kind) -> Iterator[Path]:
    """Yield each place to look, once, best first."""
    path = Path(value)
    places = [path]
    if not path.is_absolute():
        if config_dir is not None:
            places.append(config_dir / path)
        if kind == "config":
            places.append(CONFIG_DIR / path)
        if kind == "process_list":
            places.append(PROCESS_LIST_DIR / path)
        if kind == "preset":
            places += [PRESET_DIR / path, PRESET_DIR / f"{path}.csv"]
        # A config kept as CLAM keeps it names everything from the folder that holds `heatmaps`.
        if config_dir is not None and config_dir.parts[-2:] == CONFIG_DIR.parts:
            project = config_dir.parent.parent
            places.append(project / path)
            if kind == "process_list":
                places.append(project / PROCESS_LIST_DIR / path)
            if kind == "preset":
                places += [project / PRESET_DIR / path, project / PRESET_DIR / f"{path}.csv"]
    if kind == "config" and path.suffix not in (".yaml", ".yml"):
        places += [place.with_name(place.name + ".yaml") for place in places]
    yield from dict.fromkeys(Path(os.path.abspath(place)) for place in places)


@dataclass(frozen=True)
class InputPaths:
    """The absolute path of everything a config reads.

    A folder map is empty where the config does not have the key. It has one entry, named '', where the key is not a
    mapping.
    """

    slides: FolderMap = field(default_factory=dict)
    features: FolderMap = field(default_factory=dict)
    tissue: FolderMap = field(default_factory=dict)
    coords: FolderMap = field(default_factory=dict)
    scores: FolderMap = field(default_factory=dict)
    roi: FolderMap = field(default_factory=dict)
    qc: FolderMap = field(default_factory=dict)
    beside: FolderMap = field(default_factory=dict)
    process_list: Path | None = None
    preset: Path | None = None
    checkpoint: Path | None = None
    encoder_weights: Path | None = None
    baseline: Path | None = None
    cases: Path | None = None
    concepts: Path | None = None
    head: Path | None = None
    head_names: tuple[str, ...] | None = None
    slide_vectors: Path | None = None
    extra: dict[str, Path] = field(default_factory=dict)
