"""Which part of a slide a picture shows, at what scale, and on what background."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import ColorProfile
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.roi import Roi, patches_in_box, patches_in_roi
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.frame import Corner, Frame, as_pair, choose_frame, region_between


@dataclass(frozen=True)
class View:
    """What a picture shows of a slide and its patches.

    Attributes
    ----------
    vis_level, downsample, mpp
        Scale of the picture; see `choose_frame`. -1 means about 1/32.
    top_left, bot_right : (x, y)
        Draw only this region, in level-0 pixels. Percentiles are then those within the region.
    reaching : bool
        Draw every patch that reaches into the region. By default, as in CLAM, only patches with their corner in it.
    outlines : TissueMask or None
        Outlines of the region within its corners, in level-0 pixels. Only patches with their centre inside an outline
        and outside its holes are drawn.
    blank_canvas : bool
        Draw on white instead of the slide.
    segment, use_holes : bool
        Colour only tissue, and leave out its holes.
    color_profile : ``embed``, ``convert``, ``ignore``
        ``embed`` keeps the slide's stored pixels and puts its ICC profile into the picture's file, as for CLAM's
        pictures. ``convert`` converts the pixels to sRGB, for pictures that people look at. ``ignore`` keeps the pixels
        and leaves the profile out.

    Raises
    ------
    ConfigError
        If only one corner is given, or outlines without corners.
    """

    vis_level: int = -1
    downsample: float | None = None
    mpp: float | None = None
    top_left: Corner | None = None
    bot_right: Corner | None = None
    reaching: bool = False
    outlines: TissueMask | None = None
    blank_canvas: bool = False
    segment: bool = True
    use_holes: bool = True
    color_profile: ColorProfile = "embed"

    def __post_init__(self) -> None:
        if region_between(self.top_left, self.bot_right) is None and self.outlines is not None:
            raise ConfigError("outlines of a region need its corners, top_left and bot_right")

    def frame(self, slide: Slide, drawn: PatchGrid | None = None) -> Frame:
        """Return the place of the picture on a slide.

        With outlines, the picture grows to show all `drawn` patches whole, within the slide.
        """
        top_left, bot_right = self.top_left, self.bot_right
        if self.outlines is not None and drawn is not None and len(drawn) and top_left and bot_right:
            low, high = drawn.coords_l0.min(0), drawn.coords_l0.max(0) + np.asarray(drawn.size_l0)
            top_left = tuple(np.clip(np.minimum(top_left, low), 0, None).astype(int).tolist())
            bot_right = tuple(np.minimum(np.maximum(bot_right, high), slide.dimensions_l0).astype(int).tolist())
        return choose_frame(
            slide, self.vis_level, downsample=self.downsample, mpp=self.mpp, top_left=top_left, bot_right=bot_right
        )

    def patches(self, grid: PatchGrid) -> npt.NDArray[np.intp] | slice:
        """Return the indices of the drawn patches in ascending order, or a slice of all without a region."""
        region = region_between(self.top_left, self.bot_right)
        if region is None:
            return slice(None)
        if self.outlines is not None:
            top_left, bot_right = map(as_pair, region)
            return np.flatnonzero(patches_in_roi(grid, Roi(top_left, bot_right, self.outlines, "outlines")))
        return np.flatnonzero(patches_in_box(grid, *region, rule="reach" if self.reaching else "corner"))
