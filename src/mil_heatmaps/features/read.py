"""Read patch features and coordinates, as written by TRIDENT, CLAM and others.

Names ending ``_l0`` are level-0 pixels. The attributes of a file are trusted, the name of its folder is not. Every
guess is logged and stored in `PatchFeatures.notes`.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features import checks
from mil_heatmaps.features.foreign import refuse_foreign
from mil_heatmaps.features.geometry import SizeLike, slide_size
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.features.pathforge import StoredBag, bag_in, features_of
from mil_heatmaps.features.row_chunks import read_rows
from mil_heatmaps.features.stored_coords import (
    FEATURES,
    PathLike,
    StoredCoords,
    attributes_of,
    coords_from_elsewhere,
    coords_in,
    drop_rows,
    grid_of,
    own_coords,
    read_coords_file,
    rows_kept,
)
from mil_heatmaps.features.torch_files import features_from_pt
from mil_heatmaps.features.units import corners_um
from mil_heatmaps.files import hdf5
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace

__all__ = [
    "FeatureInfo",
    "feature_info",
    "patch_attributes",
    "place_coords",
    "read_coords",
    "read_features",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureInfo:
    """What a feature file says about itself, without its numbers.

    Attributes
    ----------
    path : Path
    n, width : int
        Number of patches, and of features per patch.
    dtype : str
    encoder : str or None
        From the attribute, else from a folder named ``features_<encoder>``.
    has_coords : bool
    slide_size_l0 : (width, height) or None
        Size of the slide that the file was made from, where the file states it.
    attributes : dict
        All attributes as plain values; those of ``coords`` override those of ``features``.
    """

    path: Path
    n: int
    width: int
    dtype: str
    encoder: str | None
    has_coords: bool
    slide_size_l0: tuple[int, int] | None
    attributes: dict[str, Any]


def read_features(
    path: PathLike,
    *,
    patch_size_l0: SizeLike | None = None,
    slide_size_l0: tuple[int, int] | None = None,
    space: SlideSpace | None = None,
    coords_dir: PathLike | None = None,
    numbers: bool = True,
) -> PatchFeatures:
    """Return the features of one slide with their patches.

    Parameters
    ----------
    path : file
        TRIDENT, CLAM or STAMP ``.h5`` (``features`` or ``feats``, and ``coords``), or a ``.pt`` with its coordinates
        in an ``.h5`` of the same stem: beside it, in ``../h5_files``, ``../patches``, ``../../patches`` or
        `coords_dir`; or a slideflow ``.pt`` with ``S.index.npz`` beside it. PathForge ``.h5``: the bag named after
        `space.name`, or the only one.
    patch_size_l0 : float or (width, height), optional
        Used if the file does not state the size of its patches, in place of a guess from the coordinates,
        which would miss overlap.
    slide_size_l0 : (width, height), optional
        Size of the slide, to refuse a file of another slide.
    space : SlideSpace, optional
        What is known about the slide (`Slide.space`), in place of its size. Needed for coordinates in micrometres,
        and for coordinates that count from the scanned area.
    coords_dir : folder, optional
        Where to look first for the coordinates of a ``.pt``.
    numbers : bool
        False leaves the numbers in the file: zeros of their shape and type, which take no memory, stand for them until
        they are read with `read_values`, which checks them.

    Raises
    ------
    FeatureError
        The file is missing, damaged, empty or unsafe, has no features or coords, different lengths, NaN or
        infinite features, one vector for the whole slide, coordinates that cannot belong to the slide, or an
        unknown patch size.
    """
    path, space = Path(path), space or SlideSpace(slide_size_l0)
    features, stored, attributes = _stored(path, space, numbers=numbers)
    stored = stored or coords_from_elsewhere(path, coords_dir, space.name)
    clean = checks.clean_features if numbers else checks.unread_features
    features = clean(features, str(path), stored.n)
    _check_lengths(features, stored, path)
    notes = [note] if (note := hdf5.lock_note(path)) else []
    grid, guesses = grid_of(stored, path, space, coords_dir=coords_dir, patch_size_l0=patch_size_l0)
    notes += guesses
    _log(path, notes)
    coords_um = corners_um(stored.values, stored.attributes, grid, space, str(path))
    encoder = _encoder({**stored.attributes, **attributes}, path)
    return PatchFeatures(grid, features, encoder, path, tuple(notes), coords_um)


def read_values(path: PathLike, space: SlideSpace | None = None) -> tuple[npt.NDArray[Any], str | None]:
    """Return the features (N, D) of one slide and the encoder's name, without placing its patches.

    Parameters and errors are those of `read_features`, as far as they concern the numbers.
    """
    path = Path(path)
    features, stored, attributes = _stored(path, space or SlideSpace())
    told = {} if stored is None else stored.attributes
    return checks.clean_features(features, str(path)), _encoder({**told, **attributes}, path)


def _stored(
    path: Path, space: SlideSpace, *, numbers: bool = True
) -> tuple[npt.NDArray[Any], StoredCoords | None, dict[str, Any]]:
    """Return what a file holds: features as they are, coordinates if it has them, and its attributes."""
    refuse_foreign(path)
    if path.suffix == ".pt":
        held = features_from_pt(path)
        stored = None if held.coords is None else StoredCoords(held.coords, held.attributes, path)
        return held.features, stored, held.attributes
    with hdf5.open_h5(path) as file:
        source, named = _features_dataset(file, path, bag_in(file, path, space.name), space.extractor)
        found = hdf5.dataset(file, "coords")
        checks.check_feature_shape(source.shape, source.dtype, str(path), _rows(found))
        features = read_rows(source) if numbers else checks.zeros(source.shape, source.dtype)
        kept = rows_kept(file, path)
        features = features if kept is None else drop_rows(features, kept, path)
        attributes = hdf5.attributes(file, "coords", *FEATURES) | named
        return features, coords_in(file, path, space.name), attributes


def read_coords(
    path: PathLike,
    *,
    patch_size_l0: SizeLike | None = None,
    slide_size_l0: tuple[int, int] | None = None,
    space: SlideSpace | None = None,
) -> PatchGrid:
    """Return the patches of a coordinates file or a feature file (``.h5``), without reading any features.

    Parameters and errors are those of `read_features`.
    """
    return place_coords(path, space or SlideSpace(slide_size_l0), patch_size_l0=patch_size_l0)[0]


def place_coords(
    path: PathLike, space: SlideSpace, *, patch_size_l0: SizeLike | None = None
) -> tuple[PatchGrid, list[Notice]]:
    """Return `read_coords`, and notes on decisions, guesses and oddities."""
    path = Path(path)
    grid, notes = grid_of(read_coords_file(path, space.name), path, space, coords_dir=None, patch_size_l0=patch_size_l0)
    _log(path, notes)
    return grid, notes


def patch_attributes(
    path: PathLike, coords_dir: PathLike | None = None, slide: str | None = None
) -> dict[str, Any]:
    """Return the attributes that describe the patches of a feature or coordinates file, as plain values.

    Where the file says nothing, they come from the matching coordinates file, if it has the same coordinates.
    `coords_dir` and errors are those of `read_features`; `slide` names the slide, for files of several slides.
    """
    path = Path(path)
    stored = own_coords(path, slide) or coords_from_elsewhere(path, coords_dir, slide)
    return attributes_of(stored, path, coords_dir)


def feature_info(path: PathLike, space: SlideSpace | None = None) -> FeatureInfo:
    """Return what a feature file says about itself; takes milliseconds for HDF5, but a ``.pt`` file must be loaded.

    `space` names the slide and the encoder, for files that hold several.

    Raises
    ------
    FeatureError
        As `read_features`, as far as problems show without reading the numbers.
    """
    path = Path(path)
    refuse_foreign(path)
    if path.suffix == ".pt":
        features, coords, told = features_from_pt(path)
        n, width = checks.check_feature_shape(features.shape, features.dtype, str(path))
        encoder = _encoder(told, path)
        return FeatureInfo(path, n, width, str(features.dtype), encoder, coords is not None, slide_size(told), told)
    with hdf5.open_h5(path) as file:
        space = space or SlideSpace()
        bag = bag_in(file, path, space.name, any_bag=True)
        source, named = _features_dataset(file, path, bag, space.extractor)
        found = hdf5.dataset(file, "coords") if bag is None else bag.coords
        n, width = checks.check_feature_shape(source.shape, source.dtype, str(path), _rows(found))
        attributes = hdf5.attributes(file, *FEATURES, "coords")
        encoder = _encoder(hdf5.attributes(file, "coords", *FEATURES) | named, path)
        size = slide_size(attributes)
        return FeatureInfo(path, n, width, str(source.dtype), encoder, found is not None, size, attributes)


def _features_dataset(
    file: h5py.File, path: Path, bag: StoredBag | None, extractor: str | None
) -> tuple[h5py.Dataset, dict[str, str]]:
    """Return the features of an open file, and the attribute `extractor` where the file stores it differently."""
    if bag is not None:
        name, found_in_bag = features_of(bag, path, extractor)
        return found_in_bag, {"extractor": name}
    found = [item for name in FEATURES if (item := hdf5.dataset(file, name)) is not None]
    if not found:
        only = set(file) == {"coords"}
        hint = "; this is a coordinates file, the features are in another one" if only else ""
        raise FeatureError(f"{path}: no dataset 'features'; it holds {hdf5.contents(file)}{hint}")
    if found[-1].shape != found[0].shape:
        raise FeatureError(
            f"{path}: holds 'features' {found[0].shape} and 'feats' {found[-1].shape}; one of them has to go"
        )
    kind = hdf5.attributes(file, found[0].name).get("feat_type")
    if kind in ("slide", "patient"):
        raise FeatureError(
            f"{path}: features of feat_type {kind!r} are one vector for the whole {kind}; those of patches are needed"
        )
    return found[0], {}


def _log(path: Path, notes: list[Notice]) -> None:
    for text in notes:
        logger.info("%s: %s", path.name, text)


def _check_lengths(features: npt.NDArray[Any], stored: StoredCoords, path: Path) -> None:
    if len(features) != stored.n:
        where = "" if stored.path == path else f" in {stored.path}"
        raise FeatureError(
            f"{path}: {len(features)} rows of features but {stored.n} coordinates{where}; they must belong"
            " together row by row: extract the features of this slide again"
        )


def _rows(found: h5py.Dataset | None) -> int | None:
    return None if found is None or not found.shape else int(found.shape[-2] if found.ndim > 1 else 0)


def _encoder(attributes: dict[str, Any], path: Path) -> str | None:
    named = hdf5.text_attribute(attributes, "encoder") or hdf5.text_attribute(attributes, "extractor")
    folder = path.parent.name
    if named is None and folder.startswith("features_") and len(folder) > len("features_"):
        return folder.removeprefix("features_")
    return named
