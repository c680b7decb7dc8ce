"""Values interpolated between patches, off by default.

The map of patch means is averaged over one patch step (``bilinear``: close to linear interpolation between
the centres of a lattice) or with a Gaussian of half a step. Both divide by the coverage averaged
likewise, so values do not fade towards glass, and both colour the patches' own area only. The work is done on
a coarse raster, four samples a step each way, and enlarged band by band.
"""

from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.canvas import PatchCanvas
from mil_heatmaps.visualization.palette import colour_index

if TYPE_CHECKING:
    from mil_heatmaps.visualization.drawing import Drawing

FloatArray = npt.NDArray[np.float32]

_SAMPLES_A_STEP = 4


class PaintedLayer(Protocol):
    """Anything that says where patches lie."""

    def painted(self, x0: int, x1: int) -> UInt8Array: ...


class SmoothLayer:
    """Some rows in smoothed colours, tinted where the patches lie."""

    def __init__(self, patches: PaintedLayer, values: FloatArray, table: UInt8Array, threshold: float | None) -> None:
        self._patches = patches
        self._values = values
        self._table = table
        self._threshold = threshold

    def painted(self, x0: int, x1: int) -> UInt8Array:
        painted = self._patches.painted(x0, x1)
        if self._threshold is not None:
            painted &= self._values[:, x0:x1] >= self._threshold
        return painted

    def colours(self, x0: int, x1: int) -> UInt8Array:
        # A running mean may fall a hair below the value it averages, and so to the colour below.
        return self._table[colour_index(self._values[:, x0:x1] + 1e-6, len(self._table))]


class SmoothValues:
    """The smoothed values of a drawing with `smooth` set."""

    def __init__(self, drawing: "Drawing", canvas: PatchCanvas) -> None:
        self._drawing = drawing
        self._canvas = canvas
        steps = [max(1.0, s * k) for s, k in zip(drawing.grid.step_l0, drawing.frame.scale, strict=True)]
        self._cell = max(1, int(steps[0] / _SAMPLES_A_STEP)), max(1, int(steps[1] / _SAMPLES_A_STEP))
        self._raster = self._smoothed(steps)

    def _smoothed(self, steps: list[float]) -> FloatArray:
        """Return the smoothed values at the centres of the coarse cells."""
        total, weight = self._sampled()
        for picture in (total, weight):
            if self._drawing.smooth == "bilinear":
                # Odd, so that the average lies on the cell.
                side = [2 * max(1, round(s / c / 2)) + 1 for s, c in zip(steps, self._cell, strict=True)]
                cv2.blur(picture, side, dst=picture, borderType=cv2.BORDER_CONSTANT)
            else:
                sigma = [s / c / 2 for s, c in zip(steps, self._cell, strict=True)]
                side = [2 * int(np.ceil(3 * s)) + 1 for s in sigma]
                cv2.GaussianBlur(picture, side, sigma[0], picture, sigma[1], cv2.BORDER_CONSTANT)
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-6)

    def _sampled(self) -> tuple[FloatArray, FloatArray]:
        """Return the mean at the centre of each coarse cell, 0 where uncovered, and whether it is covered."""
        width, height = self._drawing.size_px
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
        """Return the raster interpolated to some rows; each row is the same whatever the band."""
        width = self._drawing.size_px[0]
        place = np.clip((np.arange(y0, y1) + 0.5) / self._cell[1] - 0.5, 0, len(self._raster) - 1)
        upper = np.minimum(place.astype(np.intp), len(self._raster) - 1)
        lower = np.minimum(upper + 1, len(self._raster) - 1)
        part = (place - upper).astype(np.float32)[:, None]
        rows = self._raster[upper] * (1 - part) + self._raster[lower] * part
        size = self._raster.shape[1] * self._cell[0], y1 - y0
        wide = cv2.resize(rows, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(wide[:, :width], np.float32)
