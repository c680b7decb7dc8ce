"""At which level and in which size the patches of a grid are read.

Names ending ``_l0`` are level-0 pixels; ``_px`` are pixels of the level or of the returned patch, as stated for each.
Sizes are (width, height).

Example: a slide has 0.25 um/px and levels 1, 4, 16. Patches of 256 px at 0.5 um/px cover 512 level-0 pixels. No level
has 0.5 um/px, so 512 px are read at level 0 and shrunk to 256.
"""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import Slide

logger = logging.getLogger(__name__)

# TRIDENT's buckets: a resolution below the limit counts as the given magnification.
_BUCKETS = ((0.16, 80), (0.2, 60), (0.3, 40), (0.6, 20), (1.2, 10), (2.4, 5))


@dataclass(frozen=True)
class PatchReading:
    """What is read for a patch, and the size in which it is returned.

    Attributes
    ----------
    level : int
        The level to read.
    read_px : (width, height)
        Size of a patch in pixels of that level.
    patch_px : (width, height)
        Size of the returned patch. If it differs from `read_px`, Pillow's bicubic filter resizes the patch, as in CLAM
        and TRIDENT.
    """

    level: int
    read_px: tuple[int, int]
    patch_px: tuple[int, int]

    def __post_init__(self) -> None:
        if self.level < 0 or min(self.read_px) < 1 or min(self.patch_px) < 1:
            raise ValueError(f"level must be at least 0, sizes at least 1: {self}")

    def identity(self) -> dict[str, Any]:
        """Return everything that the pixels of a patch depend on as plain values, for records and cache keys."""
        # Since version 2 of the interpolation, patches between pixels of a level equal OpenSlide's bit for bit.
        return asdict(self) | ({"interpolation": 2} if self.level else {})


def reading_at_level(slide: Slide, *, patch_size: int, level: int = 0, custom_downsample: float = 1) -> PatchReading:
    """Return CLAM's reading: `patch_size` px of `level`; with `custom_downsample`, more pixels are read and shrunk."""
    if not 0 <= level < slide.level_count:
        raise SlideError(
            f"patch_level {level} is not in {slide.path.name}, which has levels 0 to {slide.level_count - 1}"
        )
    if patch_size < 1 or custom_downsample < 1:
        raise ValueError(
            f"patch_size and custom_downsample must be at least 1, got {patch_size} and {custom_downsample}"
        )
    side = int(patch_size * custom_downsample)
    return PatchReading(level, (side, side), (patch_size, patch_size))


def reading_for_grid(slide: Slide, grid: PatchGrid, *, patch_px: int | tuple[int, int] | None = None) -> PatchReading:
    """Return how to read the patches of a grid as `patch_px` pixels, from the coarsest level that is fine enough.

    Without `patch_px`, patches are returned in level-0 pixels. A level may be up to 2 % coarser than needed, because
    level sizes are rounded.
    """
    wanted = grid.size_l0 if patch_px is None else patch_px
    size = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    downsample = min(l0 / px for l0, px in zip(grid.size_l0, size, strict=True))
    level = slide.level_for_downsample(downsample, slack=0.02)
    width, height = (max(1, round(l0 / d)) for l0, d in zip(grid.size_l0, slide.level_downsamples[level], strict=True))
    if width < size[0] or height < size[1]:
        logger.warning(
            "%s: patches of %d x %d level-0 pixels are enlarged to %d x %d: the slide has no finer level",
            slide.path.name, *grid.size_l0, *size,
        )  # fmt: skip
    return PatchReading(level, (width, height), size)


def level0_magnification(slide: Slide) -> int | None:
    """Return the magnification of level 0: from TRIDENT's buckets of um/px, else the objective's, else None."""
    if slide.mpp is not None:
        for limit, magnification in _BUCKETS:
            if slide.mpp < limit:
                return magnification
    return round(slide.objective_power) if slide.objective_power else None


def size_l0_for_mpp(slide: Slide, patch_px: int, mpp: float) -> int:
    """Return how many level-0 pixels a patch of `patch_px` pixels at `mpp` um/px covers."""
    if slide.mpp is None:
        raise SlideError(
            f"{slide.path.name}: {slide.mpp_note}; patches at {mpp:g} um/px cannot be cut: give the resolution in the "
            "process list's column mpp or in data_arguments.slide_mpp, or patch_level and patch_size instead"
        )
    if mpp <= 0:
        raise ValueError(f"mpp must be above 0, got {mpp}")
    return max(1, round(patch_px * mpp / slide.mpp))


def size_l0_for_magnification(slide: Slide, patch_px: int, magnification: float) -> int:
    """Return how many level-0 pixels a patch of `patch_px` at `magnification` covers, rounded down as in TRIDENT."""
    level0 = level0_magnification(slide)
    if level0 is None:
        raise SlideError(
            f"{slide.path.name} says neither its resolution nor its objective; patches at {magnification:g}x "
            "cannot be cut, give patch_level and patch_size instead"
        )
    if magnification <= 0:
        raise ValueError(f"magnification must be above 0, got {magnification}")
    return max(1, int(patch_px * level0 // magnification))
