"""Which scored patches are visible in a picture, and why the others are not.

A patch is visible if at least one of its pixels is coloured, at the picture's own scale. The check runs while the
picture is painted, on the rows of the tissue mask that painting needs anyway. Usually it reads one pixel per patch.
Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the picture.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.edge_cells import Ints
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.canvas import PatchCanvas
from mil_heatmaps.visualization.tissue_raster import TissueRaster
from mil_heatmaps.visualization.tissue_squares import TissueSquares

_FEW = 256
"""Up to this many patches of a band are looked at one by one."""
_SMALL_PX = 1024
"""Patches of at most this many pixels are checked many at a time, larger ones one by one."""
_AT_ONCE = 1 << 22
"""Pixels of small patches that are checked at a time."""

POSSIBLE_CAUSES = "the segmentation, the patch size, the frame or the units of the coordinates"


@dataclass(frozen=True)
class Uncoloured:
    """How many patches with a score are not coloured, by reason; each patch has one reason.

    Attributes
    ----------
    patches : int
        All patches of the picture with a finite score.
    outside_tissue, outside_slide, outside_picture, too_small : int
        Patches without any pixel of tissue; patches beyond the slide; patches on the slide but beyond the picture; and
        patches in the picture that cover no pixel's centre.
    """

    patches: int
    outside_tissue: int = 0
    outside_slide: int = 0
    outside_picture: int = 0
    too_small: int = 0

    @property
    def total(self) -> int:
        """The number of patches that are not coloured."""
        return self.outside_tissue + self.outside_slide + self.outside_picture + self.too_small

    def notice(self) -> Notice | None:
        """Return the notice; None if every patch is coloured. From half of the patches on, it names possible causes."""
        if not self.total:
            return None
        reasons = {
            "tissue": self.outside_tissue, "slide": self.outside_slide, "picture": self.outside_picture,
        }  # fmt: skip
        told = ", ".join(
            [f"{count} outside the {what}" for what, count in reasons.items() if count]
            + [f"{self.too_small} smaller than a pixel"] * bool(self.too_small)
        )
        causes = f" (possible causes: {POSSIBLE_CAUSES})" if 2 * self.total >= self.patches else ""
        verb = "is" if self.total == 1 else "are"
        return Notice(
            "uncoloured",
            f"{self.total} of {self.patches} patches {verb} not coloured: {told}{causes}",
            uncoloured=self.total,
            patches=self.patches,
            **{f"outside_{what}": count for what, count in reasons.items() if count},
            **({"too_small": self.too_small} if self.too_small else {}),
        )


class Coverage:
    """Which patches of a canvas have a coloured pixel in the rows that were checked so far.

    Patches that no outline comes near are all tissue or none, which squares over the picture say beforehand. Pixels
    matter only for the others, the `mixed` ones, which are kept in the order of their tops.

    Parameters
    ----------
    canvas : PatchCanvas
        The N patches, all with a finite score.
    wanted : (N,) bool
        False for patches that are left out on purpose, because they are below a threshold.
    tissue : TissueRaster or None
        What the colours are clipped to. Without it, every patch that reaches into the picture is visible.
    """

    def __init__(self, canvas: PatchCanvas, wanted: npt.NDArray[np.bool_], tissue: TissueRaster | None) -> None:
        self._canvas = canvas
        self._missed, self._without_tissue = np.empty(0, np.intp), 0
        sides: list[Ints] = [np.empty(0, np.int64)] * 4
        squares = None if tissue is None else tissue.squares(len(wanted), max(canvas.size_px))
        rest = np.flatnonzero(wanted if squares is None else wanted & ~self._surely_seen(squares))
        if len(rest):
            (left, top), (right, bottom) = (at.take(rest, axis=0).T for at in (canvas.corners_px, canvas.ends_px))
            width, height = canvas.picture_px
            shown = np.maximum(left, 0), np.maximum(top, 0), np.minimum(right, width), np.minimum(bottom, height)
            missed = (shown[0] >= shown[2]) | (shown[1] >= shown[3])
            self._missed = rest[missed]
            if squares is not None:
                asked = [side[~missed] for side in shown]
                mixed, self._without_tissue = squares.undecided(*asked)
                mixed = mixed[np.argsort(asked[1][mixed], kind="stable")]
                sides = [side[mixed] for side in asked]
        self._boxes, self._as_lists = np.stack(sides), np.stack(sides, axis=1).tolist()
        self._tops = memoryview(self._boxes[1])
        self._tallest = int((sides[3] - sides[1]).max(initial=0))
        # A thread that looks at some rows must not overwrite what another thread found in others: only 1 is written.
        self._found = bytearray(len(sides[0]))
        self._found_array = np.frombuffer(self._found, np.uint8)

    def _surely_seen(self, squares: TissueSquares) -> npt.NDArray[np.bool_]:
        """Return, as (N,), which patches are visible because their middle lies in a square of tissue."""
        canvas = self._canvas
        if min(canvas.size_px) < 2:  # sizes differ by a pixel at most, so some patches may have none
            return np.zeros(len(canvas.shades), np.bool_)
        (left, top), (right, bottom) = canvas.corners_px.T, canvas.ends_px.T  # axis by axis, which is fastest
        return squares.tissue_at(left + right, top + bottom)

    def _range(self, y0: int, y1: int) -> tuple[int, int]:
        """Return the first of the mixed patches that may have a row in `y0` to `y1` (not included), and the end."""
        begin = bisect_left(self._tops, y0 - self._tallest + 1)
        return begin, bisect_left(self._tops, y1, begin)

    def waits(self, y0: int, y1: int) -> bool:
        """Whether the rows `y0` to `y1` (not included) may show a patch that was not found visible yet."""
        if not self._found:
            return False
        begin, end = self._range(y0, y1)
        return self._found.find(0, begin, end) >= 0

    def look(self, tissue: UInt8Array, y0: int) -> None:
        """Mark the patches with tissue in the rows from `y0` on, (h, width) of 0 or 1; several threads may call it."""
        height = len(tissue)
        begin, end = self._range(y0, y0 + height)
        if end - begin > _FEW:
            waiting = np.flatnonzero((self._found_array[begin:end] == 0) & (self._boxes[3, begin:end] > y0)) + begin
            boxes = self._boxes[:, waiting]
            boxes[1::2] = np.clip(boxes[1::2] - y0, 0, height)
            self._found_array[waiting[_hold_any(tissue, *boxes)]] = 1
            return
        found = self._found
        for n, (x0, top, x1, bottom) in enumerate(self._as_lists[begin:end], begin):
            if found[n] or bottom <= y0:
                continue
            row = (top + bottom >> 1) - y0
            on_tissue = 0 <= row < height and tissue[row, x0 + x1 >> 1]
            if on_tissue or cv2.hasNonZero(tissue[max(top - y0, 0) : bottom - y0, x0:x1]):
                found[n] = 1

    def uncoloured(self, grid: PatchGrid, slide_size_l0: tuple[int, int], *, whole: bool) -> Uncoloured:
        """Return how many patches are not visible, by reason; call it once all rows were checked.

        Parameters
        ----------
        grid : PatchGrid
            The N patches of the canvas.
        whole : bool
            Whether the picture shows the whole slide. If not, a patch beyond the slide counts as outside the picture.
        """
        outside_tissue = self._without_tissue + self._found.count(0)
        missed = self._missed
        start, end = self._canvas.corners_px[missed], self._canvas.ends_px[missed]
        small = ((end > 0) & (start < np.asarray(self._canvas.picture_px))).all(axis=1)
        start_l0 = grid.coords_l0[missed]
        on_slide = ((start_l0 + np.asarray(grid.size_l0) > 0) & (start_l0 < np.asarray(slide_size_l0))).all(axis=1)
        off_slide = ~on_slide if whole else np.zeros(len(missed), np.bool_)
        return Uncoloured(
            len(self._canvas.shades), outside_tissue, int((off_slide & ~small).sum()),
            int((~off_slide & ~small).sum()), int(small.sum()),
        )


def _hold_any(
    mask: UInt8Array, x0: Ints, y0: Ints, x1: Ints, y1: Ints
) -> npt.NDArray[np.bool_]:
    """Return, as (R,), which rectangles within the mask hold a pixel that is not 0; ends are not included."""
    found: npt.NDArray[np.bool_] = mask[y0 + y1 >> 1, x0 + x1 >> 1] != 0
    rest = np.flatnonzero(~found)
    if not len(rest):
        return found
    w, h = int((x1 - x0).max()), int((y1 - y0).max())
    if w * h <= _SMALL_PX:
        left, top, right, bottom = x0[rest], y0[rest], x1[rest], y1[rest]
        near = left + (right - left >> 3), left + (7 * (right - left) >> 3)
        for row in (top + (bottom - top >> 3), top + (7 * (bottom - top) >> 3)):  # near its corners first
            for column in near:
                found[rest] |= mask[row, column] != 0
        rest = rest[~found[rest]]
        alike = (x1[rest] - x0[rest] == w) & (y1[rest] - y0[rest] == h)
        if alike.any():
            windows = np.lib.stride_tricks.sliding_window_view(mask, (h, w))
            for part in _parts(rest[alike], _AT_ONCE // (w * h)):
                found[part] = windows[y0[part], x0[part]].any(axis=(1, 2))
        rest = rest[~alike]
    for number in rest.tolist():
        found[number] = cv2.hasNonZero(mask[y0[number] : y1[number], x0[number] : x1[number]])
    return found


def _parts(items: npt.NDArray[np.intp], size: int) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
