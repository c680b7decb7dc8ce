"""The parameters of `segment_tissue`, in a separate module so that reading a config stays quick."""

import math
from dataclasses import dataclass
from typing import Any

from mil_heatmaps.errors import TissueError

AREA_LIMITS = ("a_h", "a_t", "max_n_holes")
"""The parameters that CLAM calls filter parameters."""


@dataclass(frozen=True)
class SegmentationParams:
    """How to find the tissue of a slide, with CLAM's names and CLAM's built-in values.

    Attributes
    ----------
    seg_level
        Level to segment. -1 takes the last level with a downsample of at most 32 (32.03 counts for 32). If that level
        is larger than `MOST_PIXELS_SEGMENTED`, as in a slide with one level, a picture averaged down to about 1/32 is
        segmented instead. A level deeper than the pyramid means the deepest level.
    sthresh
        Saturation (0 to 255) above which a pixel is tissue; ignored with `use_otsu`.
    mthresh
        Side of the median filter, odd; 1 filters nothing.
    close
        Side of the block that closes gaps; 0 closes none.
    use_otsu
        Choose the threshold with Otsu's method.
    keep_ids, exclude_ids
        Numbers of the pieces to keep (empty keeps all) and to leave out, as drawn in the mask picture.
    a_t, a_h
        Smallest area of a piece and of a hole, in squares of 512 x 512 level-0 pixels; fractions are allowed.
    max_n_holes
        At most this many of a piece's largest holes count.

    Raises
    ------
    TissueError
        For a limit that is negative or not finite. The other ranges are checked during segmentation.
    """

    seg_level: int = -1
    sthresh: float = 15
    mthresh: int = 11
    close: int = 2
    use_otsu: bool = False
    keep_ids: tuple[int, ...] = ()
    exclude_ids: tuple[int, ...] = ()
    a_t: float = 50.0
    a_h: float = 8.0
    max_n_holes: int = 10

    def __post_init__(self) -> None:
        for name in AREA_LIMITS:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise TissueError(f"{name} must be at least 0, got {value}")

    def as_json(self) -> dict[str, Any]:
        """Return the parameters by name, as JSON values."""
        return {**vars(self), "keep_ids": list(self.keep_ids), "exclude_ids": list(self.exclude_ids)}


BUILT_IN = SegmentationParams()
