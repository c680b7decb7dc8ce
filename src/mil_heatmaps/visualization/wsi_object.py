"""`WholeSlideImage`: a slide, its tissue, and pictures of both, under the names that CLAM's users know."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.contours import Colour, OutlineStyle, outline
from mil_heatmaps.visualization.frame import Corner, choose_frame
from mil_heatmaps.visualization.heatmap_utils import draw_heatmap
from mil_heatmaps.visualization.resize_picture import shrink
from mil_heatmaps.visualization.slide_rows import iter_slide_rows
from mil_heatmaps.visualization.tissue_slide import TissueSlide


class WholeSlideImage(TissueSlide):
    """One slide, its tissue contours, and pictures of both. See `TissueSlide` for the rest of its methods."""

    def draw_contours(
        self, vis_level: int = 0, *, max_size: int | None = None, custom_downsample: float = 1, **options: Any
    ) -> Image.Image:
        """Return `outlined` as a picture, made smaller on request. Arguments are those of CLAM's ``visWSI``."""
        return shrink(Image.fromarray(self.outlined(vis_level, **options)), custom_downsample, max_size)

    def outlined(
        self,
        vis_level: int = 0,
        color: Colour = (0, 255, 0),
        hole_color: Colour = (0, 0, 255),
        annot_color: Colour = (255, 0, 0),
        line_thickness: int = 250,
        top_left: Corner | None = None,
        bot_right: Corner | None = None,
        view_slide_only: bool = False,
        number_contours: bool = False,
        seg_display: bool = True,
        annot_display: bool = True,
    ) -> UInt8Array:
        """Return the slide at a level with its tissue outlined, (height, width, 3).

        Corners and `line_thickness` are in level-0 pixels; a negative level means about 1/32.
        """
        frame = choose_frame(self.slide, vis_level, top_left=top_left, bot_right=bot_right)
        if frame.whole and not frame.resized:
            pixels = self.slide.read_level(frame.level)
        else:
            pixels = np.empty((frame.size_px[1], frame.size_px[0], 3), np.uint8)
            for y0, band in iter_slide_rows(self.slide, frame, 1024):
                pixels[y0 : y0 + len(band)] = band
        if not view_slide_only:
            style = OutlineStyle(color, hole_color, annot_color, thickness_l0=line_thickness, numbered=number_contours)
            mask = self.tissue if seg_display else None
            annotations = self.contours_tumor if annot_display and self.contours_tumor else []
            outline(pixels, frame, mask or TissueMask((), ()), style, annotations)
        return pixels

    def draw_heatmap(
        self, scores: npt.ArrayLike, coords: npt.ArrayLike | PatchGrid, vis_level: int = -1, **options: Any
    ) -> Image.Image:
        """Return the heatmap over this slide: `mil_heatmaps.visualization.draw_heatmap` with CLAM's defaults.

        Two defaults differ: the colormap is ``coolwarm``, and scores are taken as percentiles from 0 to 100.
        """
        defaults = {"cmap": "coolwarm", "convert_to_percentiles": False}
        return draw_heatmap(scores, coords, wsi_object=self, vis_level=vis_level, **{**defaults, **options})

    visWSI = draw_contours
    visHeatmap = draw_heatmap
