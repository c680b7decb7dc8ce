"""Which scored patches are visible in a picture, and why the others are not.

A patch is visible if at least one of its pixels is coloured, at the picture's own scale. The check runs while the
picture is painted, on the rows of the tissue mask that painting needs anyway. Usually it reads one pixel per patch.
Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the picture.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
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

    One pixel near the middle of every patch is checked. The other pixels matter only where an outline passes: elsewhere
    a patch is all tissue or none. All arrays are in the order of the patches' tops, so that patches of a band lie
    together.

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
        self._wanted = wanted
        width, height = canvas.picture_px
        order = canvas.by_top
        boxes = np.concatenate((canvas.corners_px.T, canvas.ends_px.T)).take(order, axis=1)
        shown = np.maximum(boxes[:2], 0), np.minimum(boxes[2:], [[width], [height]])
        self._inside = (shown[0] < shown[1])[0] & (shown[0] < shown[1])[1]
        asked = np.flatnonzero(self._inside & wanted.take(order))
        self._seen = np.full(len(asked), tissue is None)
        self._looks_for = 0 if tissue is None else len(asked)
        if tissue is None or not len(asked):
            return
        if len(asked) < len(order):
            boxes, shown = boxes[:, asked], (shown[0][:, asked], shown[1][:, asked])
        left, top = boxes[:2]
        sizes = boxes[2:] - boxes[:2]
        self._top, self._tallest = memoryview(top), int(sizes[1].max())
        # Sizes differ by at most a pixel, so every patch has a row this far below its top, in the order of the tops.
        row = np.clip(top + (int(sizes[1].min()) >> 1), 0, height - 1)
        column = np.clip(left + (int(sizes[0].min()) >> 1), 0, width - 1)
        self._row, self._pixel = memoryview(row), row * width + column
        mixed = np.flatnonzero(tissue.near_edges(*shown[0], *shown[1]))
        self._boxes = np.concatenate(shown)[:, mixed]
        self._mixed, self._mixed_top, self._mixed_bottom = mixed.tolist(), top[mixed].tolist(), self._boxes[3].tolist()
        # A separate array: a thread that checks the middles must not overwrite what another thread found elsewhere.
        self._seen_elsewhere = np.zeros(len(mixed), np.bool_)

    def waits(self, y0: int, y1: int) -> bool:
        """Whether the rows `y0` to `y1` (not included) may show a patch that was not found visible yet."""
        if not self._looks_for:
            return False
        first, last = bisect_left(self._top, y0 - self._tallest + 1), bisect_left(self._top, y1)
        return not self._seen[first:last].all()

    def look(self, tissue: UInt8Array, y0: int) -> None:
        """Mark the patches with tissue in the rows from `y0` on, (h, width) of 0 or 1; several threads may call it."""
        if not self._looks_for:
            return
        y1 = y0 + len(tissue)
        first, last = bisect_left(self._row, y0), bisect_left(self._row, y1)
        self._seen[first:last] = tissue.reshape(-1).take(self._pixel[first:last] - y0 * tissue.shape[1])
        begin = bisect_left(self._mixed_top, y0 - self._tallest + 1)
        end = bisect_left(self._mixed_top, y1, begin)
        rest = [
            n for n in range(begin, end)
            if self._mixed_bottom[n] > y0 and not self._seen_elsewhere[n] and not self._seen[self._mixed[n]]
        ]  # fmt: skip
        if rest:
            boxes = self._boxes[:, rest]
            boxes[1::2] = np.clip(boxes[1::2] - y0, 0, len(tissue))
            # Only what is found is written: another thread may have found the patch in its own rows meanwhile.
            self._seen_elsewhere[np.asarray(rest)[_hold_any(tissue, *boxes)]] = True

    def uncoloured(self, grid: PatchGrid, slide_size_l0: tuple[int, int], *, whole: bool) -> Uncoloured:
        """Return how many patches are not visible, by reason; call it once all rows were checked.

        Parameters
        ----------
        grid : PatchGrid
            The N patches of the canvas.
        whole : bool
            Whether the picture shows the whole slide. If not, a patch beyond the slide counts as outside the picture.
        """
        seen = self._seen.copy()
        if self._looks_for:
            seen[self._mixed] |= self._seen_elsewhere
        outside_tissue = int(np.count_nonzero(~seen))
        order = self._canvas.by_top
        missed = order[~self._inside & self._wanted[order]]
        start, end = self._canvas.corners_px[missed], self._canvas.ends_px[missed]
        small = ((end > 0) & (start < np.asarray(self._canvas.picture_px))).all(axis=1)
        start_l0 = grid.coords_l0[missed]
        on_slide = ((start_l0 + np.asarray(grid.size_l0) > 0) & (start_l0 < np.asarray(slide_size_l0))).all(axis=1)
        off_slide = ~on_slide if whole else np.zeros(len(missed), np.bool_)
        return Uncoloured(
            len(self._wanted), outside_tissue, int((off_slide & ~small).sum()),
            int((~off_slide & ~small).sum()), int(small.sum()),
        )


def _hold_any(
    mask: UInt8Array, x0: Ints, y0: Ints, x1: Ints, y1: Ints
) -> npt.NDArray[np.bool_]:
    """Return, as (R,), which rectangles within the mask hold a pixel that is not 0; ends are not included."""
    found = np.zeros(len(x0), np.bool_)
    rest: Sequence[int] = range(len(x0))
    w, h = int((x1 - x0).max()), int((y1 - y0).max())
    if w * h <= _SMALL_PX:
        for down, across in ((1, 1), (1, 7), (7, 1), (7, 7)):  # near its corners first
            found |= mask[y0 + (y1 - y0) * down // 8, x0 + (x1 - x0) * across // 8] != 0
        one_by_one = ~found
        alike = np.flatnonzero(one_by_one & (x1 - x0 == w) & (y1 - y0 == h))
        one_by_one[alike] = False
        windows = np.lib.stride_tricks.sliding_window_view(mask, (h, w))
        for part in _parts(alike, _AT_ONCE // (w * h)):
            found[part] = windows[y0[part], x0[part]].any(axis=(1, 2))
        rest = np.flatnonzero(one_by_one).tolist()
    for number in rest:
        found[number] = cv2.hasNonZero(mask[y0[number] : y1[number], x0[number] : x1[number]])
    return found


def _parts(items: npt.NDArray[np.intp], size: int) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
