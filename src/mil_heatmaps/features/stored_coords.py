"""The coordinates of a slide's patches as files hold them, and the grid that they make.

Names ending ``_l0`` are level-0 pixels. A feature file without coordinates, or with coordinates but no word on the size
of a patch, is completed by the coordinates file that goes with it.
"""

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features import checks
from mil_heatmaps.features.find import find_coords_file
from mil_heatmaps.features.geometry import SizeLike, build_grid, geometry_from_attributes, slide_size
from mil_heatmaps.features.row_chunks import read_rows
from mil_heatmaps.features.torch_files import features_from_pt
from mil_heatmaps.files import hdf5
from mil_heatmaps.slides.patch_grid import PatchGrid

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class StoredCoords:
    """Coordinates as a file holds them, not checked, and the attributes that may describe the grid."""

    values: npt.NDArray[Any]
    attributes: dict[str, Any]
    path: Path

    @cached_property
    def coords_l0(self) -> npt.NDArray[np.int64]:
        """(N, 2) corners as int64; FeatureError when they cannot be level-0 pixels."""
        return checks.clean_coords(self.values, str(self.path))


def coords_in(file: h5py.File, path: Path) -> StoredCoords | None:
    """Return the coordinates of an open file; its attributes on ``coords`` win over the others."""
    found = hdf5.dataset(file, "coords")
    attributes = hdf5.attributes(file, "features", "coords")
    return None if found is None else StoredCoords(read_rows(found), attributes, path)


def read_coords_file(path: Path) -> StoredCoords:
    """Return the coordinates a file holds itself; FeatureError when it has none."""
    if (own := own_coords(path)) is not None:
        return own
    if path.suffix == ".pt":
        raise FeatureError(f"{path}: holds no coordinates; give the .h5 file that does")
    with hdf5.open_h5(path) as file:
        raise FeatureError(f"{path}: no dataset 'coords'; it holds {hdf5.contents(file)}")


def own_coords(path: Path) -> StoredCoords | None:
    """Return the coordinates a file holds itself, None when it has none."""
    if path.suffix == ".pt":
        held = features_from_pt(path)[1]
        return None if held is None else StoredCoords(held, {}, path)
    with hdf5.open_h5(path) as file:
        return coords_in(file, path)


def coords_from_elsewhere(path: Path, coords_dir: PathLike | None) -> StoredCoords:
    """Return the coordinates of a file that has none, from the file that goes with it."""
    beside = find_coords_file(path, coords_dir)
    if beside is None:
        raise FeatureError(
            f"{path}: holds features but no coordinates, and no {path.stem}.h5 or {path.stem}_patches.h5 lies"
            " beside it, in ../h5_files, ../patches or ../../patches; give the folder that has it as"
            " coords_dir"
        )
    return read_coords_file(beside)


def attributes_of(stored: StoredCoords, path: Path, coords_dir: PathLike | None) -> dict[str, Any]:
    """Return the attributes that give the patch size, if need be from CLAM's separate coordinates file.

    CLAM's feature files carry no attributes; the file in ``patches`` from which they were made does. It is
    believed only if its coordinates are the same.
    """
    if geometry_from_attributes(stored.attributes).size_l0 is not None:
        return stored.attributes
    beside = find_coords_file(path, coords_dir)
    if beside is None or beside == stored.path:
        return stored.attributes
    try:
        other = read_coords_file(beside)
        same = np.array_equal(other.coords_l0, stored.coords_l0)
    except FeatureError as error:
        logger.debug("%s: not used: %s", beside, error)
        return stored.attributes
    return {**other.attributes, **stored.attributes} if same else stored.attributes


def grid_of(
    stored: StoredCoords,
    path: Path,
    *,
    coords_dir: PathLike | None,
    patch_size_l0: SizeLike | None,
    slide_size_l0: tuple[int, int] | None,
) -> tuple[PatchGrid, list[str]]:
    """Return the grid of the feature or coordinates file `path`, and notes on what was guessed or is odd.

    Raises
    ------
    FeatureError
        Unknown patch size, or coordinates that cannot belong to a slide of `slide_size_l0`.
    """
    where = str(stored.path)
    attributes = attributes_of(stored, path, coords_dir)
    grid, notes = build_grid(stored.coords_l0, attributes, patch_size_l0=patch_size_l0, where=where)
    notes += checks.check_slide_size(slide_size(attributes), slide_size_l0, where)
    return grid, notes + checks.check_on_slide(grid, slide_size_l0, where)
