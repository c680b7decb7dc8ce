"""PathForge's feature files: any number of bags in one HDF5 file, each with coordinates and features of some encoders.

``bags/{bag}/coords`` (N, 5): x and y at level 0, width and height in pixels of the level that was read, and that level;
``bags/{bag}/features/{extractor}`` (N, D). Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the level read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.row_chunks import read_rows
from mil_heatmaps.files import hdf5
from mil_heatmaps.files.names import comparable, stem_of
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import first_of

READ_AT = "pathforge level"
"""Key in attributes: the level that `patch_size` counts pixels of."""

_BAGS = "bags"


@dataclass(frozen=True)
class StoredBag:
    """One slide's bag in an open file.

    Attributes
    ----------
    name : str
    coords : h5py.Dataset or None
    features : extractor -> h5py.Dataset
    """

    name: str
    coords: h5py.Dataset | None
    features: dict[str, h5py.Dataset]


def bag_names(file: h5py.File) -> list[str]:
    """Return the bags of an open file, none where it is not a file of PathForge's."""
    bags = file.get(_BAGS)
    if not isinstance(bags, h5py.Group):
        return []
    return [name for name, bag in bags.items() if isinstance(bag, h5py.Group)]


def bag_in(file: h5py.File, path: Path, slide: str | None, *, any_bag: bool = False) -> StoredBag | None:
    """Return the bag of a slide, or the only one; None if the file is not PathForge's.

    With `any_bag` and no slide named, the first bag is taken, for what all bags of a file have in common.

    Raises
    ------
    FeatureError
        There are several bags, and none is named after the slide.
    """
    names = bag_names(file)
    if not names:
        return None
    called = {comparable(stem_of(name)): name for name in names}
    wanted = [called[other] for title in (slide, path.stem) if title and (other := comparable(title)) in called][:1]
    chosen = wanted or (names if len(names) == 1 else names[:1] if any_bag and slide is None else [])
    if len(chosen) != 1:
        of = f" of the slide {slide!r}" if slide else ", one of which must be named after the slide"
        raise FeatureError(f"{path}: holds no bag{of}; it holds {first_of(names, 8)}")
    bag = file[f"{_BAGS}/{chosen[0]}"]
    held = bag.get("features")
    features = dict(held.items()) if isinstance(held, h5py.Group) else {}
    kept = {name: item for name, item in features.items() if isinstance(item, h5py.Dataset)}
    return StoredBag(chosen[0], hdf5.dataset(bag, "coords"), kept)


def features_of(bag: StoredBag, path: Path, extractor: str | None) -> tuple[str, h5py.Dataset]:
    """Return the encoder of a bag's features, and the features: those of `extractor`, or the only ones.

    Raises
    ------
    FeatureError
        None of that encoder, or those of several without a choice.
    """
    there = list(bag.features)
    chosen = there if extractor is None else [name for name in there if name == extractor]
    if len(chosen) == 1:
        return chosen[0], bag.features[chosen[0]]
    if not there:
        raise FeatureError(f"{path}: bag {bag.name!r} holds no features; write the bag again")
    of = "of several encoders" if extractor is None else f"none of {extractor!r}"
    raise FeatureError(
        f"{path}: bag {bag.name!r} holds features {of}: name one of {first_of(there, 8)} in "
        "data_arguments.feature_extractor"
    )


def coords_of(bag: StoredBag, path: Path) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Return the corners (N, 2) of a bag as stored, and what is known of its patches.

    Raises
    ------
    FeatureError
        No coordinates, another shape, or patches of several sizes or levels.
    """
    if bag.coords is None:
        raise FeatureError(f"{path}: bag {bag.name!r} has no coords; write the bag again")
    rows = read_rows(bag.coords)
    if rows.ndim != 2 or rows.shape[1] != 5 or rows.dtype.kind not in "iu":
        raise FeatureError(
            f"{path}: coords of bag {bag.name!r} are {rows.dtype} {rows.shape}; whole numbers (N, 5) are needed: x, y, "
            "width, height, level"
        )
    kinds = np.unique(rows[:, 2:], axis=0)
    if len(kinds) > 1:
        (width, height, level), (width_2, height_2, level_2) = kinds[0].tolist(), kinds[-1].tolist()
        raise FeatureError(
            f"{path}: bag {bag.name!r} holds patches of {len(kinds)} kinds, such as {width} x {height} px of level "
            f"{level} and {width_2} x {height_2} px of level {level_2}; one size and one level are needed: keep rows "
            "of one kind"
        )
    told: dict[str, Any] = {"name": bag.name}
    if len(kinds):
        width, height, level = kinds[0].tolist()
        told |= {"patch_size": (width, height), "read_level": level, READ_AT: level}
    return rows[:, :2], told


def with_size_l0(attributes: dict[str, Any], space: SlideSpace, asked: Any, where: str) -> dict[str, Any]:
    """Return attributes with the size of a patch at level 0, which follows from the level that was read.

    Raises
    ------
    FeatureError
        A level the slide does not have.
    """
    level = int(attributes[READ_AT])
    told = {key: value for key, value in attributes.items() if key != READ_AT}
    downsamples = space.downsamples or ((1.0,) if level == 0 else ())
    if 0 <= level < len(downsamples):
        width, height = (round(side * downsamples[level]) for side in attributes["patch_size"])
        return {**told, "patch_size_level0": (width, height)}
    if asked is not None:
        return told
    there = f"levels 0 to {len(downsamples) - 1}" if downsamples else "levels that are not known here"
    raise FeatureError(
        f"{where}: its patches were read at level {level}, and the slide has {there}, so their size at level 0 is not "
        "known; set data_arguments.patch_size_level0, the level-0 pixels a patch covers"
    )
