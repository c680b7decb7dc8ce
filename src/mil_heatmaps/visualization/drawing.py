"""One heatmap as plain data, and the painter that turns any band of its rows into pixels.

A `Drawing` holds everything a picture needs, and does nothing. A `Painter` holds what is computed once per drawing.
Memory grows with the patches and with one band of rows, not with the size of the picture.
"""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import ColorProfile
from mil_heatmaps.errors import ScoreError
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.colour_profile import embedded_profile
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.canvas import Cells, PatchCanvas, patch_pixels
from mil_heatmaps.visualization.colour_rule import ColourScale, Smooth
from mil_heatmaps.visualization.coverage import Coverage, Uncoloured
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.palette import colour_index, colour_table
from mil_heatmaps.visualization.smooth import SmoothLayer, SmoothShades
from mil_heatmaps.visualization.tissue_raster import TissueRaster

_BLOCK_PX, _LEAST_COLUMNS = 1 << 17, 256
"""Pixels painted at a time, and the least number of columns."""
_ROWS_LOOKED_AT = 512


@dataclass(frozen=True, repr=False, eq=False)
class Drawing:
    """What to draw, where, and in which colours.

    Attributes
    ----------
    slide : Slide
        Open; it is read during drawing.
    frame : Frame
        Which part of the slide is drawn, and at what scale.
    grid : PatchGrid
    patches : (N,) int, or a slice
        Indices of the scores that are drawn; the others lie outside the region.
    shades : (N,) float
        From 0 (first colour) to 1 (last colour). NaN or infinite shades mean no score and are drawn as uncovered.
    tissue : TissueMask or None
        Only tissue is coloured; None colours whole patches.
    cmap, alpha, binarize, thresh, threshold, smooth
        See `ColourRule`; a negative `thresh` is already replaced by 1 / N.
    blank_canvas, use_holes
        See `View`.
    blur_px : (width, height) or None
        Kernel of CLAM's blur, in pixels, for the shades and then for the picture including the slide.
    scale : ColourScale
        What 0 and 1 mean, for a colour bar.
    notes : tuple of Notice
        What a user should know about this picture, as far as it is known before painting.
    region : TissueMask or None
        Outlines by which the patches were chosen; the figure shows them, the picture does not.
    color_profile : ColorProfile
        See `View`.
    """

    slide: Slide
    frame: Frame
    grid: PatchGrid
    patches: npt.NDArray[np.intp] | slice
    shades: npt.NDArray[np.floating]
    tissue: TissueMask | None
    cmap: str
    alpha: float
    blank_canvas: bool
    use_holes: bool
    binarize: bool
    thresh: float
    threshold: float | None
    smooth: Smooth
    blur_px: tuple[int, int] | None
    scale: ColourScale
    notes: tuple[Notice, ...] = ()
    region: TissueMask | None = None
    color_profile: ColorProfile = "embed"
    colours: UInt8Array = field(init=False)

    def __post_init__(self) -> None:
        if self.shades.shape != (len(self.grid),):
            raise ScoreError(f"{len(self.grid)} patches but shades of shape {self.shades.shape}")
        object.__setattr__(self, "colours", colour_table(self.cmap))

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return self.frame.size_px

    @property
    def icc_profile(self) -> bytes | None:
        """The ICC profile for the picture's file, if any. Colours on white need none."""
        return None if self.blank_canvas else embedded_profile(self.slide.icc_profile, self.color_profile)

    @property
    def cut(self) -> float | None:
        """The shade below which a patch gets no colour on purpose, if any."""
        return self.thresh if self.binarize else self.threshold

    def same_pixels(self, other: "Drawing") -> bool:
        """Whether both drawings give the same picture. Notes, scale, region and unused limits are ignored."""
        mine, others = (
            replace(
                drawing,
                frame=replace(drawing.frame, note=None),
                thresh=drawing.thresh if drawing.binarize else 0.5,
                patches=self.patches,
                scale=ColourScale(),
                notes=(),
                region=None,
            )
            for drawing in (self, other)
        )
        return _equal(mine, others)

    def __repr__(self) -> str:
        width, height = self.size_px
        patches = f"{len(self.grid)} patches, {self.cmap!r}"
        return f"Drawing({self.slide.slide_id!r}, {width} x {height} px, {patches})"


