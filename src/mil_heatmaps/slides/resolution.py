"""What a slide's properties say about its resolution, and whether to believe it.

`mpp` is micrometres per level-0 pixel, the mean of x and y.
"""

import math
from collections.abc import Mapping

from mil_heatmaps.notices import Notice

MPP_BELIEVED = (0.05, 10.0)
"""Lowest and highest plausible micrometres per pixel; 72 dpi, the usual default tag, is 353."""

_UM_PER_UNIT = {"inch": 25400.0, "centimeter": 10000.0}


def _number(text: str | None) -> float | None:
    """Return `text` as a positive finite number, or None; a decimal comma is read as well."""
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _from_tags(properties: Mapping[str, str]) -> tuple[float | None, float | None]:
    unit = _UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", "").lower())
    per_x = _number(properties.get("tiff.XResolution"))
    per_y = _number(properties.get("tiff.YResolution"))
    if unit is None or per_x is None or per_y is None:
        return None, None
    return unit / per_x, unit / per_y


def read_mpp(properties: Mapping[str, str]) -> tuple[float | None, Notice | None]:
    """Return (mpp, note): the believed resolution, or None and why.

    OpenSlide's `openslide.mpp-x/y` comes first, then the TIFF resolution tags. A value outside `MPP_BELIEVED`
    is not used. A note also tells of x and y that differ by more than 5 %, whose mean is returned.
    """
    sources = (
        (
            "openslide.mpp",
            (_number(properties.get("openslide.mpp-x")), _number(properties.get("openslide.mpp-y"))),
        ),
        ("TIFF resolution tags", _from_tags(properties)),
    )
    refused = None
    for name, (mpp_x, mpp_y) in sources:
        if mpp_x is None and mpp_y is None:
            continue
        pair = (mpp_x or mpp_y or 0.0, mpp_y or mpp_x or 0.0)
        mean = sum(pair) / 2
        low, high = MPP_BELIEVED
        if not (low <= pair[0] <= high and low <= pair[1] <= high):
            refused = refused or f"{name} say {mean:g} um/px; only {low:g} to {high:g} is believed"
            continue
        note = None
        if abs(pair[0] - pair[1]) > 0.05 * mean:
            text = f"pixels are not square: {pair[0]:g} x {pair[1]:g} um; the mean is used"
            note = Notice("resolution", text)
        return mean, note
    return None, Notice("resolution", refused or "the slide does not say its resolution")


def read_objective_power(properties: Mapping[str, str]) -> float | None:
    """Return the objective's magnification, or None when absent or not a number."""
    return _number(properties.get("openslide.objective-power"))
