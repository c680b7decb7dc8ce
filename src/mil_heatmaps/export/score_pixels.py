"""The scores themselves as pixels: float32, NaN where no patch lies, painted band by band at any scale.

Every level of a pyramid is painted from the patches, not made from the next finer level. A pixel under several patches
has their mean, as in a heatmap. Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the level.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.export.reduce import level_sizes
from mil_heatmaps.export.tables import score_columns
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import Size
from mil_heatmaps.visualization.canvas import Cells, PatchCanvas, place_patches
from mil_heatmaps.visualization.frame import Frame

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ScorePicture:
    """The columns of a score file in a frame of their slide and in its halved levels.

    Attributes
    ----------
    name : str
        Name of the slide.
    grid : PatchGrid
    columns : name -> (N,) float32
        One channel per column, in this order.
    kinds : name -> kind of score
    frame : Frame
        The finest level.
    mpp : float or None
        Micrometres per level-0 pixel.
    """

    name: str
    grid: PatchGrid
    columns: Mapping[str, Floats]
    kinds: Mapping[str, str]
    frame: Frame
    mpp: float | None = None
    slide_size_l0: Size | None = None
    notes: tuple[str, ...] = field(default=())

    def levels(self, smallest_px: int) -> list[Frame]:
        """Return the frame and its halves, until the longer side is at most `smallest_px`."""
        width, height = self.frame.size_px
        x, y = self.frame.downsample
        return [
            replace(self.frame, size_px=size, downsample=(x * 2**number, y * 2**number))
            for number, size in enumerate(level_sizes((width, height), smallest_px))
        ]

    def mpp_of(self, frame: Frame) -> tuple[float, float] | None:
        """Return micrometres per pixel of a level, x and y; None if the slide's resolution is not known."""
        return None if self.mpp is None else (self.mpp * frame.downsample[0], self.mpp * frame.downsample[1])

    def range_of(self, column: str) -> tuple[float, float] | None:
        """Return the lowest and the highest finite score of a column; None if no score is finite."""
        finite = self.columns[column][np.isfinite(self.columns[column])]
        return (float(finite.min()), float(finite.max())) if len(finite) else None


def picture_of(
    scores: ScoreFile, frame: Frame, name: str, mpp: float | None, *, notes: tuple[str, ...] = ()
) -> ScorePicture:
    """Return every column of every score of a file as a picture; raise ScoreError if there are no patches."""
    if not len(scores):
        raise ScoreError("there are no patches, so there is no picture of their scores")
    each = scores.all_scores.values()
    kinds = {column: one.kind for one in each for column in score_columns(replace(scores, scores=one, extra=()))}
    return ScorePicture(name, scores.grid, score_columns(scores), kinds, frame, mpp, scores.slide_size_l0, notes)


class ScorePainter:
    """Paints one column on one level."""

    def __init__(self, grid: PatchGrid, scores: Floats, frame: Frame) -> None:
        corners_px, size_px = place_patches(grid, frame)
        scored = np.isfinite(scores)
        self._size_px = frame.size_px
        self._canvas = PatchCanvas(
            corners_px[scored], size_px, scores[scored].astype(np.float64), frame.size_px, floor=-np.inf
        )

    def rows(self, y0: int, y1: int, width_px: int) -> Iterator[Floats]:
        """Yield the rows `y0` to `y1` (not included) in pieces of at most `width_px` columns, from left to right."""
        cells = self._canvas.cells(y0, y1)
        for x0 in range(0, self._size_px[0], width_px):
            yield _pixels(cells, (y0, y1), (x0, min(x0 + width_px, self._size_px[0])))


def _pixels(cells: Cells, rows: tuple[int, int], columns: tuple[int, int]) -> Floats:
    """Return a rectangle of a band, (height, width) float32, NaN where no patch lies."""
    (y0, y1), (x0, x1) = rows, columns
    out = np.full((y1 - y0, x1 - x0), np.nan, np.float32)
    if cells.mean.size == 0:
        return out
    edges = cells.x_edges
    first = max(int(np.searchsorted(edges, x0, side="right")) - 1, 0)
    last = max(int(np.searchsorted(edges, x1, side="left")), first + 1)
    clipped = np.clip(edges[first : last + 1], x0, x1)
    part = slice(first, first + len(clipped) - 1)
    values = np.where(cells.covered[:, part], cells.mean[:, part], np.nan).astype(np.float32)
    wide = np.repeat(values, np.diff(clipped), axis=1)
    tall = np.repeat(wide, np.diff(cells.y_edges), axis=0)
    top, left = int(cells.y_edges[0]) - y0, int(clipped[0]) - x0
    out[top : top + tall.shape[0], left : left + tall.shape[1]] = tall
    return out
