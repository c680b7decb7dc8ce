"""Find the feature file of a slide, and the coordinates that belong to it."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.foreign import foreign_in
from mil_heatmaps.features.slideflow import index_beside
from mil_heatmaps.files.names import comparable, spellings, stem_of
from mil_heatmaps.files.stem_index import StemIndex

SUFFIXES = (".h5", ".hdf5", ".pt")

_OTHER_FOLDERS = ("patches", "patch_images", "slide_features_", "wsi_states", "runs", "heatmaps_")
"""Folders of TRIDENT and CLAM whose files have the names of feature files but hold other data."""


_MOST_OPENED = 64
"""Maximum number of HDF5 files in a folder that are opened to look for bags of several slides."""


class FeatureIndex(StemIndex):
    """Feature files by slide_id; of CLAM's ``.h5`` and ``.pt`` it takes the ``.h5``, which also holds coordinates.

    A PathForge file counts as every bag in it; only a limited number of files are opened to check.
    """

    def __init__(self, folders: Sequence[Path], *, recursive: bool = True) -> None:
        super().__init__(
            folders, SUFFIXES, recursive=recursive, noun="feature file", error=FeatureError, skip=_OTHER_FOLDERS
        )

    @cached_property
    def by_stem(self) -> dict[str, list[Path]]:
        """The files of each stem, and of each bag in a file that holds bags."""
        by_stem = super().by_stem
        files = [(stem, path) for stem, paths in by_stem.items() for path in paths if path.suffix != ".pt"]
        for stem, path in files if len(files) <= _MOST_OPENED else ():
            bags = dict.fromkeys(comparable(stem_of(bag)) for bag in _bags(path))
            if len(bags) > 1 and stem not in bags and by_stem[stem] == [path]:
                del by_stem[stem]  # the name of a cohort, not of a slide
            for bag in bags:
                if path not in by_stem.setdefault(bag, []):
                    by_stem[bag].append(path)
        return by_stem

    def unused(self, *names: str, longer: bool = False) -> str:
        """Say which files of a slide cannot be used, and why; includes recognised files of other tools."""
        return foreign_in(self.folders, names) or super().unused(*names, longer=longer)

    def nearest(self, paths: Sequence[Path]) -> Sequence[Path]:
        """Return the files that hold coordinates, or all if none does; of these, the nearest ones."""
        if len(paths) == 1:
            return paths
        return super().nearest([path for path in paths if path.suffix != ".pt"] or paths)


def find_coords_file(
    feature_file: Path, coords_dir: str | os.PathLike[str] | None = None, folders: Sequence[str] | None = None
) -> Path | None:
    """Return the coordinates file that belongs to a feature file, None when there is none.

    Searched in `coords_dir` (and its ``patches``), beside the file, in ``../h5_files``, ``../patches`` and
    ``../../patches``, as ``<slide>.h5`` or ``<slide>_patches.h5``. `coords_dir` may be the coordinates file itself. A
    slideflow index beside the file comes before other coordinates. `folders` are those of these folders that exist
    (`coords_folders`), if the caller knows them.
    """
    # Plain strings: this runs for every slide of a cohort, and path objects cost ten times as much.
    own = os.path.normpath(feature_file)
    if coords_dir is not None and os.path.isfile(coords_dir):
        return Path(coords_dir)
    if own.endswith(".pt") and (index := index_beside(feature_file)) is not None:
        return index
    names = _coords_names(feature_file.stem)
    for folder in coords_folders(os.path.dirname(feature_file), coords_dir) if folders is None else folders:
        for name in names:
            candidate = f"{folder}/{name}"
            if candidate != own and os.path.isfile(candidate) and (found := os.path.normpath(candidate)) != own:
                return Path(found)
    return None


def _coords_names(stem: str) -> list[str]:
    """Return the names of coordinates files for features named ``S`` or ``S.svs``, best first."""
    stems = dict.fromkeys((stem_of(stem), stem))
    return [name for stem in stems for end in ("_patches.h5", ".h5") for name in spellings(stem + end)]


def coords_named_like(slide_name: str, coords_dir: Path) -> Path | None:
    """Return the coordinates file in a folder (or its ``patches``) that is named after the slide's whole file name."""
    for folder in (coords_dir, coords_dir / "patches"):
        for end in ("_patches.h5", ".h5"):
            for name in spellings(slide_name + end):
                if (path := folder / name).is_file():
                    return path
    return None


def coords_folders(parent: str, coords_dir: str | os.PathLike[str] | None) -> list[str]:
    """Return the existing folders that `find_coords_file` searches for features in `parent`."""
    given = [] if coords_dir is None else [os.fspath(coords_dir), os.path.join(coords_dir, "patches")]
    places = (".", "../h5_files", "../patches", "../../patches")
    beside = (os.path.normpath(os.path.join(parent, place)) for place in places)
    return [folder for folder in (*given, *beside) if os.path.isdir(folder)]


def _bags(path: Path) -> list[str]:
    """Return the bags in a PathForge file, none for any other file or an unreadable one."""
    from mil_heatmaps.features.pathforge import bag_names
    from mil_heatmaps.files.hdf5 import open_h5

    try:
        with open_h5(path) as file:
            return bag_names(file)
    except FeatureError:  # the error is raised again where its features are read
        return []
