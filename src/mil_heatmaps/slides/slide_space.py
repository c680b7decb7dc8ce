"""What coordinates in a file may mean on one slide: everything needed to convert them to level-0 pixels.

Names ending ``_l0`` are level-0 pixels of the whole slide; boxes are (x, y, width, height).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mil_heatmaps.choices import CoordsFrame, CoordsUnit

Size = tuple[int, int]
Box = tuple[int, int, int, int]

_BOUNDS = tuple(f"openslide.bounds-{side}" for side in ("x", "y", "width", "height"))


@dataclass(frozen=True)
class SlideSpace:
    """Facts about a slide and settings of the user, for reading coordinates of patches and outlines.

    Attributes
    ----------
    size_l0 : (width, height) or None
        None if the slide is not known, or if files of a slide of another size should be read as well.
    scanned_l0 : (x, y, width, height) or None
        The scanned area, if it is not the whole slide; see `scanned_area`.
    mpp : float or None
        Micrometres per level-0 pixel.
    frame : ``slide``, ``bounds`` or ``auto``
        Which corner files count from: `data_arguments.coords_frame`.
    unit : ``auto``, ``px`` or ``um``
        Unit of coordinates, if their file does not state it: `data_arguments.coords_unit`.
    name : str or None
        The slide's name, to compare with the slide's name in a file.
    downsamples : tuple of float
        Downsamples of the slide's levels along x, for files that state a level instead of a patch size at level 0.
    extractor : str or None
        Which encoder's features to read, if a file holds several: `data_arguments.feature_extractor`.
    """

    size_l0: Size | None = None
    scanned_l0: Box | None = None
    mpp: float | None = None
    frame: CoordsFrame = "auto"
    unit: CoordsUnit = "auto"
    name: str | None = None
    downsamples: tuple[float, ...] = ()
    extractor: str | None = None


def is_possible_area(properties: Mapping[str, str], size_l0: Size) -> bool:
    """Whether OpenSlide's bounds, if there are any, lie on or near a slide of this size."""
    try:
        corner_and_size = tuple(int(properties[key]) for key in _BOUNDS)
    except (KeyError, ValueError):
        return True
    sides = zip(corner_and_size[:2], corner_and_size[2:], size_l0, strict=True)
    return all(-side <= start <= 2 * side and 0 <= length <= 2 * side for start, length, side in sides)


def scanned_area(properties: Mapping[str, str], size_l0: Size) -> Box | None:
    """Return the scanned area from OpenSlide's bounds; None if there are none or they are the whole slide.

    QuPath and programs that crop count from the corner of this area, CLAM and TRIDENT from the slide's corner.
    """
    try:
        x, y, width, height = (int(properties[key]) for key in _BOUNDS)
    except (KeyError, ValueError):
        return None
    if min(x, y) < 0 or min(width, height) < 1 or (x, y, width, height) == (0, 0, *size_l0):
        return None
    return x, y, width, height
