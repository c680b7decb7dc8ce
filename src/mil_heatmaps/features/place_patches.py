"""Place the patches of a file on their slide: the only way from stored coordinates to a `PatchGrid`.

Features, coordinates, score files and tables of scores all pass through here, so that units, frames and checks are
the same for all. Names ending ``_l0`` are level-0 pixels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.features import checks
from mil_heatmaps.features.geometry import SizeLike, build_grid, geometry_from_attributes, positive_pair, slide_size
from mil_heatmaps.features.grid_step import SeenStep
from mil_heatmaps.features.pairing import pairing_notes
from mil_heatmaps.features.pathforge import READ_AT, with_size_l0
from mil_heatmaps.features.slideflow import CENTRES, corners_of_centres
from mil_heatmaps.features.units import check_extent, in_pixels
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.frames import place_grid, says_scanned_size
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace


def place_patches(
    values: npt.NDArray[Any],
    attributes: Mapping[str, Any],
    space: SlideSpace,
    *,
    patch_size_l0: SizeLike | None = None,
    of_scores: bool = False,
    where: str,
) -> tuple[PatchGrid, list[Notice]]:
    """Return the patches in level-0 pixels of the slide, and notes on decisions, guesses and oddities.

    The steps, in order: centres become corners, and sizes in pixels of a level become level-0 sizes; micrometres become
    pixels; rows and columns of a grid are refused; size and step are decided; then the frame (before the check for
    patches outside the slide, because a wrong frame puts them there); last comes the check whether the patches can
    belong to the slide.

    Parameters
    ----------
    values : (N, 2)
        Coordinates as stored.
    attributes : mapping
        What the file says about its coordinates, patches and slide.
    patch_size_l0 : float or (width, height), optional
        Used where the file does not say how large its patches are.
    of_scores : bool
        For a score file: it may have no patches, and its `step_level0` is trusted.
    where : str
        The file, for messages.

    Raises
    ------
    FeatureError
        The coordinates cannot be level-0 pixels or cannot belong to the slide; the unit or patch size is unknown.
    """
    centred = CENTRES in attributes
    if centred:
        values, attributes = corners_of_centres(values, attributes, space, patch_size_l0, where)
    if READ_AT in attributes:
        attributes = with_size_l0(dict(attributes), space, patch_size_l0, where)
    stored = in_pixels(values, attributes, space, where)
    empty = of_scores and not values.size
    coords_l0 = np.empty((0, 2), np.int64) if empty else checks.clean_coords(stored.values, where)
    said = geometry_from_attributes(stored.attributes)
    size_l0 = said.size_l0 or positive_pair({"size": patch_size_l0}, "size")
    checks.refuse_grid_positions(coords_l0, size_l0, said.step_l0, where)
    grid, notes = _grid(coords_l0, stored.attributes, patch_size_l0, stored.seen, of_scores, where)
    said_size = slide_size(attributes)
    grid, moved = place_grid(grid, space, said_size)
    notes = [*stored.notes, *notes, *moved]
    if centred:
        text = f"coordinates are centres of tiles of {grid.size_l0[0]} px, as slideflow counts: turned into corners"
        notes.insert(0, Notice("units", text))
    if not says_scanned_size(said_size, space):
        notes += checks.check_slide_size(said_size, space.size_l0, where)
    if len(grid):
        x, y = (grid.coords_l0.max(axis=0) + grid.size_l0).tolist()
        notes += check_extent((x, y), attributes, space, where)
        notes += checks.check_on_slide(grid, space.size_l0, where)
    return grid, notes + pairing_notes(attributes, space.name, where)


def _grid(
    coords_l0: npt.NDArray[np.int64],
    attributes: Mapping[str, Any],
    patch_size_l0: SizeLike | None,
    seen: SeenStep | None,
    of_scores: bool,
    where: str,
) -> tuple[PatchGrid, list[Notice]]:
    said = geometry_from_attributes(attributes)
    if of_scores and said.size_l0 and said.step_l0 and "step_level0" in attributes:
        return PatchGrid(coords_l0, said.size_l0, said.step_l0), []
    if of_scores and not len(coords_l0) and said.size_l0 is None and patch_size_l0 is None:
        return PatchGrid(coords_l0, (1, 1), (1, 1)), []
    return build_grid(coords_l0, attributes, patch_size_l0=patch_size_l0, seen=seen, where=where)
