"""CLAM's blur, pixel for pixel: it blurs the shades, then the coloured picture with its slide, then blends.

It is kept for parity only. It smears the slide under the colours and lets the colours fade towards glass; `smooth`
does neither. It needs the whole picture in memory, at about 40 bytes per pixel.
"""

import cv2
import numpy as np

from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.drawing import Painter
from mil_heatmaps.visualization.palette import colour_index
from mil_heatmaps.visualization.slide_rows import iter_slide_rows


def draw_blurred(painter: Painter) -> UInt8Array:
    """Return the whole picture of a drawing with `blur_px`, (height, width, 3)."""
    drawing = painter.drawing
    kernel = drawing.blur_px
    assert kernel is not None  # callers use this function only for drawings with a kernel
    width, height = drawing.size_px
    cells = painter.canvas.cells(0, height)
    shades = np.zeros((height, width))
    painted = np.zeros((height, width), np.bool_)
    if cells.mean.size:
        rows, columns = np.diff(cells.y_edges), np.diff(cells.x_edges)
        place = (
            slice(int(cells.y_edges[0]), int(cells.y_edges[-1])),
            slice(int(cells.x_edges[0]), int(cells.x_edges[-1])),
        )
        shades[place] = np.repeat(np.repeat(cells.mean, rows, axis=0), columns, axis=1)
        painted[place] = np.repeat(np.repeat(cells.covered, rows, axis=0), columns, axis=1)
    shades = cv2.GaussianBlur(shades, kernel, 0)
    tissue = painter.rows_of_tissue(0, height)
    if tissue is not None:
        painted &= tissue.astype(np.bool_)
    canvas = np.empty((height, width, 3), np.uint8)
    for y0, band in iter_slide_rows(drawing.slide, drawing.frame, 1024, blank=drawing.blank_canvas):
        canvas[y0 : y0 + len(band)] = band
    picture = canvas.copy()
    picture[painted] = drawing.colours[colour_index(shades[painted], len(drawing.colours))]
    picture = cv2.GaussianBlur(picture, kernel, 0)
    if drawing.alpha < 1:
        picture = cv2.addWeighted(picture, drawing.alpha, canvas, 1 - drawing.alpha, 0)
    return np.asarray(picture, np.uint8)
