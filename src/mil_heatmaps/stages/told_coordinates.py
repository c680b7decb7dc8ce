"""Report, before any work, how the coordinates in a slide's files will be understood: their unit and their origin.

This reports only what is known without reading the coordinates; the run reports the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.stages.base import SlideWork

if TYPE_CHECKING:
    from mil_heatmaps.slides.slide_space import Size, SlideSpace

_PATCH_STAGES = frozenset(("coords", "attention"))
_TOLD = ("units", "frame")


def told_coordinates(work: SlideWork, needed: frozenset[str]) -> list[str]:
    """Return one line per file whose coordinates the stages `needed` read, or else what earlier runs found.

    Raises
    ------
    FeatureError
        The unit of coordinates is not known, or they need a resolution that the slide does not have.
    """
    job, lines = work.job, []
    patches = job.scores_path or work.patches_path
    if patches is not None and needed & _PATCH_STAGES:
        attributes = _attributes(patches, work)
        unit = _centres(attributes, work, patches) or _unit(attributes, work.space, patches)
        lines.append(f"{patches.name}: {unit}, {_frame(attributes, work.space)}")
    if job.tissue_path is not None and "segment" in needed:
        lines.append(f"{job.tissue_path.name}: {_frame({}, work.space)}")
    return lines or [str(notice) for notice in work.record.notices() if notice.code in _TOLD]


def _attributes(path: Path, work: SlideWork) -> dict[str, Any]:
    """Return what a file says of its coordinates, without reading them."""
    from mil_heatmaps.features.stored_coords import coords_attributes, told_attributes
    from mil_heatmaps.files import hdf5
    from mil_heatmaps.scores.external_scores import HDF5_SUFFIXES, TABLE_SUFFIXES
    from mil_heatmaps.scores.score_tables import table_unit

    if path == work.patches_path:
        return told_attributes(path, work.space.name)
    if path.suffix in HDF5_SUFFIXES:
        with hdf5.open_h5(path) as file:
            return coords_attributes(file)
    plain = path.with_suffix("") if path.suffix in (".gz", ".gzip") else path
    return {"unit": table_unit(path)} if plain.suffix in TABLE_SUFFIXES else {}


def _centres(attributes: dict[str, Any], work: SlideWork, path: Path) -> str:
    from mil_heatmaps.features.slideflow import CENTRES, tile_size_l0

    if CENTRES not in attributes:
        return ""
    side = tile_size_l0(attributes, work.space, work.config.data_arguments.patch_size_level0, str(path))
    return f"coordinates are centres of tiles of {side} px (slideflow)"


def _unit(attributes: dict[str, Any], space: SlideSpace, path: Path) -> str:
    from mil_heatmaps.features.units import BY_NOBODY, FEATS, needed_mpp, unit_of

    unit = unit_of(attributes, None, space, str(path))
    if FEATS in attributes and unit.said == BY_NOBODY:
        return "coordinates are in a unit that shows when they are read"
    if unit.um is None:
        return f"coordinates are {unit.name}"
    return f"coordinates are {unit.name} ({unit.said}), {needed_mpp(unit, space, str(path)):.6g} µm per pixel"


def _frame(attributes: dict[str, Any], space: SlideSpace) -> str:
    import numpy as np

    from mil_heatmaps.features.geometry import slide_size
    from mil_heatmaps.slides.frames import frame_shift

    said: Size | None = slide_size(attributes)
    if space.scanned_l0 is not None and space.frame == "auto" and said is None:
        return "counted from the slide's corner or the scanned area's (bounds), as they show when they are read"
    nowhere = np.empty((0, 2), np.int64)
    shift = frame_shift(space, nowhere, nowhere, said=said)
    return "counted from " + ("the slide's corner" if shift == (0, 0) else f"the scanned area (bounds) at {shift}")
