"""Read the patches of a grid, many at a time, decoding each tile of the slide once.

Overlapping patches share tiles. With half overlap, every pixel belongs to four patches, so reading patches one by one
decodes it at least four times. This reader takes patches in an order that needs few shared tiles at a time, decodes in
several threads, and drops a tile after the last patch that needs it.

Pixels are those of OpenSlide: white outside the slide, and interpolated if a corner falls between pixels of the level
(never at level 0). They are equal to the last bit if the slide's tile table is known. In other formats, an interpolated
patch may differ by a few grey levels in a row or column on a seam.

Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the level read.
"""

import math
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps import machine
from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.bands import ON_PIXEL
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import RGB, WHITE
from mil_heatmaps.slides.read_plan import PatchReading, reading_for_grid
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.resize_patches import resize_patches
from mil_heatmaps.slides.shared_tiles import SharedTiles
from mil_heatmaps.slides.subpixel import STEPS, shifted

Prepare = Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]
Allocate = Callable[[tuple[int, ...], np.dtype[Any]], npt.NDArray[Any]]

MOST_THREADS = 16
"""Most reading threads; more would wait for each other."""

TILE_BYTES = 512 << 20
"""Most bytes of decoded tiles held at once."""

_BLOCK_PX = 512
"""Side of the blocks for reading formats without a tile table."""
_MOST_PER_TASK = 16


def default_threads() -> int:
    """Return the default number of threads that read patches: one per core, at most `MOST_THREADS`."""
    return min(MOST_THREADS, machine.cores())


