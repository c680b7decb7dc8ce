"""Where patches lie and how they are read: by the config, or as a feature or coordinates file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import TissueError
from mil_heatmaps.notices import Notice

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.config.sections import PatchingArguments
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.read_plan import PatchReading
    from mil_heatmaps.slides.reader import Slide
    from mil_heatmaps.slides.roi import Roi
    from mil_heatmaps.stages.base import SlideWork

_CUTS = ("patch_size", "patch_level", "custom_downsample", "mpp", "magnification")
"""Keys of patching_arguments that say which pixels a patch has."""


def clam_options(config: Config, slide: Slide) -> dict[str, Any]:
    """Return level, side and shrinking of patches as `region_grid` takes them; mpp and magnification give the side."""
    from mil_heatmaps.slides.read_plan import size_l0_for_magnification, size_l0_for_mpp

    patching = config.patching_arguments
    if patching.mpp is not None:
        return {"patch_level": 0, "patch_size": size_l0_for_mpp(slide, patching.patch_size, patching.mpp)}
    if patching.magnification is not None:
        side = size_l0_for_magnification(slide, patching.patch_size, patching.magnification)
        return {"patch_level": 0, "patch_size": side}
    return {
        "patch_level": patching.patch_level,
        "patch_size": patching.patch_size,
        "custom_downsample": patching.custom_downsample,
    }


def lay_bag_grid(work: SlideWork) -> PatchGrid:
    """Return the patches of the bag if the user provides no file, laid as CLAM lays the patches of a training set.

    With ``compat: clam`` they are the patches of CLAM's heatmaps: the fine map's grid without overlap.

    Raises
    ------
    TissueError
        Patches larger than the slide, or a level it does not have.
    """
    from mil_heatmaps.slides.contour_grid import grid_from_contours

    if work.config.heatmap_arguments.compat == "clam":
        return lay_clam_grid(work, overlap=0.0)
    options, segmentation = clam_options(work.config, work.slide), work.job.row.segmentation
    options["patch_size"] *= options.pop("custom_downsample", 1)
    contour_fn, use_padding = segmentation.contour_fn, segmentation.use_padding
    grid = grid_from_contours(work.mask, work.slide, contour_fn=contour_fn, use_padding=use_padding, **options)
    return _not_larger_than(work.slide, grid)


def bag_grid_inputs(work: SlideWork) -> dict[str, Any]:
    """Return what `lay_bag_grid` depends on besides the tissue and patching_arguments."""
    if work.config.heatmap_arguments.compat == "clam":
        return {"use_center_shift": work.config.heatmap_arguments.use_center_shift}
    return work.job.row.segmentation.model_dump(include={"contour_fn", "use_padding"})


def lay_clam_grid(work: SlideWork, overlap: float, roi: Roi | None = None) -> PatchGrid:
    """Return the grid of CLAM's heatmaps in the slide's tissue, or in the box around a region, starting at its corner.

    As in CLAM, contour_fn and use_padding have no effect on it.

    Raises
    ------
    TissueError
        Patches larger than the slide, or a level it does not have.
    """
    from mil_heatmaps.slides.contour_grid import region_grid

    config, slide = work.config, work.slide
    options = clam_options(config, slide)
    grid = region_grid(
        work.mask,
        slide,
        overlap=overlap,
        use_center_shift=config.heatmap_arguments.use_center_shift,
        top_left=roi.top_left_l0 if roi is not None else None,
        bot_right=roi.bot_right_l0 if roi is not None else None,
        **options,
    )
    return _not_larger_than(slide, grid)


def _not_larger_than(slide: Slide, grid: PatchGrid) -> PatchGrid:
    """Return `grid`; raise where its patches are larger than the slide in both directions."""
    (width, height), (width_l0, height_l0) = slide.dimensions_l0, grid.size_l0
    if width_l0 > width and height_l0 > height:
        raise TissueError(
            f"patches of {width_l0} x {height_l0} level-0 pixels are larger than {slide.path.name}, which has {width} x"
            f" {height}; choose a smaller patch_size, or a finer level or resolution"
        )
    return grid


def clam_reading(config: Config, slide: Slide, grid: PatchGrid) -> PatchReading:
    """Return how patches laid here are read: from patch_level, or from the level that suits mpp or magnification."""
    from mil_heatmaps.slides.read_plan import reading_at_level, reading_for_grid

    patching = config.patching_arguments
    if patching.mpp is not None or patching.magnification is not None:
        return reading_for_grid(slide, grid, patch_px=patching.patch_size)
    return reading_at_level(
        slide,
        patch_size=patching.patch_size,
        level=patching.patch_level,
        custom_downsample=patching.custom_downsample,
    )


def bag_reading(work: SlideWork, grid: PatchGrid) -> tuple[PatchReading, list[Notice]]:
    """Return how the patches of the slide's bag are read, and notes about it.

    If the user provides features or coordinates, the file decides and not the config: the model expects patches as they
    were read for that file.
    """
    from mil_heatmaps.features.read import patch_attributes
    from mil_heatmaps.features.stored_reading import reading_as_stored, stored_reading

    patching, path = work.config.patching_arguments, work.patches_path
    if path is None:
        return clam_reading(work.config, work.slide, grid), []
    stored = stored_reading(patch_attributes(path, work.job.coords_dir, work.space.name))
    reading = reading_as_stored(work.slide, grid, stored, patching.patch_size)
    if stored.patch_px is None:
        side = patching.patch_size
        text = (
            f"{path.name} does not say how many pixels its patches have: {side} x {side} are taken"
            " (patching_arguments.patch_size)"
        )
        return reading, [Notice("patch_reading", text)]
    given = ", ".join(f"{key} {value:g}" for key in _CUTS if (value := _given(patching, key)) is not None)
    if not given or _agrees(work, grid, stored.patch_px):
        return reading, []
    (width, height), (width_l0, height_l0) = stored.patch_px, grid.size_l0
    text = (
        f"patching_arguments ({given}) are not used: patches are read as {path.name} says its own were,"
        f" {width} x {height} pixels that cover {width_l0} x {height_l0} of level 0"
    )
    return reading, [Notice("patch_reading", text)]


def note_if_unlike_bag(work: SlideWork, bag: PatchGrid) -> list[Notice]:
    """Return a note when CLAM's grid has patches of another kind than the file that the bag comes from."""
    from mil_heatmaps.features.read import patch_attributes
    from mil_heatmaps.features.stored_reading import stored_reading

    path = work.patches_path
    if path is None:
        return []
    side = work.config.patching_arguments.patch_size
    patch_px = stored_reading(patch_attributes(path, work.job.coords_dir, work.space.name)).patch_px
    if _agrees(work, bag, patch_px or (side, side)):
        return []
    pixels = f"{patch_px[0]} x {patch_px[1]} pixels that cover " if patch_px is not None else ""
    text = (
        f"the fine map's patches are cut by patching_arguments, unlike those of {path.name} ({pixels}{bag.size_l0[0]} x"
        f" {bag.size_l0[1]} of level 0), which the model knows; use grid: features, or cut them alike"
    )
    return [Notice("patch_reading", text)]


def _given(patching: PatchingArguments, key: str) -> float | None:
    return getattr(patching, key) if key in patching.model_fields_set else None


def _agrees(work: SlideWork, grid: PatchGrid, patch_px: tuple[int, int]) -> bool:
    """Whether the config asks for the file's own patches: as many pixels, the same field of view."""
    options = clam_options(work.config, work.slide)
    level, side = options["patch_level"], options["patch_size"] * options.get("custom_downsample", 1)
    if patch_px != (work.config.patching_arguments.patch_size,) * 2 or level >= work.slide.level_count:
        return False
    sides_l0 = (side * downsample for downsample in work.slide.level_downsamples[level])
    return all(abs(a - b) <= 0.02 * b for a, b in zip(sides_l0, grid.size_l0, strict=True))
