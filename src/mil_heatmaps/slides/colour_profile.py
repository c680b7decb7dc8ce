"""Colours of a slide in sRGB, as screens expect them.

A scanner stores pixels in its own colour space and describes it in an ICC profile. The program computes on the stored
pixels and converts only pictures for people. `ColorProfile` says what a picture does with the profile: ``convert`` the
pixels to sRGB, ``embed`` the profile beside the stored pixels, or ``ignore`` it.
"""

import io
import logging
from functools import lru_cache
from typing import Any

import numpy as np

from mil_heatmaps.choices import ColorProfile
from mil_heatmaps.slides.pixels import RGB

logger = logging.getLogger(__name__)

_NO_CACHE = 0x0040  # lcms caches the last pixel between calls; threads must not share it


class ToSrgb:
    """Converts pixels from a slide's colour space; made by `srgb_converter`."""

    def __init__(self, transform: Any, name: str) -> None:
        self._transform = transform
        self.name = name

    def __call__(self, pixels: RGB) -> RGB:
        """Return (H, W, 3) pixels in sRGB."""
        from PIL import Image, ImageCms

        converted = ImageCms.applyTransform(Image.fromarray(pixels), self._transform)
        return np.asarray(converted)


def embedded_profile(profile: bytes | None, how: ColorProfile) -> bytes | None:
    """Return the profile to store in a picture of a slide with `profile`; None without one or if it is ignored."""
    if not profile or how == "ignore":
        return None
    return srgb_profile() if how == "convert" and srgb_converter(profile) is not None else profile


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB, always the same bytes."""
    from PIL import ImageCms

    made: Any = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    data = bytearray(made.tobytes())
    data[24:36] = bytes.fromhex("07d000010001000000000000")  # its date: 1 January 2000
    return bytes(data)


@lru_cache(maxsize=4)
def srgb_converter(profile: bytes | None) -> ToSrgb | None:
    """Return the converter from `profile` to sRGB; None if the profile is missing, already sRGB, or unusable."""
    if not profile:
        return None
    from PIL import ImageCms as _cms

    cms: Any = _cms  # Pillow leaves much of this module untyped
    try:
        source = cms.ImageCmsProfile(io.BytesIO(profile))
        name = str(source.profile.profile_description or "").strip()
        if source.profile.xcolor_space.strip() != "RGB" or "srgb" in name.lower():
            return None
        transform = cms.buildTransform(
            source,
            cms.createProfile("sRGB"),
            "RGB",
            "RGB",
            renderingIntent=cms.Intent.PERCEPTUAL,
            flags=cms.Flags(_NO_CACHE),
        )
    except (cms.PyCMSError, OSError, ValueError) as error:
        logger.warning("the slide's colour profile cannot be used, its pixels are shown as stored: %s", error)
        return None
    return ToSrgb(transform, name or "unnamed profile")
