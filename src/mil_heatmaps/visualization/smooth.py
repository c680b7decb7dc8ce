"""Shades interpolated between patches, off by default.

``bilinear`` averages the map of mean shades over one patch step, which is close to linear interpolation between the
centres of a lattice; ``gaussian`` uses a Gaussian of half a step. Both divide by the coverage, averaged in the same
way, so shades do not fade towards glass. Both colour only the area of the patches. The computation uses a coarse
raster with four samples per step in each direction, which is enlarged band by band.
"""

from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.canvas import PatchCanvas
from mil_heatmaps.visualization.colour_rule import Smooth
from mil_heatmaps.visualization.palette import colour_index

FloatArray = npt.NDArray[np.float32]

_SAMPLES_A_STEP = 4


class PaintedLayer(Protocol):
    """Anything that says where patches lie."""

    def painted(self, x0: int, x1: int) -> UInt8Array: ...

    def covers(self, x0: int, x1: int) -> bool: ...


class SmoothLayer:
    """Some rows in smoothed colours, painted where the patches lie."""

    def __init__(self, patches: PaintedLayer, shades: FloatArray, table: UInt8Array, threshold: float | None) -> None:
        self._patches = patches
        self._shades = shades
        self._table = table
        self._threshold = threshold

    def painted(self, x0: int, x1: int) -> UInt8Array:
        painted = self._patches.painted(x0, x1)
        if self._threshold is not None:
            painted &= self._shades[:, x0:x1] >= self._threshold
        return painted

    def covers(self, x0: int, x1: int) -> bool:
        return self._threshold is None and self._patches.covers(x0, x1)

    def colours(self, x0: int, x1: int) -> UInt8Array:
        # Rounding may put a mean slightly below the shades it averages, which would give the next lower colour.
        return self._table[colour_index(self._shades[:, x0:x1] + 1e-6, len(self._table))]


class SmoothShades:
    """The smoothed shades of a canvas; its patches are `step_px` apart, (x, y), each at least 1."""

    def __init__(self, canvas: PatchCanvas, step_px: tuple[float, float], smooth: Smooth) -> None:
        self._canvas = canvas
        self._cell = max(1, int(step_px[0] / _SAMPLES_A_STEP)), max(1, int(step_px[1] / _SAMPLES_A_STEP))
        self._raster = self._smoothed(step_px, smooth)

    def _smoothed(self, steps: tuple[float, float], smooth: Smooth) -> FloatArray:
        """Return the smoothed shades at the centres of the coarse cells."""
        total, weight = self._sampled()
        for picture in (total, weight):
            if smooth == "bilinear":
                # Odd, so that the average is centred on the cell.
                side = [2 * max(1, round(s / c / 2)) + 1 for s, c in zip(steps, self._cell, strict=True)]
                cv2.blur(picture, side, dst=picture, borderType=cv2.BORDER_CONSTANT)
            else:
                sigma = [s / c / 2 for s, c in zip(steps, self._cell, strict=True)]
                side = [2 * int(np.ceil(3 * s)) + 1 for s in sigma]
                cv2.GaussianBlur(picture, side, sigma[0], picture, sigma[1], cv2.BORDER_CONSTANT)
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-6)

    def _sampled(self) -> tuple[FloatArray, FloatArray]:
        """Return the mean at the centre of each coarse cell, 0 where uncovered, and whether it is covered."""
        width, height = self._canvas.picture_px
        columns, rows = -(-width // self._cell[0]), -(-height // self._cell[1])
        x = np.minimum((np.arange(columns) * self._cell[0]) + self._cell[0] // 2, width - 1)
        total, weight = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
        for row in range(rows):
            y = min(row * self._cell[1] + self._cell[1] // 2, height - 1)
            cells = self._canvas.cells(y, y + 1)
            if cells.mean.size:
                column = np.searchsorted(cells.x_edges, x, side="right") - 1
                inside = (column >= 0) & (column < cells.mean.shape[1])
                covered = cells.covered[0, column[inside]]
                weight[row, inside] = covered
                total[row, inside] = np.where(covered, cells.mean[0, column[inside]], 0)
        return total, weight

    def rows(self, y0: int, y1: int) -> FloatArray:
        """Return the raster interpolated to some rows; a row does not depend on its band."""
        width = self._canvas.picture_px[0]
        place = np.clip((np.arange(y0, y1) + 0.5) / self._cell[1] - 0.5, 0, len(self._raster) - 1)
        upper = np.minimum(place.astype(np.intp), len(self._raster) - 1)
        lower = np.minimum(upper + 1, len(self._raster) - 1)
        part = (place - upper).astype(np.float32)[:, None]
        rows = self._raster[upper] * (1 - part) + self._raster[lower] * part
        size = self._raster.shape[1] * self._cell[0], y1 - y0
        wide = cv2.resize(rows, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(wide[:, :width], np.float32)
