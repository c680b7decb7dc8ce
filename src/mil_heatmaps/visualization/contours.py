"""Tissue outlines on the slide: CLAM's mask picture.

``_l0`` are level-0 pixels, ``_px`` pixels of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.tissue import Contour, TissueMask
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.tissue_raster import contour_offset_px, contour_px

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class OutlineStyle:
    """How outlines look.

    Attributes
    ----------
    contour, hole, annotation, number : (r, g, b)
    thickness_l0 : int
        In level-0 pixels; lines are at least one picture pixel thick.
    numbered : bool
        Write the index of each contour at its centroid, in digits of fixed size.
    """

    contour: Colour = (0, 255, 0)
    hole: Colour = (0, 0, 255)
    annotation: Colour = (255, 0, 0)
    number: Colour = (255, 0, 0)
    thickness_l0: int = 250
    numbered: bool = False


def outline(
    pixels: UInt8Array,
    frame: Frame,
    mask: TissueMask,
    style: OutlineStyle,
    annotations_l0: Sequence[Contour] = (),
) -> None:
    """Draw the contours, holes and annotations into `pixels`, the picture of `frame`, in place."""
    offset = contour_offset_px(frame)
    thickness = int(style.thickness_l0 * np.sqrt(frame.scale[0] * frame.scale[1]))
    for index, contour_l0 in enumerate(mask.contours_l0):
        contour = contour_px(contour_l0, frame)
        cv2.drawContours(pixels, [contour], -1, style.contour, thickness, cv2.LINE_8, offset=offset)
        if style.numbered:
            _write_number(pixels, index, contour, offset, style.number)
    for holes_l0 in mask.holes_l0:
        holes = [contour_px(hole, frame) for hole in holes_l0]
        cv2.drawContours(pixels, holes, -1, style.hole, thickness, cv2.LINE_8, offset=offset)
    drawn = [contour_px(annotation, frame) for annotation in annotations_l0]
    cv2.drawContours(pixels, drawn, -1, style.annotation, thickness, cv2.LINE_8, offset=offset)


def _write_number(
    pixels: UInt8Array, index: int, contour: npt.NDArray[np.int32], offset: tuple[int, int], colour: Colour
) -> None:
    moments = cv2.moments(contour)
    area = moments["m00"] + 1e-9  # as CLAM guards against contours without area
    centre = int(moments["m10"] / area) + offset[0], int(moments["m01"] / area) + offset[1]
    cv2.putText(pixels, str(index), centre, cv2.FONT_HERSHEY_SIMPLEX, 2, colour, 10)
