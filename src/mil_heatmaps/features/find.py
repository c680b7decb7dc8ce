"""Find the feature file of a slide, by exact name: only the last suffix is cut, for TCGA names hold dots."""

import difflib
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from mil_heatmaps.errors import FeatureError

SUFFIXES = (".h5", ".hdf5", ".pt")
"""Best first: an HDF5 file holds coordinates too, a ``.pt`` file needs them from elsewhere."""

_LAYOUT = ("", "h5_files", "pt_files")
"""Folders below the given one that are looked into first; the last two are CLAM's."""

_SKIPPED_FOLDERS = ("patches", "slide_features_", "wsi_states", "runs", "patch_images", "heatmaps_")
"""Folders of TRIDENT and CLAM that hold other files of the same name."""

_INDEX_SECONDS = 30


def find_feature_file(h5_dir: str | os.PathLike[str], slide_id: str) -> Path:
    """Return the feature file of a slide: ``<slide_id>.h5`` (or ``.hdf5``, ``.pt``) in or below `h5_dir`.

    The folder itself and CLAM's ``h5_files`` and ``pt_files`` come first, any other folder below it is the
    fallback. `h5_dir` may also be the file itself.

    Raises
    ------
    FeatureError
        No such folder, no such file (says which names come close), or several candidates (lists them).
    """
    folder = Path(h5_dir)
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise FeatureError(f"{folder}: there is no such folder of features")
    for below in _LAYOUT:
        for suffix in SUFFIXES:
            candidate = folder / below / f"{slide_id}{suffix}"
            if candidate.is_file():
                return candidate
    # One walk serves the slides of a cohort; it is repeated now and then, as files may still be arriving.
    index = _index(folder, int(time.monotonic() // _INDEX_SECONDS))
    found = [path for path in index.get(slide_id, []) if path.is_file()]
    if not found:
        raise FeatureError(_missing(folder, slide_id, list(index)))
    return _one(folder, slide_id, found)


def list_feature_files(h5_dir: str | os.PathLike[str]) -> dict[str, Path]:
    """Return every slide's feature file in or below `h5_dir`, by slide id, in order of the ids.

    Raises
    ------
    FeatureError
        No such folder, or a slide with several candidates (lists them).
    """
    folder = Path(h5_dir)
    if not folder.is_dir():
        raise FeatureError(f"{folder}: there is no such folder of features")
    return {slide_id: _one(folder, slide_id, paths) for slide_id, paths in sorted(_walk(folder).items())}


def find_coords_file(
    feature_file: Path, coords_dir: str | os.PathLike[str] | None = None, *, stem: str | None = None
) -> Path | None:
    """Return the coordinates file that belongs to a feature file, None when there is none.

    Looked for in `coords_dir` (and its ``patches``), beside the file, in ``../h5_files``, ``../patches`` and
    ``../../patches``, as ``<slide>.h5`` or ``<slide>_patches.h5``.
    """
    stem = stem or feature_file.stem
    # Plain strings: this is asked for every slide of a cohort, and paths as objects cost ten times as much.
    own = os.path.normpath(feature_file)
    for folder in coords_folders(os.path.dirname(feature_file), coords_dir):
        for name in (f"{stem}_patches.h5", f"{stem}.h5"):
            candidate = os.path.join(folder, name)
            if os.path.isfile(candidate) and (found := os.path.normpath(candidate)) != own:
                return Path(found)
    return None


def coords_folders(parent: str, coords_dir: str | os.PathLike[str] | None) -> list[str]:
    """Return the folders that `find_coords_file` looks in, for features in `parent`, which is one of them."""
    given = [] if coords_dir is None else [os.fspath(coords_dir), os.path.join(coords_dir, "patches")]
    beside = (os.path.join(parent, place) for place in ("../h5_files", "../patches", "../../patches"))
    return [*given, parent, *beside]


@lru_cache(maxsize=8)
def _index(folder: Path, _now: int) -> dict[str, list[Path]]:
    return _walk(folder)


def _walk(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in _files(folder):
        found.setdefault(path.stem, []).append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", *_SKIPPED_FOLDERS)) and name != "__pycache__"
        )
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield Path(root, name)


def _one(folder: Path, slide_id: str, paths: list[Path]) -> Path:
    """Return the best of several candidates if one is: the same features as HDF5 and as ``.pt``."""
    if len(paths) == 1:
        return paths[0]
    for below in _LAYOUT:
        for suffix in SUFFIXES:
            if (candidate := folder / below / f"{slide_id}{suffix}") in paths:
                return candidate
    homes = {path.parent.parent if path.parent.name in _LAYOUT else path.parent for path in paths}
    if len(homes) == 1:
        return min(paths, key=lambda path: SUFFIXES.index(path.suffix))
    listed = ", ".join(str(path.relative_to(folder)) for path in paths)
    raise FeatureError(
        f"{folder}: several feature files for slide {slide_id!r}: {listed}; give the folder of one encoder"
    )


def _missing(folder: Path, slide_id: str, known: list[str]) -> str:
    text = f"{folder}: no features for slide {slide_id!r} ({slide_id}.h5 or .pt)"
    close = difflib.get_close_matches(slide_id, known[:20_000], n=3, cutoff=0.8)
    if close:
        return f"{text}; names that come close: {', '.join(close)}"
    return f"{text}; the folder holds {len(known)} feature file{'' if len(known) == 1 else 's'}" + (
        f", such as {known[0]}" if known else ""
    )
