"""Find the tissue of a slide, as CLAM does.

Names ending ``_l0`` are level-0 pixels. Contours are OpenCV's: int32 arrays (n, 1, 2) of x and y, not closed.
"""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.segmentation_params import BUILT_IN, SegmentationParams
from mil_heatmaps.slides.tissue_binary import tissue_binary

logger = logging.getLogger(__name__)

Contour = npt.NDArray[np.int32]

AUTO_DOWNSAMPLE = 32.0
MOST_PIXELS_SEGMENTED = 100_000_000
"""A larger level is shrunk before segmentation, unless the user chose this level by number."""


@dataclass(frozen=True, repr=False, eq=False)
class TissueMask:
    """The tissue of one slide: its pieces, and the holes of every piece.

    Attributes
    ----------
    contours_l0 : tuple of (n, 1, 2) int32
        Outline of every piece.
    holes_l0 : tuple of tuples of (n, 1, 2) int32
        The holes of every piece; one tuple per piece.
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

    def scaled(self, factors: tuple[float, float]) -> "TissueMask":
        """Return the mask with x and y multiplied by `factors` and truncated to whole numbers."""
        return TissueMask(
            tuple(scale_contour(contour, factors) for contour in self.contours_l0),
            tuple(tuple(scale_contour(hole, factors) for hole in holes) for holes in self.holes_l0),
        )

    def moved(self, shift_l0: tuple[int, int]) -> "TissueMask":
        """Return the mask shifted by whole pixels in x and y."""
        shift = np.array(shift_l0, np.int32)
        return TissueMask(
            tuple(contour + shift for contour in self.contours_l0),
            tuple(tuple(hole + shift for hole in holes) for holes in self.holes_l0),
        )


def scale_contour(contour: Contour, factors: tuple[float, float]) -> Contour:
    """Return a contour with x and y multiplied by `factors` and truncated to whole numbers, as in CLAM."""
    return (contour * np.asarray(factors, np.float64)).astype(np.int32)


def segment_tissue(slide: Slide, params: SegmentationParams = BUILT_IN) -> TissueMask:
    """Return the tissue of a slide; an empty mask if there is none. It equals CLAM's `segmentTissue` to the pixel.

    Raises
    ------
    TissueError
        If a parameter is out of range, or `keep_ids` names a piece that does not exist.
    """
    p = params
    level, factor = _choose_level(slide, p.seg_level)
    binary = tissue_binary(
        slide, level, factor=factor, sthresh=p.sthresh, mthresh=p.mthresh, close=p.close, use_otsu=p.use_otsu
    )
    downsample_x, downsample_y = (d * factor for d in slide.level_downsamples[level])
    unit = int(512 * 512 / (downsample_x * downsample_y))
    pieces = _filter_contours(binary, p.a_t * unit, p.a_h * unit, int(p.max_n_holes))
    kept = [pieces[i] for i in _chosen_ids(len(pieces), p.keep_ids, p.exclude_ids, slide)]
    return TissueMask(tuple(piece for piece, _ in kept), tuple(tuple(holes) for _, holes in kept)).scaled(
        (downsample_x, downsample_y)
    )


def _choose_level(slide: Slide, seg_level: int) -> tuple[int, int]:
    """Return (level, factor): which level to segment, and by how much to shrink it first."""
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
    """Return the pieces that are large enough, in OpenCV's order, each with its holes that are large enough.

    The area of a piece, without all its holes, must exceed the limit.
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
    """Return the numbers of the pieces to keep, in ascending order."""
    has = f"{slide.path.name} has {count} pieces of tissue" + (f", 0 to {count - 1}" if count else "")
    if wrong := sorted(i for i in keep_ids if not 0 <= i < count):
        raise TissueError(f"keep_ids names piece {wrong[0]}, but {has}")
    if wrong := sorted(i for i in exclude_ids if not 0 <= i < count):
        logger.warning("exclude_ids names piece %d, but %s", wrong[0], has)
    return sorted(set(keep_ids or range(count)) - set(exclude_ids))
