"""Slide, map and patches as small encoded pictures for a web page, within a given size and number of bytes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from mil_heatmaps.slides.pixels import WHITE, UInt8Array
from mil_heatmaps.visualization.drawing import Drawing, Painter
from mil_heatmaps.visualization.figure_ground import Colour, mean_colour, panel_frame
from mil_heatmaps.visualization.slide_rows import iter_slide_rows

THUMBNAIL_PX = 96
_SMALLER = 0.8
"""Factor for the sides of the pictures, each time they have too many bytes."""
_LEAST_PX = 64


@dataclass(frozen=True)
class Budget:
    """How large the pictures of a slide may be.

    Attributes
    ----------
    picture_px, patch_px : int
        Longer sides in pixels.
    format : ``webp`` or ``jpeg``
        Format of pictures without transparency.
    quality : int
    most_bytes : int
        For all pictures of a slide together. Slide and map shrink until everything fits; patches shrink when they hold
        most of the bytes.
    """

    picture_px: int
    patch_px: int
    format: str
    quality: int
    most_bytes: int


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures. The map is always WebP, and transparent where nothing is coloured.

    `ground` is the mean colour of the slide under the map's colours.
    """

    size_px: tuple[int, int]
    media_type: str
    slide: bytes
    map: bytes
    thumbnail: bytes
    patches: tuple[bytes, ...]
    ground: Colour

    @property
    def bytes(self) -> int:
        return sum(map(len, (self.slide, self.map, self.thumbnail, *self.patches)))


def draw_pictures(drawing: Drawing, patches: Sequence[UInt8Array], budget: Budget) -> Pictures:
    """Return the pictures of a map and of its `patches`, each (h, w, 3)."""
    slide, colours = _slide_and_colours(drawing, budget.picture_px)
    ground = mean_colour(np.asarray(slide), np.asarray(colours)[..., 3] > 0)
    blended = Image.alpha_composite(slide.convert("RGBA"), _faded(colours, drawing.alpha)).convert("RGB")
    small = _packed(_shrunk(blended, THUMBNAIL_PX), budget)
    longest, patch_px = max(slide.size), budget.patch_px
    while True:
        front, over = _shrunk(slide, longest), _shrunk(colours, longest)
        found = Pictures(
            front.size, f"image/{budget.format}", _packed(front, budget), _webp(over, budget.quality), small,
            tuple(_packed(_shrunk(Image.fromarray(patch), patch_px), budget) for patch in patches), ground,
        )  # fmt: skip
        if found.bytes <= budget.most_bytes or (longest <= _LEAST_PX and patch_px <= _LEAST_PX // 2):
            return found
        longest = max(_LEAST_PX, int(longest * _SMALLER))
        if longest == _LEAST_PX or len(found.slide) + len(found.map) < sum(map(len, found.patches)):
            patch_px = max(_LEAST_PX // 2, int(patch_px * _SMALLER))


def _slide_and_colours(drawing: Drawing, longest_px: int) -> tuple[Image.Image, Image.Image]:
    """Return the part of the slide that the drawing shows, and its colours alone, transparent elsewhere."""
    shown = panel_frame(drawing, longest_px)
    width, height = shown.size_px
    if drawing.blank_canvas:
        slide = np.full((height, width, 3), WHITE, np.uint8)
    else:
        to_srgb = drawing.color_profile != "ignore"
        slide = np.vstack([rows for _, rows in iter_slide_rows(drawing.slide, shown, 256, to_srgb=to_srgb)])
    painter = Painter(replace(drawing, frame=shown, alpha=1.0, blur_px=None))
    colours = np.zeros((height, width, 4), np.uint8)
    band = painter.band(0, height)
    painted = None if band is None else band.painted(0, width)
    if band is not None and painted is not None:
        pixels = np.zeros((height, width, 3), np.uint8)
        band.paint_where(pixels, painted, 0)
        colours[..., :3], colours[..., 3] = pixels, painted * np.uint8(255)
    return Image.fromarray(slide), Image.fromarray(colours, "RGBA")


def _faded(colours: Image.Image, alpha: float) -> Image.Image:
    faded = colours.copy()
    faded.putalpha(colours.getchannel("A").point(lambda value: round(value * alpha)))
    return faded


def _shrunk(picture: Image.Image, longest_px: int) -> Image.Image:
    """Return the picture with a longer side of at most `longest_px`; a map's colours are not blended."""
    if max(picture.size) <= longest_px:
        return picture
    factor = longest_px / max(picture.size)
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    how = Image.Resampling.NEAREST if picture.mode == "RGBA" else Image.Resampling.LANCZOS
    return picture.resize((size[0], size[1]), how)


def _packed(picture: Image.Image, budget: Budget) -> bytes:
    if budget.format == "webp":
        return _webp(picture, budget.quality)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=budget.quality, optimize=True)
    return file.getvalue()


def _webp(picture: Image.Image, quality: int) -> bytes:
    """Return a WebP. A map is lossless: it has few colours and sharp edges, so the lossless file is smaller."""
    file = io.BytesIO()
    clear = picture.mode == "RGBA"
    picture.save(file, "WEBP", lossless=clear, quality=40 if clear else quality, method=2)
    return file.getvalue()
