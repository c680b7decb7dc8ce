"""The resolution of a slide, its source, and whether it is plausible.

`mpp` is micrometres per level-0 pixel, the mean of x and y.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mil_heatmaps.notices import Notice, joined

MPP_BELIEVED = (0.05, 10.0)
"""Lowest and highest plausible micrometres per pixel. The common default tag of 72 dpi means 353."""

LISTED, OTHERWISE = "process list", "slide_mpp"
"""Sources of a resolution given by hand: for one slide, and for all slides that state none."""

_OBJECTIVE_TIMES_MPP = (6.7, 15.0)
"""Plausible range of magnification times mpp. It is 10 for every scanner: 40x is 0.25 um per pixel, 20x is 0.5."""

_UM_PER_UNIT = {"inch": 25400.0, "centimeter": 10000.0}
_UM_PER_OME_UNIT = {
    "µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "pm": 1e-6, "å": 1e-4, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6,
    "in": 25400.0,
}  # fmt: skip
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")

_Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Resolution:
    """The resolution of a slide.

    Attributes
    ----------
    mpp : float or None
        Micrometres per level-0 pixel.
    source : str
        Source of the resolution; empty without one.
    notes : tuple of Notice
        What a user should know about it.
    """

    mpp: float | None
    source: str = ""
    notes: tuple[Notice, ...] = ()

    @property
    def by_hand(self) -> bool:
        """Whether it was given by a person, not by the slide."""
        return self.source in (LISTED, OTHERWISE)

    @property
    def words(self) -> str:
        """The resolution and its source: ``0.5 µm per pixel (process list)``."""
        return f"none: {joined(self.notes)}" if self.mpp is None else f"{self.mpp:g} µm per pixel ({self.source})"


def decide_resolution(
    properties: Mapping[str, str],
    size_l0: tuple[int, int] | None = None,
    *,
    listed: float | None = None,
    otherwise: float | None = None,
) -> Resolution:
    """Return the resolution from the first source with a plausible value, see `MPP_BELIEVED`.

    The sources are, in order: `listed`, OpenSlide's `openslide.mpp-x/y`, the TIFF resolution tags, OME-XML and
    `otherwise`. Notes tell if it was given by hand, or why there is none. They also tell if x and y differ by more than
    5 % (their mean is used), or if the objective does not match the resolution.

    Parameters
    ----------
    properties : mapping
        OpenSlide's properties of the slide.
    size_l0 : (width, height), optional
        Selects one of the images that OME-XML describes.
    listed, otherwise : float, optional
        Given by hand: for this slide, and for every slide that states none.

    Raises
    ------
    ValueError
        If a resolution given by hand is not plausible.
    """
    for given in (listed, otherwise):
        if given is not None and not _believed(given):
            low, high = MPP_BELIEVED
            raise ValueError(f"a resolution must be {low:g} to {high:g} µm per pixel, got {given:g}")
    own = _own_resolution(properties, size_l0)
    if listed is not None:
        own = Resolution(listed, LISTED, (_by_hand(listed, LISTED, own),))
    elif own.mpp is None and otherwise is not None:
        own = Resolution(otherwise, OTHERWISE, (_by_hand(otherwise, OTHERWISE, own),))
    power = read_objective_power(properties)
    low, high = _OBJECTIVE_TIMES_MPP
    if own.mpp is None or power is None or low <= power * own.mpp <= high:
        return own
    words = f"an objective of {power:g}x and {own.mpp:g} µm per pixel do not agree; {own.mpp:g} µm per pixel is used"
    return Resolution(own.mpp, own.source, (*own.notes, Notice("mpp_doubtful", words)))


def read_objective_power(properties: Mapping[str, str]) -> float | None:
    """Return the objective's magnification, or None if it is absent or not a number."""
    return _number(properties.get("openslide.objective-power"))


def _by_hand(mpp: float, source: str, own: Resolution) -> Notice:
    differs = own.mpp is not None and abs(own.mpp - mpp) > 0.05 * mpp
    said = f"; the slide says {own.mpp:g} ({own.source})" if differs else ""
    return Notice("mpp_by_hand", f"the resolution was given by hand: {mpp:g} µm per pixel ({source}){said}")


def _own_resolution(properties: Mapping[str, str], size_l0: tuple[int, int] | None) -> Resolution:
    """Return the resolution that the slide itself states."""
    refused = None
    for source, (mpp_x, mpp_y) in _said(properties, size_l0):
        if mpp_x is None and mpp_y is None:
            continue
        pair = (mpp_x or mpp_y or 0.0, mpp_y or mpp_x or 0.0)
        mean = sum(pair) / 2
        if not all(map(_believed, pair)):
            low, high = MPP_BELIEVED
            refused = refused or f"{source} say {mean:g} um/px; only {low:g} to {high:g} is believed"
            continue
        if abs(pair[0] - pair[1]) <= 0.05 * mean:
            return Resolution(mean, source)
        text = f"pixels are not square: {pair[0]:g} x {pair[1]:g} um; the mean is used"
        return Resolution(mean, source, (Notice("resolution", text),))
    return Resolution(None, "", (Notice("resolution", refused or "the slide does not say its resolution"),))


def _said(properties: Mapping[str, str], size_l0: tuple[int, int] | None) -> Iterator[tuple[str, _Pair]]:
    """Yield each source within the slide and its resolution in x and y."""
    yield "openslide.mpp", tuple(_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")  # type: ignore[misc]
    yield "TIFF resolution tags", _from_tags(properties)
    for name in ("tiff.ImageDescription", "openslide.comment"):
        yield "OME-XML", _from_ome(properties.get(name, ""), size_l0)


def _believed(mpp: float) -> bool:
    return MPP_BELIEVED[0] <= mpp <= MPP_BELIEVED[1]


def _number(text: str | None) -> float | None:
    """Return `text` as a positive finite number, or None; a decimal comma is accepted as well."""
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _from_tags(properties: Mapping[str, str]) -> _Pair:
    unit = _UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", "").lower())
    per_x = _number(properties.get("tiff.XResolution"))
    per_y = _number(properties.get("tiff.YResolution"))
    if unit is None or per_x is None or per_y is None:
        return None, None
    return unit / per_x, unit / per_y


def _from_ome(text: str, size_l0: tuple[int, int] | None) -> _Pair:
    """Return the pixel size of the image in OME-XML that has the slide's size.

    No XML parser is used, because entities of an untrusted file must not be expanded.
    """
    from html import unescape

    if not text.lstrip("\ufeff \r\n\t").startswith(("<?xml", "<OME", "<ome:OME")):
        return None, None
    for found in _OME_PIXELS.finditer(text):
        said = {name: unescape(a or b) for name, a, b in _ATTRIBUTE.findall(found[1])}
        size = said.get("SizeX"), said.get("SizeY")
        if size_l0 is None or size == (str(size_l0[0]), str(size_l0[1])):
            return _ome_size(said, "X"), _ome_size(said, "Y")
    return None, None


def _ome_size(said: Mapping[str, str], axis: str) -> float | None:
    unit = said.get(f"PhysicalSize{axis}Unit", "µm").replace("\u03bc", "µ").strip().lower()
    value, factor = _number(said.get(f"PhysicalSize{axis}")), _UM_PER_OME_UNIT.get(unit)
    return None if value is None or factor is None else value * factor
