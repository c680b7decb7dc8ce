"""One open slide, cut into tiles for the browser."""

import threading
from pathlib import Path
from types import TracebackType

import numpy as np

from mil_heatmaps.slides.colour_profile import srgb_converter
from mil_heatmaps.slides.pixels import RGB
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.viewer.jpeg_tiles import encode_jpeg, encode_png, serves_own_tiles, standalone_jpeg
from mil_heatmaps.viewer.pyramid import ViewLevel, overview_factor, view_levels


class TileSlide:
    """A slide, or a picture shown over one, with the levels of `view_levels`. Safe to use from several
    threads.

    Attributes
    ----------
    slide : Slide
    levels : tuple of ViewLevel, coarsest first
    lossless : bool
        Tiles are PNG: for plain pictures, whose exact colours matter.
    """

    def __init__(self, path: Path, *, lossless: bool = False) -> None:
        self.slide: Slide = open_slide(path, threads=1)
        self.lossless = lossless
        self.levels = view_levels(self.slide)
        self._to_srgb = srgb_converter(self.slide.icc_profile)
        self._overview: RGB | None = None
        self._overview_lock = threading.Lock()
        self._own_tiles: dict[int, bool] = {}

    def __enter__(self) -> "TileSlide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and the overview."""
        self.slide.close()
        self._overview = None

    @property
    def media_type(self) -> str:
        """Media type of the tiles."""
        return "image/png" if self.lossless else "image/jpeg"

    @property
    def colour_profile(self) -> str | None:
        """Name of the colour profile that is converted to sRGB; None when pixels are shown as stored."""
        return None if self._to_srgb is None else self._to_srgb.name

    def tile(self, level: int, column: int, row: int) -> bytes | None:
        """Return a tile, encoded; None when there is no such tile."""
        if not 0 <= level < len(self.levels):
            return None
        view = self.levels[level]
        if not (0 <= column < view.tiles[0] and 0 <= row < view.tiles[1]):
            return None
        if not self.lossless and (data := self._own_tile(view, column, row)) is not None:
            return data
        pixels = self.pixels(level, view.box_px(column, row))
        return encode_png(pixels) if self.lossless else encode_jpeg(pixels)

    def pixels(self, level: int, box_px: tuple[int, int, int, int]) -> RGB:
        """Return the sRGB pixels of a box (left, top, width, height) of a level."""
        view = self.levels[level]
        if view.origin == "overview":
            return self._from_overview(view, box_px)
        return self._shown(self._read(view.source, view.factor, box_px))

    def region(self, corner_l0: tuple[int, int], size_l0: tuple[int, int], longest_px: int) -> RGB:
        """Return a region with its longer side about `longest_px`, in sRGB and white outside the slide.

        Reads only the part that lies on the slide, however large the region is.
        """
        import cv2

        shrink = max(size_l0) / longest_px
        level = self.slide.level_for_downsample(max(shrink, 1.0), slack=0.02)
        factors = self.slide.level_downsamples[level]
        wanted = [max(1, round(side / max(factor, shrink))) for side, factor in zip(size_l0, factors, strict=True)]
        out: RGB = np.full((wanted[1], wanted[0], 3), 255, np.uint8)
        first = [max(0, corner) for corner in corner_l0]
        last = [min(c + s, d) for c, s, d in zip(corner_l0, size_l0, self.slide.dimensions_l0, strict=True)]
        there = [end - begin for begin, end in zip(first, last, strict=True)]
        if min(there) <= 0:
            return out
        read = [max(1, round(side / factor)) for side, factor in zip(there, factors, strict=True)]
        pixels = self._shown(self.slide.read_region((first[0], first[1]), level, (read[0], read[1])))
        scale = [px / side for px, side in zip(wanted, size_l0, strict=True)]
        left, top = (
            min(px - 1, round((begin - corner) * by))
            for px, begin, corner, by in zip(wanted, first, corner_l0, scale, strict=True)
        )
        fit = [max(1, round(side * by)) for side, by in zip(there, scale, strict=True)]
        fit = [min(fit[0], wanted[0] - left), min(fit[1], wanted[1] - top)]
        if (pixels.shape[1], pixels.shape[0]) != tuple(fit):
            pixels = cv2.resize(pixels, (fit[0], fit[1]), interpolation=cv2.INTER_AREA)
        out[top : top + fit[1], left : left + fit[0]] = pixels
        return out

    def thumbnail(self, longest_px: int) -> RGB:
        """Return the whole slide as a small picture, from the level nearest in size."""
        import cv2

        chosen = next(
            (i for i, level in enumerate(self.levels) if max(level.size_px) >= longest_px),
            len(self.levels) - 1,
        )
        width, height = self.levels[chosen].size_px
        pixels = self.pixels(chosen, (0, 0, width, height))
        scale = longest_px / max(width, height)
        if scale >= 1:
            return pixels
        small: RGB = cv2.resize(
            pixels,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA,
        )
        return small

    def _own_tile(self, view: ViewLevel, column: int, row: int) -> bytes | None:
        """Return the file's own tile as a JPEG.

        None when its pixels must be changed, or the tile reaches over the edge or cannot be read.
        """
        if view.origin != "slide" or self._to_srgb is not None or view.box_px(column, row)[2:] != view.tile_px:
            return None
        tiff = self.slide.tiff_level(view.source)
        if tiff is None or tiff.tile_px != view.tile_px:
            return None
        if view.source not in self._own_tiles:
            self._own_tiles[view.source] = serves_own_tiles(tiff)
        if not self._own_tiles[view.source]:
            return None
        data = self.slide.tile_bytes(tiff, row * tiff.tiles[0] + column)
        return standalone_jpeg(tiff, data) if data else None

    def _read(self, source: int, factor: int, box_px: tuple[int, int, int, int]) -> RGB:
        """Return a box of a level of the slide, averaged over squares; squares at the edge repeat pixels."""
        import cv2

        left, top, width, height = (value * factor for value in box_px)
        level_width, level_height = self.slide.level_dimensions[source]
        there = min(width, level_width - left), min(height, level_height - top)
        downsample = self.slide.mean_downsample(source)
        pixels = self.slide.read_region((round(left * downsample), round(top * downsample)), source, there)
        if factor == 1:
            return pixels
        if there != (width, height):
            pixels = cv2.copyMakeBorder(pixels, 0, height - there[1], 0, width - there[0], cv2.BORDER_REPLICATE)
        small: RGB = cv2.resize(pixels, box_px[2:], interpolation=cv2.INTER_AREA)
        return small

    def _shown(self, pixels: RGB) -> RGB:
        return pixels if self._to_srgb is None else self._to_srgb(pixels)

    def _from_overview(self, view: ViewLevel, box_px: tuple[int, int, int, int]) -> RGB:
        import cv2

        made = overview_factor(self.slide, view.source)
        with self._overview_lock:  # made once; tiles of the slide's own levels do not wait for it
            if self._overview is None:
                self._overview = self._shown(self.slide.read_shrunk(view.source, made))
            overview = self._overview
        factor = view.factor // made
        left, top, width, height = (value * factor for value in box_px)
        pixels = overview[top : top + height, left : left + width]
        if factor == 1:
            return np.ascontiguousarray(pixels)
        missing = height - pixels.shape[0], width - pixels.shape[1]
        if any(missing):
            pixels = cv2.copyMakeBorder(pixels, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
        small: RGB = cv2.resize(pixels, box_px[2:], interpolation=cv2.INTER_AREA)
        return small
