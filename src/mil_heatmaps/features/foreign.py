"""Feature files of tools that are told by their form and not read: which tool, what is missing, and the way on."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.files.names import comparable, stem_of

_WAY = (
    "write features and coords, with the attribute patch_size_level0, into an HDF5 file named after the slide: "
    "docs/reference/feature_files.md has the lines of Python for it"
)
_RESOLUTION = "its positions are pixels at the resolution that the extraction was asked for, which no file tells"
_DEEPEST = 4
_MOST_ENTRIES = 20_000


def foreign_tool(path: Path) -> str | None:
    """Return which tool wrote a file or folder that is not read here, and what is missing; None for any other."""
    if path.suffix == ".npy" and (path.name.endswith(".position.npy") or ".features." in path.name):
        return f"TIAToolbox's, before version 2: {_RESOLUTION}"
    if path.name == "file_map.dat":
        return f"TIAToolbox's, before version 2: {_RESOLUTION}"
    if path.suffix == ".parquet":
        return "HistoEncoder's: Parquet is not read here" if path.stem == "features" else None
    if path.suffix == ".zarr" and path.is_dir():
        if (path / "tables").is_dir() and (path / "shapes").is_dir():
            return "LazySlide's (SpatialData): Zarr is not read here"
        if (path / "coordinates").exists() and (path / "probabilities").exists():
            return f"TIAToolbox's, version 2: {_RESOLUTION}"
    return None


def refuse_foreign(path: Path) -> None:
    """Raise a FeatureError for a file of a tool that is told by its form and not read."""
    if (tool := foreign_tool(path)) is not None:
        raise FeatureError(f"{path} is {tool}; {_WAY}")


def foreign_in(folders: Sequence[Path], names: Sequence[str]) -> str:
    """Say which files in some folders are of a tool whose files are not read, those of a slide first; else ""."""
    first: tuple[Path, str] | None = None
    wanted = set(map(comparable, names))
    for path in (path for folder in folders for path in _entries(folder)):
        if (tool := foreign_tool(path)) is None:
            continue
        own = path.parent.name if path.suffix == ".parquet" else path.stem
        if comparable(stem_of(own)) in wanted:
            return f"{path} is {tool}; {_WAY}"
        first = first or (path, tool)
    return "" if first is None else f"{first[0]} is {first[1]}; {_WAY}"


def _entries(folder: Path) -> Iterator[Path]:
    """Yield files and Zarr stores below a folder, not what is inside the stores."""
    seen = 0
    for here, below, names in os.walk(folder):
        depth = len(Path(here).relative_to(folder).parts)
        stores = sorted(name for name in below if name.endswith(".zarr"))
        below[:] = [] if depth >= _DEEPEST else sorted(n for n in below if n not in stores and not n.startswith("."))
        for name in [*stores, *sorted(names)]:
            seen += 1
            if seen > _MOST_ENTRIES:
                return
            yield Path(here, name)