def _equal(one: Any, other: Any) -> bool:
    """Compare arrays, tuples and dataclasses by their contents, and anything else with ``==``."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if is_dataclass(one):
        return all(_equal(getattr(one, part.name), getattr(other, part.name)) for part in fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def colours_alone(drawing: Drawing) -> Drawing:
    """Return the drawing without its slide: opaque colours on white."""
    return replace(drawing, blank_canvas=True, alpha=1.0)


class Layer(Protocol):
    """The colours of some rows, before they are clipped to tissue."""

    def painted(self, x0: int, x1: int) -> UInt8Array:
        """Return where colour lies in the columns `x0` to `x1`, (h, x1 - x0), 0 or 1."""

    def covers(self, x0: int, x1: int) -> bool:
        """Whether colour lies everywhere in the columns; False is also allowed when this is too costly to check."""

    def colours(self, x0: int, x1: int) -> UInt8Array:
        """Return the colours of the columns, (h, x1 - x0, 3); pixels that are not painted may have any value."""


class CellLayer:
    """Colours straight from the cells: each row of cells is coloured once and repeated downwards."""

    def __init__(self, cells: Cells, covered: npt.NDArray[np.bool_], table: UInt8Array, y0: int, y1: int) -> None:
        self._covered = covered.view(np.uint8)
        self._colours = table[colour_index(cells.mean, len(table))]
        self._height = y1 - y0
        self._left = int(cells.x_edges[0])
        self._cell_at = np.repeat(np.arange(covered.shape[1]), np.diff(cells.x_edges))
        edges = (cells.y_edges - y0).tolist()
        self._rows = [(row, top, bottom) for row, (top, bottom) in enumerate(pairwise(edges)) if covered[row].any()]
        self._gapless = len(self._rows) == len(covered) and (edges[0], edges[-1]) == (0, self._height)

    def _columns(self, x0: int, x1: int) -> tuple[npt.NDArray[np.intp], slice]:
        """Return the cell of each column from `x0` to `x1` that has one, and the slice of these columns."""
        cells = self._cell_at[max(x0 - self._left, 0) : max(x1 - self._left, 0)]
        first = max(self._left - x0, 0)
        return cells, slice(first, first + len(cells))

    def painted(self, x0: int, x1: int) -> UInt8Array:
        out = np.zeros((self._height, x1 - x0), np.uint8)
        cells, columns = self._columns(x0, x1)
        for row, top, bottom in self._rows:
            out[top:bottom, columns] = self._covered[row].take(cells)
        return out

    def covers(self, x0: int, x1: int) -> bool:
        cells, _ = self._columns(x0, x1)
        return self._gapless and len(cells) == x1 - x0 and bool(self._covered[:, cells[0] : cells[-1] + 1].all())

    def colours(self, x0: int, x1: int) -> UInt8Array:
        out = np.empty((self._height, x1 - x0, 3), np.uint8)
        cells, columns = self._columns(x0, x1)
        for row, top, bottom in self._rows:
            out[top:bottom, columns] = self._colours[row].take(cells, axis=0)
        return out


class Band:
    """Some rows of a picture, ready to be painted over slide pixels, all at once or by columns."""

    def __init__(self, layer: Layer, tissue: UInt8Array | None, alpha: float) -> None:
        self._layer = layer
        self._tissue = tissue
        self._alpha = alpha

    def painted(self, x0: int, x1: int) -> UInt8Array | None:
        """Return where the columns `x0` to `x1` are coloured, (h, x1 - x0), 0 or 1, read-only; None if nowhere."""
        tissue = None if self._tissue is None else self._tissue[:, x0:x1]
        if tissue is not None:
            if not cv2.hasNonZero(tissue):
                return None
            if self._layer.covers(x0, x1):
                return tissue
        painted = self._layer.painted(x0, x1)
        if tissue is not None:
            cv2.bitwise_and(painted, tissue, dst=painted)
        return painted if cv2.hasNonZero(painted) else None

    def paint(self, pixels: UInt8Array, x0: int = 0) -> bool:
        """Paint the colours over `pixels`, the slide from column `x0` on, in place; return whether any was coloured.

        It works in blocks that fit the processor's cache, and skips blocks without colour.
        """
        tinted = False
        columns = max(_LEAST_COLUMNS, _BLOCK_PX // len(pixels))
        for left in range(0, pixels.shape[1], columns):
            block = pixels[:, left : left + columns]
            painted = self.painted(x0 + left, x0 + left + block.shape[1])
            if painted is not None:
                self.paint_where(block, painted, x0 + left)
                tinted = True
        return tinted

    def paint_where(self, pixels: UInt8Array, painted: UInt8Array, x0: int) -> None:
        """Paint the colours over `pixels` where `painted` is 1; it comes from `self.painted` for the same columns."""
        colours = self._layer.colours(x0, x0 + pixels.shape[1])
        everywhere = cv2.countNonZero(painted) == painted.size
        if self._alpha < 1:
            blended = pixels if everywhere else colours
            cv2.addWeighted(colours, self._alpha, pixels, 1 - self._alpha, 0, dst=blended)
        if self._alpha == 1 or not everywhere:
            cv2.copyTo(colours, painted, pixels)


class Painter:
    """Paints bands of one drawing. Bands do not depend on each other, so several threads may paint at once.

    With `watch` it records which patches it colours: see `uncoloured`.
    """

    def __init__(self, drawing: Drawing, *, watch: bool = False) -> None:
        self.drawing = drawing
        corners, ends = patch_pixels(drawing.grid, drawing.frame)
        scored = np.isfinite(drawing.shades)
        self._scored = scored
        width, height = (ends - corners).max(axis=0, initial=0)
        kept: npt.NDArray[np.bool_] | slice = slice(None) if scored.all() else scored  # a slice copies nothing
        self.canvas = PatchCanvas(
            corners_px=corners[kept],
            size_px=(int(width), int(height)),
            ends_px=ends[kept],
            shades=drawing.shades[kept].astype(np.float64),
            picture_px=drawing.size_px,
            floor=drawing.thresh if drawing.binarize else 0.0,
            binary=drawing.binarize,
        )
        self.tissue: TissueRaster | None = None
        if drawing.tissue is not None:
            self.tissue = TissueRaster(drawing.tissue, drawing.frame, use_holes=drawing.use_holes)
        self.coverage: Coverage | None = None
        if watch and drawing.alpha > 0:
            wanted = self.canvas.shades >= (-np.inf if drawing.cut is None else drawing.cut)
            self.coverage = Coverage(self.canvas, wanted, self.tissue)
        self._smooth: SmoothShades | None = None
        if drawing.smooth != "none":
            (x, y), (scale_x, scale_y) = drawing.grid.step_l0, drawing.frame.scale
            self._smooth = SmoothShades(self.canvas, (max(1.0, x * scale_x), max(1.0, y * scale_y)), drawing.smooth)

    def band(self, y0: int, y1: int) -> Band | None:
        """Return the rows `y0` to `y1` (not included); None if nothing is coloured there."""
        if self.drawing.alpha == 0:
            return None
        layer = self._layer(y0, y1)
        tissue = self.rows_of_tissue(y0, y1, needed=layer is not None)
        return None if layer is None else Band(layer, tissue, self.drawing.alpha)

    def paint(self, pixels: UInt8Array, y0: int) -> UInt8Array:
        """Return `pixels`, the slide's rows from `y0` on, with the colours painted over them in place."""
        band = self.band(y0, y0 + len(pixels))
        if band is not None:
            band.paint(pixels)
        return pixels

    def look(self) -> None:
        """Record the patches that painting would colour, without painting."""
        height = self.drawing.size_px[1]
        for y0 in range(0, height, _ROWS_LOOKED_AT):
            self.rows_of_tissue(y0, min(y0 + _ROWS_LOOKED_AT, height), needed=False)

    def uncoloured(self) -> Uncoloured:
        """Count the patches with a score that are not coloured, once all rows were painted or checked with `look`.

        Patches below a threshold are not counted. If the colours are fully transparent, no patch is counted.
        """
        drawing = self.drawing
        if self.coverage is None:
            return Uncoloured(int(self._scored.sum()))
        grid = drawing.grid if self._scored.all() else drawing.grid.take(self._scored)
        return self.coverage.uncoloured(grid, drawing.slide.dimensions_l0, whole=drawing.frame.whole)

    def rows_of_tissue(self, y0: int, y1: int, *, needed: bool = True) -> UInt8Array | None:
        """Return the tissue of some rows if it is `needed`, and record which patches have tissue."""
        watch = self.coverage
        waits = watch is not None and watch.waits(y0, y1)
        if self.tissue is None or not (needed or waits):
            return None
        rows = self.tissue.rows(y0, y1)
        if watch is not None and waits:
            watch.look(rows, y0)
        return rows

    def _layer(self, y0: int, y1: int) -> Layer | None:
        cells = self.canvas.cells(y0, y1)
        covered = cells.covered
        if self.drawing.threshold is not None and self._smooth is None:
            covered = covered & (cells.mean >= self.drawing.threshold)
        if not covered.any():
            return None
        layer = CellLayer(cells, covered, self.drawing.colours, y0, y1)
        if self._smooth is None:
            return layer
        shades = self._smooth.rows(y0, y1)
        return SmoothLayer(layer, shades, self.drawing.colours, self.drawing.threshold)
