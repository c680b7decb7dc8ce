"""Find the tissue of a slide, as CLAM does.

Names ending ``_l0`` are level-0 pixels. Contours are OpenCV's: int32 arrays (n, 1, 2) of x and y, not closed.
"""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.tissue_binary import tissue_binary

logger = logging.getLogger(__name__)

Contour = npt.NDArray[np.int32]

DEFAULT_FILTER: Mapping[str, float] = {"a_t": 50, "a_h": 8, "max_n_holes": 10}
"""Smallest tissue and hole, in squares of 512 level-0 pixels, and the most holes a piece keeps."""

AUTO_DOWNSAMPLE = 32.0
MOST_PIXELS_SEGMENTED = 100_000_000
"""A larger level is not segmented unless asked for by number: a shrunk picture is."""


@dataclass(frozen=True, repr=False, eq=False)
class TissueMask:
    """The tissue of one slide: pieces, and the holes of every piece.

    Attributes
    ----------
    contours_l0 : tuple of (n, 1, 2) int32
        Outline of every piece.
    holes_l0 : tuple of tuples of (n, 1, 2) int32
        The holes of every piece, as many tuples as pieces.
    """

    contours_l0: tuple[Contour, ...] = ()
    holes_l0: tuple[tuple[Contour, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.contours_l0) != len(self.holes_l0):
            raise TissueError(
                f"{len(self.contours_l0)} contours need as many tuples of holes, got {len(self.holes_l0)}"
            )
        for contour in (*self.contours_l0, *(hole for holes in self.holes_l0 for hole in holes)):
            if (
                contour.dtype != np.int32
                or contour.ndim != 3
                or contour.shape[1:] != (1, 2)
                or not len(contour)
            ):
                raise TissueError(
                    f"a contour must be int32 of shape (n, 1, 2), n >= 1, got {contour.dtype} {contour.shape}"
                )

    def __len__(self) -> int:
        return len(self.contours_l0)

    def __repr__(self) -> str:
        return f"TissueMask(pieces={len(self)}, holes={self.n_holes}, area_l0={self.area_l0:.0f})"

    @property
    def is_empty(self) -> bool:
        """Whether there is no tissue at all."""
        return not self.contours_l0

    @property
    def n_holes(self) -> int:
        """The number of holes of all pieces."""
        return sum(map(len, self.holes_l0))

    @property
    def area_l0(self) -> float:
        """Area of all pieces without their holes, in level-0 pixels."""
        import cv2

        pieces = sum(cv2.contourArea(contour) for contour in self.contours_l0)
        return float(pieces - sum(cv2.contourArea(hole) for holes in self.holes_l0 for hole in holes))

    @property
    def bounds_l0(self) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom (not included) of all pieces, None when there are none."""
        if self.is_empty:
            return None
        points = np.concatenate(self.contours_l0)[:, 0]
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return int(left), int(top), int(right) + 1, int(bottom) + 1

    def scaled(self, factors: tuple[float, float], offset: tuple[int, int] = (0, 0)) -> "TissueMask":
        """Return the mask with x and y multiplied, cut to whole numbers toward zero, then moved."""

        def scale(contour: Contour) -> Contour:
            return scale_contour(contour, factors) + np.asarray(offset, np.int32)

        return TissueMask(
            tuple(scale(contour) for contour in self.contours_l0),
            tuple(tuple(scale(hole) for hole in holes) for holes in self.holes_l0),
        )


def scale_contour(contour: Contour, factors: tuple[float, float]) -> Contour:
    """Return a contour with x and y multiplied and cut to whole numbers toward zero, as CLAM does."""
    return (contour * np.asarray(factors, np.float64)).astype(np.int32)


def segment_tissue(
    slide: Slide,
    *,
    seg_level: int = -1,
    sthresh: float = 15,
    mthresh: int = 11,
    close: int = 2,
    use_otsu: bool = False,
    filter_params: Mapping[str, float] | None = None,
    keep_ids: Collection[int] = (),
    exclude_ids: Collection[int] = (),
) -> TissueMask:
    """Return the tissue of a slide; an empty mask when there is none. CLAM's `segmentTissue`, to the pixel.

    Parameters
    ----------
    seg_level
        Level to look at. -1 takes the level nearest below a downsample of 32 (32.03 counts for 32). When that
        is larger than `MOST_PIXELS_SEGMENTED`, as in a slide of one level, a picture averaged down to about 1/32 is
        segmented instead. A level deeper than the pyramid is its deepest.
    sthresh
        Saturation (0 to 255) above which a pixel is tissue; ignored with `use_otsu`.
    mthresh
        Side of the median filter, odd; 1 filters nothing.
    close
        Side of the block by which gaps are closed; 0 closes none.
    filter_params
        `a_t`, `a_h`: smallest tissue and hole in squares of 512 x 512 level-0 pixels (fractions are kept);
        `max_n_holes`: only the largest holes of a piece count. What is left out is as in `DEFAULT_FILTER`.
    keep_ids, exclude_ids
        Numbers of the pieces to keep (none: all) and to leave out, as drawn in the mask picture.

    Raises
    ------
    TissueError
        A parameter is out of range, or `keep_ids` names a piece that does not exist.
    """
    limits = _check_filter(filter_params)
    level, factor = _choose_level(slide, seg_level)
    binary = tissue_binary(
        slide, level, factor=factor, sthresh=sthresh, mthresh=mthresh, close=close, use_otsu=use_otsu
    )
    downsample_x, downsample_y = (d * factor for d in slide.level_downsamples[level])
    unit = int(512 * 512 / (downsample_x * downsample_y))
    pieces = _filter_contours(binary, limits["a_t"] * unit, limits["a_h"] * unit, int(limits["max_n_holes"]))
    kept = [pieces[i] for i in _chosen_ids(len(pieces), keep_ids, exclude_ids, slide)]
    return TissueMask(tuple(piece for piece, _ in kept), tuple(tuple(holes) for _, holes in kept)).scaled(
        (downsample_x, downsample_y)
    )


def _check_filter(filter_params: Mapping[str, float] | None) -> dict[str, float]:
    limits = {**DEFAULT_FILTER, **(filter_params or {})}
    if unknown := sorted(set(limits) - set(DEFAULT_FILTER)):
        raise TissueError(f"unknown filter parameter {unknown[0]!r}; choose from {sorted(DEFAULT_FILTER)}")
    for name, value in limits.items():
        if not (math.isfinite(value) and value >= 0):
            raise TissueError(f"{name} must be at least 0, got {value}")
    return limits


def _choose_level(slide: Slide, seg_level: int) -> tuple[int, int]:
    """Return (level, factor): what to segment, and by how much to shrink it first."""
    if 0 <= seg_level < slide.level_count:
        return seg_level, 1
    if seg_level < 0:
        level = slide.level_for_downsample(AUTO_DOWNSAMPLE, slack=0.02)
    else:
        level, note = slide.clamp_level(seg_level)
        logger.warning("segmentation: %s", note)
    width, height = slide.level_dimensions[level]
    if width * height <= MOST_PIXELS_SEGMENTED:
        return level, 1
    nearest = slide.nearest_level(AUTO_DOWNSAMPLE)
    near_width, near_height = slide.level_dimensions[nearest]
    if near_width * near_height <= MOST_PIXELS_SEGMENTED and slide.mean_downsample(nearest) <= 2.1 * AUTO_DOWNSAMPLE:
        return nearest, 1
    at_least = math.ceil(math.sqrt(width * height / MOST_PIXELS_SEGMENTED))
    factor = max(at_least, round(AUTO_DOWNSAMPLE / slide.mean_downsample(level)))
    logger.info(
        "%s: level %d is large; it is shrunk %d times to be segmented", slide.path.name, level, factor
    )
    return level, factor


def _filter_contours(
    binary: npt.NDArray[np.uint8], least_tissue: float, least_hole: float, max_n_holes: int
) -> list[tuple[Contour, list[Contour]]]:
    """Return the pieces that are large enough, each with its holes that are, in OpenCV's order.

    A piece's own area, from which all its holes are taken, has to exceed the limit.
    """
    import cv2

    found: tuple[Any, Any] = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    contours, hierarchy = found
    if hierarchy is None:
        return []
    parents = hierarchy[0, :, 3].tolist()
    areas = [cv2.contourArea(contour) for contour in contours]
    children: dict[int, list[int]] = {}
    for index, parent in enumerate(parents):
        if parent >= 0:
            children.setdefault(parent, []).append(index)
    pieces = []
    for index, parent in enumerate(parents):
        holes = children.get(index, [])
        area = areas[index] - sum(areas[hole] for hole in holes)
        if parent >= 0 or area == 0 or area <= least_tissue:
            continue
        largest = sorted(holes, key=lambda hole: areas[hole], reverse=True)[:max_n_holes]
        kept = [contours[hole] for hole in largest if areas[hole] > least_hole]
        pieces.append((contours[index], kept))
    return pieces


def _chosen_ids(
    count: int, keep_ids: Collection[int], exclude_ids: Collection[int], slide: Slide
) -> list[int]:
    """Return the numbers of the pieces to keep, rising."""
    has = f"{slide.path.name} has {count} pieces of tissue" + (f", 0 to {count - 1}" if count else "")
    if wrong := sorted(i for i in keep_ids if not 0 <= i < count):
        raise TissueError(f"keep_ids names piece {wrong[0]}, but {has}")
    if wrong := sorted(i for i in exclude_ids if not 0 <= i < count):
        logger.warning("exclude_ids names piece %d, but %s", wrong[0], has)
    return sorted(set(keep_ids or range(count)) - set(exclude_ids))
