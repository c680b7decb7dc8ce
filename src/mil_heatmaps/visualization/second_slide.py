"""A second slide of the same tissue, such as another stain, drawn in the frame of the first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mil_heatmaps.choices import ColorProfile
from mil_heatmaps.slides.affine import Affine
from mil_heatmaps.slides.pixels import WHITE, UInt8Array
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.visualization.frame import Frame, choose_frame
from mil_heatmaps.visualization.slide_rows import iter_slide_rows

_ROWS = 256


@dataclass(frozen=True, repr=False, eq=False)
class SecondSlide:
    """A slide and where it lies.

    Attributes
    ----------
    slide : Slide
        Open; it is read during drawing.
    affine : 3 x 3
        From level-0 pixels of the first slide to level-0 pixels of this slide.
    """

    slide: Slide
    affine: Affine

    @property
    def title(self) -> str:
        """The words above its picture."""
        return f"second slide: {self.slide.slide_id}"

    def picture(self, frame: Frame, color_profile: ColorProfile) -> UInt8Array:
        """Return this slide in the first slide's frame, (height, width, 3); white beyond the slide.

        The part is first averaged to the picture's scale, then transformed, so that no detail falls between pixels.
        """
        import cv2

        (width, height), (x_l0, y_l0) = frame.size_px, frame.corner_l0
        across, down = frame.downsample
        # From the centre of a picture pixel to level 0 of the first slide, and then to level 0 of the second.
        place = np.array([[across, 0, x_l0 + across / 2], [0, down, y_l0 + down / 2], [0, 0, 1]])
        to_second = np.asarray(self.affine) @ place
        rim = np.array([[x, y, 1] for x in (-1, width) for y in (-1, height)], np.float64)
        reached = (to_second @ rim.T)[:2]
        size_l0 = self.slide.dimensions_l0
        first = [max(0, math.floor(value)) for value in reached.min(axis=1)]
        last = [min(side, math.ceil(value)) for value, side in zip(reached.max(axis=1), size_l0, strict=True)]
        if any(a >= b for a, b in zip(first, last, strict=True)):
            return np.full((height, width, 3), WHITE, np.uint8)
        scale = max(1.0, math.sqrt(abs(float(np.linalg.det(to_second[:2, :2])))))
        part = choose_frame(self.slide, downsample=scale, top_left=first, bot_right=last)
        bands = iter_slide_rows(self.slide, part, _ROWS, to_srgb=color_profile == "convert")
        pixels = np.vstack([band for _, band in bands])
        (x, y), (fx, fy) = part.corner_l0, part.downsample
        from_second = np.linalg.inv(np.array([[fx, 0, x + fx / 2], [0, fy, y + fy / 2], [0, 0, 1]], np.float64))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        turned = cv2.warpAffine(
            pixels, (from_second @ to_second)[:2], (width, height), flags=flags, borderValue=(WHITE,) * 3
        )
        return np.asarray(turned, np.uint8)
