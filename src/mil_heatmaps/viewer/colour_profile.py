"""Colours of a slide as a screen expects them: sRGB.

Scanners store pixels in a colour space of their own and describe it in an ICC profile. The program computes
on the stored pixels; only what is shown to people is converted.
"""

import io
import logging
from typing import Any

import numpy as np

from mil_heatmaps.slides.pixels import RGB

logger = logging.getLogger(__name__)

_NO_CACHE = 0x0040  # lcms keeps the last pixel between calls, which threads must not share


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


def srgb_converter(profile: bytes | None) -> ToSrgb | None:
    """Return what converts from `profile` to sRGB; None when it is missing, sRGB already, or of no use."""
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
