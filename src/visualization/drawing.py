"""One heatmap as plain data, and the painter that turns any band of its rows into pixels.

A `Drawing` says everything a picture needs and does nothing. `Painter` holds what is worked out once for it.
Memory is that of the patches and of one band, whatever the size of the picture.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from src.errors import ConfigError, ScoreError
from src.slides.patch_grid import PatchGrid
from src.slides.reader import Slide
from src.slides.tissue import TissueMask
from src.visualization.canvas import PatchCanvas, place_patches
from src.visualization.frame import Frame
from src.visualization.palette import colour_index, colour_table
from src.visualization.smooth import SmoothTint
from src.visualization.tissue_raster import TissueRaster

UInt8Array = npt.NDArray[np.uint8]
Smooth = Literal["none", "bilinear", "gaussian"]


@dataclass(frozen=True, repr=False, eq=False)
class Drawing:
    """What to draw, where, and in which colours.

    Attributes
    ----------
    slide : Slide
        Open; read while drawing.
    frame : Frame
        Which part of it, at what scale.
    grid : PatchGrid
    values : (N,) float
        0 (first colour) to 1 (last colour). NaN or infinite: no score, drawn as uncovered.
    tissue : TissueMask or None
        Only tissue is tinted; None tints every patch whole.
    cmap : str
        Any matplotlib colormap.
    alpha : float
        0 shows the slide alone, 1 the colours alone.
    blank_canvas : bool
        White instead of the slide.
    use_holes : bool
        Leave the holes of the tissue untinted.
    binarize, thresh
        Two colours only: a patch is 1 at or above `thresh`, else 0; a pixel is the rounded mean.
    threshold : float or None
        Only pixels whose mean value is at least this are tinted.
    smooth : ``none``, ``bilinear``, ``gaussian``
        Interpolate the values between patches. Normalised by coverage, so borders do not fade.
    blur_px : (width, height) or None
        CLAM's blur: kernel, in pixels, applied to the values and then to the picture, slide and all.
    notes : tuple of str
        What a user should know of this picture.
    """

    slide: Slide
    frame: Frame
    grid: PatchGrid
    values: npt.NDArray[np.floating]
    tissue: TissueMask | None = None
    cmap: str = "jet"
    alpha: float = 0.4
    blank_canvas: bool = False
    use_holes: bool = True
    binarize: bool = False
    thresh: float = 0.5
    threshold: float | None = None
    smooth: Smooth = "none"
    blur_px: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    colours: UInt8Array = field(init=False)

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.grid),):
            raise ScoreError(f"{len(self.grid)} patches but values of shape {self.values.shape}")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha must be between 0 (slide only) and 1 (colours only), got {self.alpha}")
        if self.smooth not in ("none", "bilinear", "gaussian"):
            raise ConfigError(
                f"unknown smoothing {self.smooth!r}; choose from 'none', 'bilinear', 'gaussian'"
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must be between 0 and 1, got {self.threshold}")
        object.__setattr__(self, "colours", colour_table(self.cmap))

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return self.frame.size_px

    def __repr__(self) -> str:
        width, height = self.size_px
        patches = f"{len(self.grid)} patches, {self.cmap!r}"
        return f"Drawing({self.slide.slide_id!r}, {width} x {height} px, {patches})"


class Tint(Protocol):
    """The colour layer of a picture."""

    def rows(self, y0: int, y1: int) -> tuple[UInt8Array, UInt8Array] | None:
        """Return (colours (h, width, 3), painted (h, width) 0 or 1) of some rows, None if none is painted."""


class Painter:
    """Paints bands of one drawing. Bands are independent of each other; several threads may paint at once."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        corners, size = place_patches(drawing.grid, drawing.frame)
        scored = np.isfinite(drawing.values)
        self.canvas = PatchCanvas(
            corners_px=corners[scored],
            size_px=size,
            values=drawing.values[scored].astype(np.float64),
            picture_px=drawing.size_px,
            floor=drawing.thresh if drawing.binarize else 0.0,
            binary=drawing.binarize,
        )

    @cached_property
    def tissue(self) -> TissueRaster | None:
        drawing = self.drawing
        if drawing.tissue is None:
            return None
        return TissueRaster(drawing.tissue, drawing.frame, use_holes=drawing.use_holes)

    @cached_property
    def _tint(self) -> Callable[[int, int], tuple[UInt8Array, UInt8Array] | None]:
        if self.drawing.smooth == "none":
            return self._cell_tint
        return SmoothTint(self.drawing, self.canvas).rows

    def tint(self, y0: int, y1: int) -> tuple[UInt8Array, UInt8Array] | None:
        """Return (colours, painted) of some rows, clipped to the tissue; None when nothing is painted."""
        layer = self._tint(y0, y1)
        if layer is not None and self.tissue is not None:
            layer[1][:] &= self.tissue.rows(y0, y1)
        return layer

    def paint(self, pixels: UInt8Array, y0: int) -> UInt8Array:
        """Return `pixels`, the slide's rows from `y0` on, with the colours over. Changes its argument."""
        layer = self.tint(y0, y0 + len(pixels))
        if layer is None:
            return pixels
        colours, painted = layer
        if self.drawing.alpha < 1:
            cv2.addWeighted(colours, self.drawing.alpha, pixels, 1 - self.drawing.alpha, 0, dst=colours)
        cv2.copyTo(colours, painted, pixels)
        return pixels

    def _cell_tint(self, y0: int, y1: int) -> tuple[UInt8Array, UInt8Array] | None:
        """Colour each row of cells once and repeat it downwards."""
        cells = self.canvas.cells(y0, y1)
        covered = cells.covered
        if self.drawing.threshold is not None:
            covered = covered & (cells.mean >= self.drawing.threshold)
        if not covered.any():
            return None
        table = self.drawing.colours
        index = colour_index(cells.mean, len(table))
        width = self.drawing.size_px[0]
        left, right = int(cells.x_edges[0]), int(cells.x_edges[-1])
        widths, edges = np.diff(cells.x_edges), cells.y_edges.tolist()
        colours = np.empty((y1 - y0, width, 3), np.uint8)
        painted = np.zeros((y1 - y0, width), np.uint8)
        for row, (top, bottom) in enumerate(pairwise(edges)):
            if covered[row].any():
                colours[top - y0 : bottom - y0, left:right] = np.repeat(table[index[row]], widths, axis=0)
                painted[top - y0 : bottom - y0, left:right] = np.repeat(covered[row], widths)
        return colours, painted