class PatchReader:
    """Reads the patches of one grid from one slide.

    Attributes
    ----------
    order : (N,) int64
        Indices into the grid, in the order in which `batches` yields the patches. It depends only on slide, grid and
        reading.
    """

    def __init__(
        self,
        slide: Slide,
        grid: PatchGrid,
        reading: PatchReading | None = None,
        *,
        threads: int | None = None,
        most_bytes: int = TILE_BYTES,
    ) -> None:
        self._slide = slide
        self._grid = grid
        self._reading = reading or reading_for_grid(slide, grid)
        self._threads = min(MOST_THREADS, threads or default_threads())
        self._most_bytes = most_bytes
        self._downsample = slide.mean_downsample(self._reading.level)
        self._decode, self._tile_px, self._across = self._tiling()
        self._coords_px = self._coords_on_level()
        self._spans = self._tile_spans()
        self.order = self._traversal()

    @property
    def reading(self) -> PatchReading:
        """Level and sizes."""
        return self._reading

    def batches(
        self,
        batch_size: int,
        *,
        start: int = 0,
        prepare: Prepare | None = None,
        allocate: Allocate = np.empty,
        ahead: int = 2,
    ) -> Generator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]], None, None]:
        """Yield (indices (B,), patches (B, h, w, 3) uint8) in the order of `order`, the last batch smaller.

        Parameters
        ----------
        start
            Skip this many patches of `order`.
        prepare
            Function applied to (b, h, w, 3) parts of a batch in the reading threads; its result is yielded. It must
            process each patch independently.
        allocate
            Makes the array of a batch from shape and dtype, for example in pinned memory.
        ahead
            Number of batches read in advance, which bounds the memory.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        todo = self.order[start:]
        if not len(todo):
            return
        tiles = None
        if self._decode is not None:
            uses = self._uses(start)
            tiles = SharedTiles(self._decode, uses, self._most_bytes)
            self._slide.unreadable.need_tiles(self._reading.level, uses.reshape(-1, self._across) > 0)
        width, height = self._reading.patch_px
        probe: npt.NDArray[Any] = np.full((1, height, width, 3), WHITE, np.uint8)
        probe = probe if prepare is None else prepare(probe)
        waiting: deque[tuple[npt.NDArray[np.int64], npt.NDArray[Any], list[Future[None]]]] = deque()
        starts = iter(range(0, len(todo), batch_size))
        per_task = max(1, min(_MOST_PER_TASK, -(-batch_size // self._threads)))

        def fill(out: npt.NDArray[Any], indices: npt.NDArray[np.int64]) -> None:
            if prepare is None:
                self._read_into(out, indices, tiles)
            else:
                pixels = np.empty((len(indices), height, width, 3), np.uint8)
                self._read_into(pixels, indices, tiles)
                out[:] = prepare(pixels)

        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="patches")
        try:
            while True:
                while len(waiting) <= ahead and (first := next(starts, None)) is not None:
                    indices = todo[first : first + batch_size]
                    out = allocate((len(indices), *probe.shape[1:]), probe.dtype)
                    parts = range(0, len(indices), per_task)
                    tasks = [pool.submit(fill, out[a : a + per_task], indices[a : a + per_task]) for a in parts]
                    waiting.append((indices, out, tasks))
                if not waiting:
                    return
                indices, out, tasks = waiting.popleft()
                for task in tasks:
                    task.result()
                yield indices, out
        finally:
            pool.shutdown(cancel_futures=True)

    def unreadable(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return, as (B,), which of the patches read so far lie on unreadable tiles, where they are grey."""
        level = self._reading.level
        if not self._slide.unreadable.any_on(level):
            return np.zeros(len(indices), np.bool_)
        size = np.array(self._slide.level_dimensions[level])
        first = np.clip(np.floor(self._coords_px[indices]).astype(np.int64), 0, size)
        end = np.clip(np.ceil(self._coords_px[indices]).astype(np.int64) + self._reading.read_px, 0, size)
        return self._slide.unreadable.touched(level, np.concatenate([first, end], 1))

    # One patch --------------------------------------------------------------------------------------------

    def _read_into(self, out: RGB, indices: npt.NDArray[np.int64], tiles: SharedTiles | None) -> None:
        resize = self._reading.patch_px != self._reading.read_px
        width, height = self._reading.read_px
        pixels = np.empty((len(indices), height, width, 3), np.uint8) if resize else out
        for i, patch in zip(indices.tolist(), pixels, strict=True):
            if tiles is None:
                patch[:] = self._read_alone(i)
            else:
                self._read_shared(i, tiles, patch)
        if resize:
            out[:] = resize_patches(pixels, self._reading.patch_px)

    def _read_alone(self, i: int) -> RGB:
        x, y = self._grid.coords_l0[i].tolist()
        return self._slide.read_region((x, y), self._reading.level, self._reading.read_px)

    def _read_shared(self, i: int, tiles: SharedTiles, out: RGB) -> None:
        x, y = self._coords_px[i].tolist()
        left, top = math.floor(x), math.floor(y)
        shift_x, shift_y = x - left, y - top
        first_x, first_y, last_x, last_y = self._spans[i].tolist()
        between = shift_x > 0 or shift_y > 0
        height, width = out.shape[0] + between, out.shape[1] + between
        level_w, level_h = self._slide.level_dimensions[self._reading.level]
        inside = left >= 0 and top >= 0 and left + width <= level_w and top + height <= level_h
        region = np.empty((height, width, 3), np.uint8) if between else out
        if not inside:
            region[:] = WHITE
        # At the border of the slide, OpenSlide interpolates with transparent pixels.
        damaged = between and not inside
        tile_w, tile_h = self._tile_px
        for row in range(first_y, last_y + 1):
            for column in range(first_x, last_x + 1):
                index = row * self._across + column
                try:
                    tile = tiles.get(index)
                    tx, ty = column * tile_w, row * tile_h
                    ax, bx = max(left, tx), min(left + width, tx + tile_w, level_w)
                    ay, by = max(top, ty), min(top + height, ty + tile_h, level_h)
                    part = tile[ay - ty : by - ty, ax - tx : bx - tx]
                    region[ay - top : by - top, ax - left : bx - left] = part
                except SlideError:
                    damaged = True
                finally:
                    tiles.release(index)
        if damaged:
            # OpenSlide may still be able to read it.
            out[:] = self._read_alone(i)
        elif between:
            out[:] = shifted(region, (shift_x, shift_y), (left, top), self._tile_px)

    # The plan ---------------------------------------------------------------------------------------------

    def _tiling(self) -> tuple[Callable[[int], RGB] | None, tuple[int, int], int]:
        """Return (function that decodes a tile by index, tile size, tiles across).

        The function is None if patches must be read one by one.
        """
        level = self._reading.level
        level_w, level_h = self._slide.level_dimensions[level]
        tiff = self._slide.tiff_level(level)
        if tiff is not None:
            return partial(self._slide.tile, tiff), tiff.tile_px, tiff.tiles[0]
        side = max(_BLOCK_PX, *self._reading.read_px)
        across, down = -(-level_w // side), -(-level_h // side)
        edges_px = np.arange(max(across, down)) * side
        edges_l0 = np.rint(edges_px * self._downsample)
        on_pixels = bool((np.abs(edges_l0 / self._downsample - edges_px) < ON_PIXEL).all())
        if self._slide.vendor == "picture" or not on_pixels:
            return None, (side, side), across

        def read_block(index: int) -> RGB:
            row, column = divmod(index, across)
            x, y = int(edges_l0[column]), int(edges_l0[row])
            size = min(side, level_w - column * side), min(side, level_h - row * side)
            return self._slide.read_region((x, y), level, size)

        return read_block, (side, side), across

    def _coords_on_level(self) -> npt.NDArray[np.float64]:
        """Return (N, 2) top-left corners on the level, in whole 65536ths of a pixel as in OpenSlide."""
        coords_px = np.rint(self._grid.coords_l0 / self._downsample * STEPS) / STEPS
        # To the left of and above the slide, OpenSlide skips whole pixels and begins at 0.
        return np.where(coords_px < 0, np.ceil(coords_px), coords_px)

    def _tile_spans(self) -> npt.NDArray[np.int64]:
        """Return (N, 4) first and last tile of each patch (x, y, x, y); last is below first if the patch has none."""
        level_size = np.array(self._slide.level_dimensions[self._reading.level])
        first_px = np.floor(self._coords_px).astype(np.int64)
        # A corner between pixels needs one more pixel to the right and below.
        end_px = np.ceil(self._coords_px).astype(np.int64) + self._reading.read_px
        tile = np.array(self._tile_px)
        first = np.maximum(first_px, 0) // tile
        last = (np.minimum(end_px, level_size) - 1) // tile
        outside = ((end_px <= 0) | (first_px >= level_size)).any(1)
        last[outside] = first[outside] - 1
        return np.concatenate([first, last], 1)

    def _uses(self, start: int) -> npt.NDArray[np.int64]:
        """Return how many of the patches from `start` on need each tile."""
        rows = -(-self._slide.level_dimensions[self._reading.level][1] // self._tile_px[1])
        uses = np.zeros(self._across * rows, np.int64)
        first_x, first_y, last_x, last_y = self._spans[self.order[start:]].T
        for down in range(int((last_y - first_y).max(initial=-1)) + 1):
            for right in range(int((last_x - first_x).max(initial=-1)) + 1):
                hit = (first_y + down <= last_y) & (first_x + right <= last_x)
                uses += np.bincount((first_y[hit] + down) * self._across + first_x[hit] + right, minlength=len(uses))
        return uses

    def _traversal(self) -> npt.NDArray[np.int64]:
        """Return the order of patches: band after band, each tile by tile along the shorter side of the covered area.

        Only the tiles of about one band are then needed at a time, and bands are as short as possible.
        """
        if not len(self._grid):
            return np.empty(0, np.int64)
        coords_px = self._coords_px
        tile = coords_px // np.array(self._tile_px)
        extent = np.ptp(coords_px, axis=0)
        along = 0 if extent[0] <= extent[1] else 1
        across = 1 - along
        keys = (coords_px[:, along], coords_px[:, across], tile[:, along], tile[:, across])
        return np.lexsort(keys).astype(np.int64)
