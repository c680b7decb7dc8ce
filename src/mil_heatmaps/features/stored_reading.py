"""How the patches of a feature file were read, so that more patches can be read in the same way.

Names ending ``_l0`` are level-0 pixels; ``_px`` are pixels of the level read, or of the patch returned, as stated;
sizes are (width, height).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.read_plan import PatchReading, reading_for_grid
from mil_heatmaps.slides.reader import Slide

Size = tuple[int, int]

_SAME_VIEW = 0.02
"""Share by which a level's field of view may differ from the patch's: level sizes are rounded."""


@dataclass(frozen=True)
class StoredReading:
    """How a file says its patches were read; None for anything it does not say.

    Attributes
    ----------
    patch_px : (width, height) or None
        Pixels given to the encoder: TRIDENT's ``patch_size`` at the target magnification, CLAM's at its level.
    level : int or None
        The level read: CLAM's ``patch_level``, or ``read_level`` in this program's files. TRIDENT's files name no
        level; its rule is that of `reading_for_grid`.
    read_px : (width, height) or None
        Pixels of that level read per patch; differs from `patch_px` where patches were shrunk.
    """

    patch_px: Size | None
    level: int | None = None
    read_px: Size | None = None


def stored_reading(attributes: Mapping[str, Any]) -> StoredReading:
    """Return what the attributes of TRIDENT's, CLAM's or this program's files say."""
    patch_px = _size(attributes.get("patch_size")) or _size(attributes.get("tile_size_px"))  # the latter is STAMP's
    if (level := _level(attributes.get("read_level"))) is not None:
        return StoredReading(patch_px, level, _size(attributes.get("read_size")) or patch_px)
    # In a file with both, the patch size is at the magnification, as in TRIDENT.
    level = None if "target_magnification" in attributes else _level(attributes.get("patch_level"))
    return StoredReading(patch_px, level, None if level is None else patch_px)


def reading_as_stored(slide: Slide, grid: PatchGrid, stored: StoredReading, default_px: int) -> PatchReading:
    """Return how to read patches of `grid` in the way that the patches of the file were read.

    A level named in the file is read when its `read_px` pixels cover a patch of the grid on this slide. On another
    pyramid of the same slide, and where no level is named, the coarsest level that is fine enough is read, as in
    TRIDENT.

    Parameters
    ----------
    default_px
        Side of a returned patch, where the file does not state it.
    """
    if stored.level is not None and stored.read_px is not None and stored.patch_px is not None:
        read_px = stored.read_px
        if stored.level < slide.level_count and all(
            abs(px * d - l0) <= _SAME_VIEW * l0 + 1
            for px, d, l0 in zip(read_px, slide.level_downsamples[stored.level], grid.size_l0, strict=True)
        ):
            return PatchReading(stored.level, read_px, stored.patch_px)
    return reading_for_grid(slide, grid, patch_px=stored.patch_px or default_px)


def _size(value: Any) -> Size | None:
    """Return one or two positive numbers as a size, None for anything else."""
    try:
        numbers = np.asarray(np.nan if value is None else value, np.float64).ravel()
    except (TypeError, ValueError):
        return None
    if len(numbers) not in (1, 2) or not (np.isfinite(numbers) & (numbers >= 1)).all():
        return None
    return int(numbers[0]), int(numbers[-1])


def _level(value: Any) -> int | None:
    try:
        number = float(np.nan if value is None else value)
    except (TypeError, ValueError):
        return None
    return int(number) if number >= 0 and number.is_integer() else None
