"""Read patch features and coordinates, as TRIDENT, CLAM and others wrote them.

Names ending ``_l0`` are level-0 pixels. What the attributes of a file say is trusted, what its folder is
called is not. Everything that had to be guessed is logged, and kept in `PatchFeatures.notes`.
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
from mil_heatmaps.features.geometry import SizeLike, build_grid, geometry_from_attributes
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.features.row_chunks import read_rows
from mil_heatmaps.features.torch_files import features_from_pt
from mil_heatmaps.files import hdf5
from mil_heatmaps.slides.patch_grid import PatchGrid

__all__ = [
    "FeatureInfo",
    "feature_info",
    "patch_attributes",
    "read_coords",
    "read_features",
]

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class FeatureInfo:
    """What a feature file says of itself, read without its numbers.

    Attributes
    ----------
    path : Path
    n, width : int
        Patches, and numbers a patch.
    dtype : str
    encoder : str or None
        From the attribute, else from a folder called ``features_<encoder>``.
    has_coords : bool
    slide_size_l0 : (width, height) or None
        Of the slide it was made on, where the file says so.
    attributes : dict
        All attributes as plain values; those of ``coords`` win over those of ``features``.
    """

    path: Path
    n: int
    width: int
    dtype: str
    encoder: str | None
    has_coords: bool
    slide_size_l0: tuple[int, int] | None
    attributes: dict[str, Any]


@dataclass(frozen=True)
class _Coords:
    raw: npt.NDArray[Any]
    attributes: dict[str, Any]
    path: Path


def read_features(
    path: PathLike,
    *,
    patch_size_l0: SizeLike | None = None,
    slide_size_l0: tuple[int, int] | None = None,
    coords_dir: PathLike | None = None,
) -> PatchFeatures:
    """Return the features of one slide with their patches.

    Parameters
    ----------
    path : file
        TRIDENT or CLAM ``.h5`` (``features`` and ``coords``), or a ``.pt`` whose coordinates lie in an
        ``.h5`` of the same stem: beside it, in ``../h5_files``, ``../patches``, ``../../patches`` or
        `coords_dir`.
    patch_size_l0 : float or (width, height), optional
        Used where the file does not say how large its patches are; it then wins over a guess from the
        coordinates, which cannot see overlap.
    slide_size_l0 : (width, height), optional
        Lets a file of another slide be refused.
    coords_dir : folder, optional
        Where to look first for the coordinates of a ``.pt``.

    Raises
    ------
    FeatureError
        Missing, damaged, empty or unsafe file, no features or coords in it, different lengths, NaN or
        infinite features, one vector for the whole slide, coordinates that cannot belong to the slide,
        unknown patch size.
    """
    path = Path(path)
    coords: _Coords | None
    if path.suffix == ".pt":
        raw, held = features_from_pt(path)
        coords = None if held is None else _Coords(held, {}, path)
        attributes: dict[str, Any] = {}
    else:
        with hdf5.open_h5(path) as file:
            source = _features_dataset(file, path)
            found = hdf5.dataset(file, "coords")
            checks.check_feature_shape(source.shape, source.dtype, str(path), _rows(found))
            raw = read_rows(source)
            attributes = hdf5.attributes(file, "coords", "features")
            coords = None if found is None else _Coords(read_rows(found), _coords_attributes(file), path)
    notes = [note] if (note := hdf5.lock_note(path)) else []
    coords = coords or _coords_from_elsewhere(path, coords_dir)
    points = checks.clean_coords(coords.raw, str(coords.path))
    features = checks.clean_features(raw, str(path), len(points))
    _check_lengths(features, points, path, coords.path)
    geometry = _with_sibling_attributes(coords, points, path, coords_dir)
    grid, guesses = build_grid(points, geometry, patch_size_l0=patch_size_l0, where=str(coords.path))
    notes += guesses + checks.check_slide_size(_slide_size(geometry), slide_size_l0, str(coords.path))
    notes += checks.check_on_slide(grid, slide_size_l0, str(coords.path))
    for text in notes:
        logger.info("%s: %s", path.name, text)
    return PatchFeatures(grid, features, _encoder(attributes, path), path, tuple(notes))


def read_coords(
    path: PathLike,
    *,
    patch_size_l0: SizeLike | None = None,
    slide_size_l0: tuple[int, int] | None = None,
) -> PatchGrid:
    """Return the patches of a coordinates file or a feature file (``.h5``), without reading any features.

    Parameters and errors are those of `read_features`.
    """
    path = Path(path)
    coords = _read_coords_file(path)
    points = checks.clean_coords(coords.raw, str(path))
    geometry = _with_sibling_attributes(coords, points, path, None)
    grid, notes = build_grid(points, geometry, patch_size_l0=patch_size_l0, where=str(path))
    notes += checks.check_slide_size(_slide_size(geometry), slide_size_l0, str(path))
    notes += checks.check_on_slide(grid, slide_size_l0, str(path))
    for text in notes:
        logger.info("%s: %s", path.name, text)
    return grid


def patch_attributes(path: PathLike, coords_dir: PathLike | None = None) -> dict[str, Any]:
    """Return the attributes that describe the patches of a feature or coordinates file, as plain values.

    Where the file itself says nothing, they are those of the coordinates file that goes with it, if it has the same
    coordinates. `coords_dir` and errors are those of `read_features`.
    """
    path = Path(path)
    coords = _own_coords(path) or _coords_from_elsewhere(path, coords_dir)
    return _with_sibling_attributes(coords, checks.clean_coords(coords.raw, str(coords.path)), path, coords_dir)


def feature_info(path: PathLike) -> FeatureInfo:
    """Return what a feature file says of itself; milliseconds for HDF5, a ``.pt`` file has to be loaded.

    Raises
    ------
    FeatureError
        As `read_features`, as far as it shows without reading the numbers.
    """
    path = Path(path)
    if path.suffix == ".pt":
        features, coords = features_from_pt(path)
        n, width = checks.check_feature_shape(features.shape, features.dtype, str(path))
        encoder = _encoder({}, path)
        return FeatureInfo(path, n, width, str(features.dtype), encoder, coords is not None, None, {})
    with hdf5.open_h5(path) as file:
        source = _features_dataset(file, path)
        found = hdf5.dataset(file, "coords")
        n, width = checks.check_feature_shape(source.shape, source.dtype, str(path), _rows(found))
        attributes = hdf5.attributes(file, "features", "coords")
        encoder = _encoder(hdf5.attributes(file, "coords", "features"), path)
        size = _slide_size(attributes)
        return FeatureInfo(path, n, width, str(source.dtype), encoder, found is not None, size, attributes)


def _features_dataset(file: h5py.File, path: Path) -> h5py.Dataset:
    found = hdf5.dataset(file, "features")
    if found is not None:
        return found
    hint = "; this is a coordinates file, the features are in another one" if "coords" in file else ""
    raise FeatureError(f"{path}: no dataset 'features'; it holds {hdf5.contents(file)}{hint}")


def _coords_attributes(file: h5py.File) -> dict[str, Any]:
    """Return the attributes that may describe the grid: those on ``coords`` win."""
    return hdf5.attributes(file, "features", "coords")


def _read_coords_file(path: Path) -> _Coords:
    if (own := _own_coords(path)) is not None:
        return own
    if path.suffix == ".pt":
        raise FeatureError(f"{path}: holds no coordinates; give the .h5 file that does")
    with hdf5.open_h5(path) as file:
        raise FeatureError(f"{path}: no dataset 'coords'; it holds {hdf5.contents(file)}")


def _own_coords(path: Path) -> _Coords | None:
    """Return the coordinates a file holds itself, None when it has none."""
    if path.suffix == ".pt":
        held = features_from_pt(path)[1]
        return None if held is None else _Coords(held, {}, path)
    with hdf5.open_h5(path) as file:
        found = hdf5.dataset(file, "coords")
        return None if found is None else _Coords(read_rows(found), _coords_attributes(file), path)


def _coords_from_elsewhere(path: Path, coords_dir: PathLike | None) -> _Coords:
    """Return the coordinates of a file that has none, from the file that goes with it."""
    beside = find_coords_file(path, coords_dir)
    if beside is None:
        raise FeatureError(
            f"{path}: holds features but no coordinates, and no {path.stem}.h5 or {path.stem}_patches.h5 lies"
            " beside it, in ../h5_files, ../patches or ../../patches; give the folder that has it as"
            " coords_dir"
        )
    return _read_coords_file(beside)


def _with_sibling_attributes(
    coords: _Coords, points: npt.NDArray[np.int64], path: Path, coords_dir: PathLike | None
) -> dict[str, Any]:
    """Return the attributes that give the patch size, if need be from CLAM's separate coordinates file.

    CLAM's feature files carry no attributes; the file in ``patches`` from which they were made does. It is
    believed only if its coordinates are the same.
    """
    if geometry_from_attributes(coords.attributes).size_l0 is not None:
        return coords.attributes
    beside = find_coords_file(path, coords_dir)
    if beside is None or beside == coords.path:
        return coords.attributes
    try:
        other = _read_coords_file(beside)
        same = np.array_equal(checks.clean_coords(other.raw, str(beside)), points)
    except FeatureError as error:
        logger.debug("%s: not used: %s", beside, error)
        return coords.attributes
    return {**other.attributes, **coords.attributes} if same else coords.attributes


def _check_lengths(
    features: npt.NDArray[Any], points: npt.NDArray[np.int64], path: Path, coords_path: Path
) -> None:
    if len(features) != len(points):
        where = "" if coords_path == path else f" in {coords_path}"
        raise FeatureError(
            f"{path}: {len(features)} rows of features but {len(points)} coordinates{where}; they must belong"
            " together row by row: extract the features of this slide again"
        )


def _rows(found: h5py.Dataset | None) -> int | None:
    return None if found is None or not found.shape else int(found.shape[-2] if found.ndim > 1 else 0)


def _slide_size(attributes: dict[str, Any]) -> tuple[int, int] | None:
    try:
        width, height = int(attributes["level0_width"]), int(attributes["level0_height"])
    except (KeyError, TypeError, ValueError):
        return None
    return (width, height) if min(width, height) > 0 else None


def _encoder(attributes: dict[str, Any], path: Path) -> str | None:
    named = hdf5.text_attribute(attributes, "encoder")
    folder = path.parent.name
    if named is None and folder.startswith("features_") and len(folder) > len("features_"):
        return folder.removeprefix("features_")
    return named
