"""Any window of a slide with its map, from tiles that are read and painted once and kept while there is room.

Tiles lie on a pyramid with downsamples that are powers of two. A frame is assembled from tiles of the next finer scale
and resampled once, so a window may have any position and zoom. Memory depends on the kept tiles, not on the slide.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Self

import cv2
import numpy as np

from mil_heatmaps.film.camera import Window
from mil_heatmaps.slides.colour_profile import srgb_converter
from mil_heatmaps.slides.pixels import WHITE, UInt8Array
from mil_heatmaps.visualization.drawing import Drawing, Painter
from mil_heatmaps.visualization.frame import Frame

TILE = 512
KEPT_TILES = 40
"""Least number of tiles to keep. If a frame needs more tiles, that number plus a quarter is kept for the next frame."""
_READ_AT_MOST = 3.0
"""Most pixels to read per pixel of a tile, along each side; beyond that, a tile is made from four finer tiles."""

Key = tuple[int, int, int]
"""Scale (as a power of two), column and row of a tile."""


class WindowPictures:
    """Pictures of windows of one drawing, for one thread at a time.

    Parameters
    ----------
    drawing : Drawing
        Smoothing and blur are left out: a film shows the patches as they are.
    blend : float
        Weight of the colours; 0 shows only the slide.
    threads : int
        Number of threads that read and paint tiles.
    """

    def __init__(self, drawing: Drawing, blend: float, threads: int = 1) -> None:
        self._drawing = replace(drawing, smooth="none", blur_px=None, alpha=blend, notes=())
        self._slide = drawing.slide
        profile = drawing.slide.icc_profile
        wanted = profile is not None and drawing.color_profile != "ignore"
        self._to_srgb: Callable[[UInt8Array], UInt8Array] | None = srgb_converter(profile) if wanted else None
        grid = drawing.grid
        self._left_top = grid.coords_l0
        self._right_bottom = grid.coords_l0 + np.asarray(grid.size_l0)
        self._tiles: OrderedDict[Key, Future[UInt8Array]] = OrderedDict()
        self._most = KEPT_TILES
        self._held = np.empty(0, np.uint8)
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="tiles")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def picture(self, window: Window, size_px: tuple[int, int]) -> UInt8Array:
        """Return what a window shows, (height, width, 3); white beyond the slide."""
        power = max(0, math.floor(math.log2(window.downsample) + 1e-9))
        ratio = window.downsample / 2**power
        width, height = size_px
        left, top = (
            centre / 2**power - side * ratio / 2 for centre, side in ((window.x_l0, width), (window.y_l0, height))
        )
        x0, y0 = math.floor(left) - 1, math.floor(top) - 1
        around = self._around(power, x0, y0, math.ceil(width * ratio) + 4, math.ceil(height * ratio) + 4)
        # The centre of a frame's pixel lies on the same point of the slide before and after resampling.
        shift_x, shift_y = (at - first + ratio / 2 - 0.5 for at, first in ((left, x0), (top, y0)))
        matrix = np.array([[ratio, 0, shift_x], [0, ratio, shift_y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(around, matrix, size_px, flags=flags, borderMode=cv2.BORDER_REPLICATE))

    def _around(self, power: int, x0: int, y0: int, width: int, height: int) -> UInt8Array:
        """Return the pixels of a scale from (x0, y0) on, assembled from tiles."""
        out = self._buffer(height * width * 3).reshape(height, width, 3)
        out[:] = WHITE
        most = [math.ceil(side / (TILE << power)) for side in self._slide.dimensions_l0]
        keys = [
            (power, column, row)
            for row in range(max(0, y0 // TILE), min(most[1], (y0 + height - 1) // TILE + 1))
            for column in range(max(0, x0 // TILE), min(most[0], (x0 + width - 1) // TILE + 1))
        ]
        self._most = max(self._most, len(keys) * 5 // 4)
        for (_, column, row), waiting in zip(keys, [self._tile(key) for key in keys], strict=True):
            tile = waiting.result()
            left, top = column * TILE - x0, row * TILE - y0
            x, y = max(0, left), max(0, top)
            part = tile[y - top : height - top, x - left : width - left]
            out[y : y + part.shape[0], x : x + part.shape[1]] = part
        return out

    def _buffer(self, size: int) -> UInt8Array:
        """Return a buffer, reused for every frame, because the system releases freed memory late."""
        if len(self._held) < size:
            self._held = np.empty(size, np.uint8)
        return self._held[:size]

    def _tile(self, key: Key) -> Future[UInt8Array]:
        """Return a painted tile, finished or in progress; the least recently used tiles are dropped."""
        tile = self._tiles.get(key)
        if tile is None:
            tile = self._tiles[key] = self._pool.submit(self._painted, key)
        self._tiles.move_to_end(key)
        while len(self._tiles) > self._most:
            self._tiles.popitem(last=False)
        return tile

    def _painted(self, key: Key) -> UInt8Array:
        pixels = self._pixels(key)
        if self._to_srgb is not None:
            pixels = np.array(self._to_srgb(pixels))
        power, column, row = key
        side_l0 = TILE << power
        corner = column * side_l0, row * side_l0
        if self._drawing.alpha > 0:
            # A margin of one patch, so that patches are placed to the pixel as in any other picture.
            margin = np.asarray(self._drawing.grid.size_l0)
            near = (self._left_top < np.asarray(corner) + side_l0 + margin) & (
                self._right_bottom > np.asarray(corner) - margin
            )
            index = np.flatnonzero(near.all(axis=1))
            if len(index):
                frame = Frame(0, (TILE, TILE), (2.0**power, 2.0**power), corner, whole=False, by_centres=True)
                part = replace(
                    self._drawing, frame=frame, grid=self._drawing.grid.take(index),
                    shades=self._drawing.shades[index], patches=index,
                )  # fmt: skip
                pixels = Painter(part).paint(pixels, 0)
        beyond = [max(0, -(-(end - at) >> power)) for end, at in zip(self._slide.dimensions_l0, corner, strict=True)]
        pixels[beyond[1] :], pixels[:, beyond[0] :] = WHITE, WHITE
        return pixels

    def _pixels(self, key: Key) -> UInt8Array:
        """Return a tile of the slide alone, averaged from the next finer level; its pixels may be changed."""
        power, column, row = key
        side_l0 = TILE << power
        x, y = column * side_l0, row * side_l0
        if x >= self._slide.dimensions_l0[0] or y >= self._slide.dimensions_l0[1]:
            return np.full((TILE, TILE, 3), WHITE, np.uint8)
        level = max(0, self._slide.level_for_downsample(2**power * 1.01))
        ratios = [2**power / factor for factor in self._slide.level_downsamples[level]]
        if power > 0 and max(ratios) > _READ_AT_MOST:
            four = [
                np.hstack([self._pixels((power - 1, 2 * column + right, 2 * row + down)) for right in (0, 1)])
                for down in (0, 1)
            ]
            return np.asarray(cv2.resize(np.vstack(four), (TILE, TILE), interpolation=cv2.INTER_AREA))
        size = max(1, round(TILE * ratios[0])), max(1, round(TILE * ratios[1]))
        pixels = self._slide.read_region((x, y), level, size)
        if size != (TILE, TILE):
            pixels = np.asarray(cv2.resize(pixels, (TILE, TILE), interpolation=cv2.INTER_AREA))
        return np.array(pixels)
