"""The coordinates of a slide's patches as stored in files, and the resulting grid.

Names ending ``_l0`` are level-0 pixels. A feature file without coordinates, or with coordinates but no patch size, is
completed by its coordinates file.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features import checks
from mil_heatmaps.features.find import find_coords_file
from mil_heatmaps.features.geometry import SizeLike, geometry_from_attributes
from mil_heatmaps.features.pathforge import bag_in, coords_of
from mil_heatmaps.features.place_patches import place_patches
from mil_heatmaps.features.row_chunks import read_rows
from mil_heatmaps.features.slideflow import CENTRES, index_beside, is_index, read_index
from mil_heatmaps.features.torch_files import features_from_pt
from mil_heatmaps.features.units import FEATS
from mil_heatmaps.files import hdf5
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]

FEATURES = ("features", "feats")
"""Names of the dataset of features: in TRIDENT and CLAM, and in STAMP."""


@dataclass(frozen=True)
class StoredCoords:
    """Coordinates as stored in a file, unchecked, and the attributes that may describe the grid.

    Attributes
    ----------
    kept : (N,) bool or None
        Which rows of the file these are, where some rows are augmented copies of others, as in STAMP; None for
        all.
    """

    values: npt.NDArray[Any]
    attributes: dict[str, Any]
    path: Path
    kept: npt.NDArray[np.bool_] | None = None

    @property
    def n(self) -> int:
        """The number of patches; FeatureError when the values have no such shape."""
        plain = self.values.ndim == 2 and self.values.shape[1] == 2
        return len(self.values if plain else checks.clean_coords(self.values, str(self.path)))


def coords_in(file: h5py.File, path: Path, slide: str | None = None) -> StoredCoords | None:
    """Return the coordinates of an open file; attributes on ``coords`` override the others.

    `slide` names the slide, for files with the bags of several slides.
    """
    if (bag := bag_in(file, path, slide)) is not None:
        return StoredCoords(*coords_of(bag, path), path)
    found = hdf5.dataset(file, "coords")
    if found is None:
        return None
    values, kept = read_rows(found), rows_kept(file, path)
    return StoredCoords(values if kept is None else drop_rows(values, kept, path), coords_attributes(file), path, kept)


def told_attributes(path: Path, slide: str | None = None) -> dict[str, Any]:
    """Return the attributes of coordinates in a feature or coordinates file, or a slideflow index beside it."""
    if (index := index_beside(path)) is not None:
        return read_index(index)[1]
    if path.suffix == ".pt":
        return features_from_pt(path).attributes
    with hdf5.open_h5(path) as file:
        bag = bag_in(file, path, slide)
        return coords_attributes(file) if bag is None else coords_of(bag, path)[1]


def coords_attributes(file: h5py.File) -> dict[str, Any]:
    """Return the attributes of coordinates in an open feature, coordinates or score file."""
    attributes = hdf5.attributes(file, "attention_scores", "scores", *FEATURES, "coords")
    if hdf5.dataset(file, "scores") is not None:  # a unit on scores is that of the scores
        attributes["unit"] = hdf5.attributes(file, "coords").get("unit")
    coords, (features, feats) = hdf5.dataset(file, "coords"), (hdf5.dataset(file, name) for name in FEATURES)
    if features is None and feats is not None:
        attributes[FEATS] = f"{FEATURES[1]!r}"
    elif features is not None and coords is not None and coords.dtype.kind == "f":
        attributes[FEATS] = f"coords in {coords.dtype}"
    return attributes


def rows_kept(file: h5py.File, path: Path) -> npt.NDArray[np.bool_] | None:
    """Return which rows are patches, (N,), None for all: STAMP marks training-only copies as ``augmented``."""
    marked = hdf5.dataset(file, "augmented")
    if marked is None:
        return None
    augmented = read_rows(marked).ravel()
    if augmented.dtype.kind not in "biu":
        raise FeatureError(f"{path}: 'augmented' holds {augmented.dtype}; true or false is needed for each row")
    return ~augmented.astype(bool) if augmented.any() else None


def drop_rows(values: npt.NDArray[Any], kept: npt.NDArray[np.bool_], path: Path) -> npt.NDArray[Any]:
    """Return the kept rows of (N, D) or (1, N, D) values; FeatureError when the number of rows differs."""
    rows = values[0] if values.ndim == 3 and len(values) == 1 else values
    if len(rows) != len(kept):
        raise FeatureError(f"{path}: 'augmented' has {len(kept)} rows, but there are {len(rows)}")
    return np.asarray(rows[kept])


def read_coords_file(path: Path, slide: str | None = None) -> StoredCoords:
    """Return the coordinates in the file itself; FeatureError when it has none."""
    if (own := own_coords(path, slide)) is not None:
        return own
    if path.suffix == ".pt":
        raise FeatureError(f"{path}: holds no coordinates; give the .h5 file that does")
    with hdf5.open_h5(path) as file:
        raise FeatureError(f"{path}: no dataset 'coords'; it holds {hdf5.contents(file)}")


def own_coords(path: Path, slide: str | None = None) -> StoredCoords | None:
    """Return the coordinates in the file itself, None when it has none."""
    if is_index(path):
        return StoredCoords(*read_index(path), path)
    if path.suffix == ".pt":
        held = features_from_pt(path)
        return None if held.coords is None else StoredCoords(held.coords, held.attributes, path)
    with hdf5.open_h5(path) as file:
        return coords_in(file, path, slide)


def coords_from_elsewhere(path: Path, coords_dir: PathLike | None, slide: str | None = None) -> StoredCoords:
    """Return the coordinates of a file that has none, from its coordinates file."""
    beside = find_coords_file(path, coords_dir)
    if beside is None:
        raise FeatureError(
            f"{path}: holds features but no coordinates, and no {path.stem}.h5 or {path.stem}_patches.h5 lies"
            " beside it, in ../h5_files, ../patches or ../../patches; give the folder that has it as"
            " coords_dir"
        )
    return read_coords_file(beside, slide)


def attributes_of(stored: StoredCoords, path: Path, coords_dir: PathLike | None) -> dict[str, Any]:
    """Return the attributes with the patch size, if necessary from CLAM's separate coordinates file.

    CLAM's feature files have no attributes; the file in ``patches`` from which they were made has them. It is
    used only if its coordinates are the same.
    """
    told = stored.attributes
    if geometry_from_attributes(told).size_l0 is not None or "tile_size_um" in told or CENTRES in told:
        return told
    beside = find_coords_file(path, coords_dir)
    if beside is None or beside == stored.path:
        return stored.attributes
    try:
        other = read_coords_file(beside)
        theirs, own = (checks.clean_coords(each.values, str(each.path)) for each in (other, stored))
        same = np.array_equal(theirs, own)
    except FeatureError as error:
        logger.debug("%s: not used: %s", beside, error)
        return stored.attributes
    return {**other.attributes, **stored.attributes} if same else stored.attributes


def grid_of(
    stored: StoredCoords,
    path: Path,
    space: SlideSpace,
    *,
    coords_dir: PathLike | None,
    patch_size_l0: SizeLike | None,
) -> tuple[PatchGrid, list[Notice]]:
    """Return the grid of the feature or coordinates file `path` on its slide, and notes; see `place_patches`."""
    attributes = attributes_of(stored, path, coords_dir)
    notes = []
    if stored.kept is not None:
        dropped = len(stored.kept) - stored.n
        text = f"{dropped} of {len(stored.kept)} rows are augmented copies of patches: left out"
        notes.append(Notice("augmented", text, augmented=dropped, rows=len(stored.kept)))
    grid, placed = place_patches(
        stored.values, attributes, space, patch_size_l0=patch_size_l0, where=str(stored.path)
    )
    return grid, notes + placed
