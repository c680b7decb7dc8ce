"""The pictures of a figure's panels, the ground their colours are blended with, and swatches for uncoloured parts.

Pictures are made at the pixel size of the page and never resampled, so a map shows only colours that a patch has.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import WHITE, UInt8Array
from mil_heatmaps.slides.unreadable import UNREADABLE
from mil_heatmaps.visualization.drawing import CellLayer, Drawing, Painter
from mil_heatmaps.visualization.frame import FINEST, Frame, choose_frame
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.palette import colour_index
from mil_heatmaps.visualization.tissue_raster import TissueRaster
from mil_heatmaps.words import counted, grouped, number_words, share_words

Colour = tuple[int, int, int]
_UNTINTED: Colour = (226, 229, 232)


@dataclass(frozen=True, repr=False, eq=False)
class Panels:
    """The slide and its map at the size of a panel.

    Attributes
    ----------
    drawing : Drawing
        In the panel's frame.
    slide, heatmap : (h, w, 3) uint8
        Without and with the map's colours.
    ground : (r, g, b)
        Mean colour of the slide under the map's colours; white on a blank canvas.
    plain : (r, g, b)
        Mean colour of uncoloured tissue; near white if there is none.
    without_patch, outside_region : float
        Shares of the picture's tissue: inside the region but under no patch, and outside the region's outlines.
    """

    drawing: Drawing
    slide: UInt8Array
    heatmap: UInt8Array
    ground: Colour
    plain: Colour
    without_patch: float = 0.0
    outside_region: float = 0.0


Extent = tuple[tuple[int, int], tuple[float, float]]


def shown_extent(drawing: Drawing) -> Extent:
    """Return the part of the slide that a figure shows: its corner and its size in level-0 pixels.

    This is usually the part that the drawing shows. For a whole slide with a scanned area that holds all patches and
    all tissue, it is the scanned area.
    """
    frame, slide = drawing.frame, drawing.slide
    size = frame.size_px[0] * frame.downsample[0], frame.size_px[1] * frame.downsample[1]
    area = slide.space().scanned_l0 if frame.whole else None
    if area is None:
        return frame.corner_l0, size
    corner, end = np.asarray(area[:2]), np.add(area[:2], area[2:])
    points = [drawing.grid.coords_l0, drawing.grid.coords_l0 + np.asarray(drawing.grid.size_l0)]
    points += [] if drawing.tissue is None else [contour[:, 0] for contour in drawing.tissue.contours_l0]
    placed = np.concatenate(points)
    if (placed < corner).any() or (placed > end).any():
        return frame.corner_l0, size
    return (area[0], area[1]), (float(area[2]), float(area[3]))


def panel_frame(drawing: Drawing, longest_px: int) -> Frame:
    """Return the frame of what a figure shows, with a longer side of about `longest_px`, but no finer than level 0."""
    frame, slide = drawing.frame, drawing.slide
    corner, size = shown_extent(drawing)
    wanted = max(1.0, max(size) / longest_px)
    if frame.whole and corner == frame.corner_l0:
        return choose_frame(slide, downsample=max(wanted, FINEST))
    end = [round(at + side) for at, side in zip(corner, size, strict=True)]
    return choose_frame(slide, downsample=wanted, top_left=corner, bot_right=end)


def draw_panels(drawing: Drawing, longest_px: int) -> Panels:
    """Return the slide and its map, each with a longer side of about `longest_px` pixels."""
    small = replace(drawing, frame=panel_frame(drawing, longest_px), blur_px=None)
    slide = draw(replace(small, alpha=0.0, blank_canvas=False, tissue=None, smooth="none"))
    painter = Painter(small)
    height, width = slide.shape[:2]
    heatmap = np.full_like(slide, WHITE) if small.blank_canvas else slide.copy()
    band = painter.band(0, height)
    painted = None if band is None else band.painted(0, width)
    if band is not None and painted is not None:
        band.paint_where(heatmap, painted, 0)
    coloured = np.zeros((height, width), np.bool_) if painted is None else painted.astype(np.bool_)
    tissue = None if painter.tissue is None else painter.tissue.rows(0, height).astype(np.bool_)
    without, outside, bare = 0.0, 0.0, None
    if tissue is not None and tissue.any():
        bare = tissue & ~_under_patches(small)
        left_out = np.zeros_like(bare)
        if small.region is not None:
            left_out = bare & (TissueRaster(small.region, small.frame).rows(0, height) == 0)
        total = np.count_nonzero(tissue)
        without, outside = (float(np.count_nonzero(part)) / total for part in (bare & ~left_out, left_out))
    ground = WHITE_GROUND if small.blank_canvas else mean_colour(slide, coloured)
    plain = mean_colour(slide, bare) if bare is not None and bare.any() else _UNTINTED
    if small.blank_canvas:
        plain = WHITE_GROUND
    return Panels(small, slide, heatmap, ground, plain, without, outside)


WHITE_GROUND: Colour = (255, 255, 255)


def mean_colour(picture: UInt8Array, where: npt.NDArray[np.bool_]) -> Colour:
    """Return the mean colour of the pixels for which `where` is True; near white if there are none."""
    if not where.any():
        return _UNTINTED
    red, green, blue = np.rint(picture[where].mean(axis=0)).astype(int).tolist()
    return red, green, blue


def _under_patches(drawing: Drawing) -> npt.NDArray[np.bool_]:
    """Return where patches lie in a drawing, (height, width), regardless of their scores."""
    (width, height), count = drawing.size_px, len(drawing.grid)
    plain = replace(drawing, shades=np.zeros(count), binarize=False, threshold=None, smooth="none", tissue=None)
    cells = Painter(plain).canvas.cells(0, height)
    if not cells.covered.any():
        return np.zeros((height, width), np.bool_)
    return CellLayer(cells, cells.covered, drawing.colours, 0, height, width).painted(0, width).astype(np.bool_)


def shown_colours(
    drawing: Drawing, shades: npt.NDArray[np.floating], ground: Colour | None = None, plain: Colour = _UNTINTED
) -> UInt8Array:
    """Return the map's colour for each shade over a ground, and `plain` for shades that it leaves uncoloured.

    Without a ground these are the colours of the colormap itself.
    """
    colours = drawing.colours[colour_index(shades, len(drawing.colours))]
    cut = drawing.cut
    if cut is not None and drawing.binarize:
        colours[:] = drawing.colours[-1]
    if ground is not None:
        colours = np.rint(drawing.alpha * colours + (1 - drawing.alpha) * np.asarray(ground)).astype(np.uint8)
    if cut is not None:
        colours[shades < cut] = plain
    return colours


def swatches(panels: Panels, unreadable: int = 0) -> list[tuple[Colour, str]]:
    """Return the colour of each uncoloured part of the map, with words for what it is and how much of it there is.

    Parameters
    ----------
    unreadable : int
        Tiles of the slide that cannot be read.
    """
    drawing, plain = panels.drawing, panels.plain
    found: list[tuple[Colour, str]] = []
    if panels.without_patch:
        found.append((plain, f"tissue without a patch ({share_words(panels.without_patch)} of the tissue)"))
    if panels.outside_region:
        found.append((plain, f"outside the region ({share_words(panels.outside_region)} of the tissue)"))
    patches, finite = len(drawing.shades), np.isfinite(drawing.shades)
    of_all = f"of {counted(patches, 'patch', 'patches')}"
    if missing := patches - int(finite.sum()):
        found.append((plain, f"score not finite ({grouped(missing)} {of_all})"))
    if drawing.cut is not None and (below := int((drawing.shades[finite] < drawing.cut).sum())):
        found.append((plain, f"below {_cut_words(drawing)} ({grouped(below)} {of_all})"))
    if unreadable:
        found.append(((UNREADABLE,) * 3, f"tile unreadable ({counted(unreadable, 'tile')})"))
    return found


def _cut_words(drawing: Drawing) -> str:
    """Return the threshold of a drawing in words, in the unit of its colour bar."""
    scale, cut = drawing.scale, drawing.cut or 0.0
    return f"the threshold of {number_words(scale.vmin + cut * (scale.vmax - scale.vmin), 3)}"
