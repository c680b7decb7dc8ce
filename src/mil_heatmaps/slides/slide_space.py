"""What numbers in a file may mean on one slide: everything needed to turn them into level-0 pixels.

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
    """What is known of a slide, and what the user says, for reading coordinates of its patches and outlines.

    Attributes
    ----------
    size_l0 : (width, height) or None
        None where the slide is not known, or files of a slide of another size are to be read as well.
    scanned_l0 : (x, y, width, height) or None
        The scanned area where that is not the whole slide; see `scanned_area`.
    mpp : float or None
        Micrometres a level-0 pixel.
    frame : ``slide``, ``bounds`` or ``auto``
        Where files count from: `data_arguments.coords_frame`.
    unit : ``auto``, ``px`` or ``um``
        What coordinates are in, where their file does not say: `data_arguments.coords_unit`.
    name : str or None
        The slide's name, which is compared with what a file says of its slide.
    downsamples : tuple of float
        Of the slide's levels, along x; for files that say how they were read in place of a size at level 0.
    extractor : str or None
        Whose features are meant, where a file holds those of several encoders: `data_arguments.feature_extractor`.
    """

    size_l0: Size | None = None
    scanned_l0: Box | None = None
    mpp: float | None = None
    frame: CoordsFrame = "auto"
    unit: CoordsUnit = "auto"
    name: str | None = None
    downsamples: tuple[float, ...] = ()
    extractor: str | None = None


def scanned_area(properties: Mapping[str, str], size_l0: Size) -> Box | None:
    """Return the area that OpenSlide says was scanned, None where it says none or all of the slide.

    Other programs (QuPath, tools that crop) count from its corner; CLAM and TRIDENT from the slide's.
    """
    try:
        x, y, width, height = (int(properties[key]) for key in _BOUNDS)
    except (KeyError, ValueError):
        return None
    if min(x, y) < 0 or min(width, height) < 1 or (x, y, width, height) == (0, 0, *size_l0):
        return None
    return x, y, width, height
