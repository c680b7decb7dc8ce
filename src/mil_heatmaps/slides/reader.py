"""Read one slide, whatever its format.

Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the level at hand; sizes are (width, height),
pixels are (H, W, 3) uint8 RGB. Whatever is transparent or outside the slide is white.
"""

import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides import strips
from mil_heatmaps.slides.bands import ON_PIXEL, Band, cut_bands
from mil_heatmaps.slides.level_cache import KeptLevels
from mil_heatmaps.slides.pixels import RGB, WHITE
from mil_heatmaps.slides.resolution import read_mpp, read_objective_power
from mil_heatmaps.slides.sources import Source, open_source
from mil_heatmaps.slides.tiff_levels import TiffLevel
from mil_heatmaps.slides.tiff_proof import TiffLevels

_CACHED_PIXELS = 2 << 20
"""Regions up to this size keep their tiles, since their neighbours are likely to be read next."""


def _default_threads() -> int:
    """Return how many threads decode a large read: OMP_NUM_THREADS when set, else the cores, at most 4."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def open_slide(path: str | os.PathLike[str], *, threads: int | None = None, keep_bytes: int = 0) -> "Slide":
    """Return the slide at `path`; SlideError when it is missing or no slide. Use it in a `with` statement.

    Levels that are read row by row are kept as far as they fit in `keep_bytes` together, for whoever reads them again.
    """
    place = Path(path)
    if not place.exists():
        raise SlideError(f"slide not found: {place}")
    if place.is_dir():
        raise SlideError(f"{place} is a folder, not a slide")
    return Slide(place, open_source(place), threads=threads, keep_bytes=keep_bytes)


class Slide:
    """An open slide: what it says about itself, and its pixels by level.

    Reads may run in several threads at once.

    Attributes
    ----------
    path : Path
    slide_id : str
        The file name without its extension.
    vendor : str
        OpenSlide's name of the format, or ``picture``.
    dimensions_l0, level_dimensions : (width, height), one a level
    level_downsamples : (x, y), one a level
        Level-0 size over the level's size, per axis; x and y differ a little when sizes were rounded.
    mpp, mpp_note
        Micrometres per level-0 pixel or None; the note says why there is none, or what is odd.
    objective_power : float or None
    """

    def __init__(
        self, path: Path, source: Source, *, threads: int | None = None, keep_bytes: int = 0
    ) -> None:
        self.path = path
        self.slide_id = path.stem
        self._source = source
        self.vendor = source.vendor
        self.level_dimensions = source.level_dimensions
        self.dimensions_l0 = source.level_dimensions[0]
        width, height = self.dimensions_l0
        self.level_downsamples = tuple((width / w, height / h) for w, h in self.level_dimensions)
        self.mpp, self.mpp_note = read_mpp(source.properties)
        self.objective_power = read_objective_power(source.properties)
        self.threads = threads or _default_threads()
        self._closed = False
        self._kept = KeptLevels(keep_bytes)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._tiff = TiffLevels(path, source.vendor, source.level_dimensions, self._reference)

    def __repr__(self) -> str:
        width, height = self.dimensions_l0
        levels = ", ".join(f"{d:.4g}" for d in map(self.mean_downsample, range(self.level_count)))
        return (
            f"Slide({self.path.name!r}, {width} x {height}, levels [{levels}], mpp={self.mpp}, {self.vendor})"
        )

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._kept.clear()
        self._tiff.close()
        self._source.close()

    # What the slide says

    @property
    def level_count(self) -> int:
        return len(self.level_dimensions)

    @property
    def properties(self) -> dict[str, str]:
        """OpenSlide's properties of the file."""
        return dict(self._source.properties)

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile, or None. Pixels are returned as stored, the profile is not applied."""
        return self._source.icc_profile

    @property
    def associated_names(self) -> tuple[str, ...]:
        """Names of the label, macro and thumbnail pictures the file carries."""
        return self._source.associated_names

    def read_associated(self, name: str) -> RGB:
        """Return the label, macro or thumbnail picture of that name."""
        if name not in self.associated_names:
            raise SlideError(
                f"{self.path} has no associated image {name!r}; it has {list(self.associated_names)}"
            )
        return self._guarded(lambda: self._source.read_associated(name), f"associated image {name!r}")

    # Choosing a level

    def mean_downsample(self, level: int) -> float:
        """Return OpenSlide's single downsample of a level, the mean of x and y."""
        return sum(self.level_downsamples[level]) / 2

    def level_for_downsample(self, downsample: float, *, slack: float = 0.0) -> int:
        """Return the last level not coarser than `downsample` (OpenSlide's rule), level 0 when all are.

        `slack` lets a level be coarser by that share: with 0.02 a level of 32.03 serves for 32.
        """
        chosen = 0
        for level in range(1, self.level_count):
            if self.mean_downsample(level) > downsample * (1 + slack):
                break
            chosen = level
        return chosen

    def nearest_level(self, downsample: float) -> int:
        """Return the level whose downsample is nearest in ratio; of two about as near, the finer one."""
        distances = [abs(math.log(self.mean_downsample(i) / downsample)) for i in range(self.level_count)]
        return next(i for i, distance in enumerate(distances) if distance <= min(distances) + 0.05)

    def clamp_level(self, level: int) -> tuple[int, str | None]:
        """Return (level, note): the deepest level and a note saying so when the pyramid is not that deep."""
        if level < self.level_count:
            return level, None
        deepest = self.level_count - 1
        return (
            deepest,
            f"level {level} is not in {self.path.name}, whose deepest is {deepest}; that one is used",
        )

    # Pixels

    def read_region(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        """Return `size_px` pixels of `level` whose top left is the level-0 point `corner_l0`.

        The same pixels as OpenSlide's: a corner that does not fall on a pixel of the level is interpolated.
        """
        self._check_level(level)
        (x, y), (width, height) = map(int, corner_l0), map(int, size_px)
        if width < 0 or height < 0:
            raise SlideError(f"{self.path}: cannot read a region of size {width} x {height}")
        if width == 0 or height == 0:
            return np.empty((height, width, 3), np.uint8)
        downsample = self.mean_downsample(level)
        # What lies left of or above the slide is cut off by whole pixels, as OpenSlide does.
        left, top = (min(int(max(-c, 0) / downsample), side) for c, side in ((x, width), (y, height)))
        if left or top:
            region = np.full((height, width, 3), WHITE, np.uint8)
            region[top:, left:] = self.read_region(
                (max(x, 0), max(y, 0)), level, (width - left, height - top)
            )
            return region
        x, y = max(x, 0), max(y, 0)
        x_px, y_px = round(x / downsample), round(y / downsample)
        on_pixel = max(abs(x / downsample - x_px), abs(y / downsample - y_px)) < ON_PIXEL
        if on_pixel and (tiff := self._tiff.get(level)) is not None:
            few = width * height <= _CACHED_PIXELS
            decoded = self._from_tiff(tiff, (x_px, y_px), (width, height), cached=few)
            if decoded is not None:
                return decoded
        out = np.empty((height, width, 3), np.uint8)
        for band in cut_bands(downsample, width, height):
            size = width, band.stop_px - band.start_px
            out[band.start_px : band.stop_px] = self._call((x, y + band.start_l0), level, size)
        return out

    def read_rows(self, level: int, y0: int, y1: int) -> RGB:
        """Return rows `y0` to `y1` (not included) of a level, equal to `read_level(level)[y0:y1]`."""
        self._check_level(level)
        width, height = self.level_dimensions[level]
        if not 0 <= y0 <= y1 <= height:
            raise SlideError(f"{self.path}: level {level} has rows 0 to {height}, asked for {y0} to {y1}")
        kept = self._kept.rows(level, (width, height), y0, y1, lambda: self._decode_rows(level, 0, height))
        return self._decode_rows(level, y0, y1) if kept is None else kept

    def _decode_rows(self, level: int, y0: int, y1: int) -> RGB:
        width = self.level_dimensions[level][0]
        if (tiff := self._tiff.get(level)) is not None:
            rows = self._from_tiff(tiff, (0, y0), (width, y1 - y0), cached=False)
            if rows is not None:
                return rows
        out = np.empty((y1 - y0, width, 3), np.uint8)

        def read_band(band: Band) -> None:
            first, stop = max(band.start_px, y0), min(band.stop_px, y1)
            rows = self._call((0, band.start_l0), level, (width, stop - band.start_px))
            out[first - y0 : stop - y0] = rows[first - band.start_px :]

        bands = [band for band in self._bands(level) if band.start_px < y1 and band.stop_px > y0]
        pool = self._threads_pool()
        if pool is None:
            for band in bands:
                read_band(band)
        else:
            list(pool.map(read_band, bands))
        return out

    def read_level(self, level: int) -> RGB:
        """Return a whole level."""
        self._check_level(level)
        return self.read_rows(level, 0, self.level_dimensions[level][1])

    def iter_strips(self, level: int, rows: int = 256) -> Iterator[tuple[int, RGB]]:
        """Yield (y0, strip) of a level from top to bottom, `rows` rows each (the last may be fewer).

        Memory is bounded by one strip and one row of tiles. No tile is decoded twice, whatever `rows` is.
        """
        self._check_level(level)
        return strips.iter_strips(self, level, rows, self._strip_stops(level, rows))

    def read_shrunk(self, level: int, factor: int) -> RGB:
        """Return a level averaged over squares of `factor` pixels, read in strips.

        Cells at the right and bottom edge repeat the edge pixels they lack.
        """
        self._check_level(level)
        return strips.read_shrunk(self, level, factor)

    def thumbnail(self, max_px: int) -> RGB:
        """Return the whole slide with its longer side `max_px`, or smaller when the slide is."""
        return strips.thumbnail(self, max_px)

    def tiff_level(self, level: int) -> TiffLevel | None:
        """Return the level as a table of compressed tiles, or None when it cannot be decoded directly."""
        self._check_level(level)
        return self._tiff.get(level)

    # How pixels are read

    def _check_level(self, level: int) -> None:
        if self._closed:
            raise SlideError(f"{self.path} was closed and cannot be read any more")
        if not 0 <= level < self.level_count:
            raise SlideError(f"{self.path} has levels 0 to {self.level_count - 1}, asked for {level}")

    def _guarded(self, read: Callable[[], RGB], what: str) -> RGB:
        try:
            return read()
        except SlideError:
            raise
        except Exception as error:  # OpenSlide's errors are of many kinds, and say little of where
            raise SlideError(f"cannot read {what} of slide {self.path}: {error}") from error

    def _call(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        """One call of the source."""
        what = f"level {level}, {size_px[0]} x {size_px[1]} pixels at level-0 {corner_l0},"
        return self._guarded(lambda: self._source.read(corner_l0, level, size_px), what)

    def _threads_pool(self) -> ThreadPoolExecutor | None:
        """Return the threads for one large read, None when there is to be but one."""
        if self.threads < 2:
            return None
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="tiles")
            return self._pool

    def _bands(self, level: int) -> list[Band]:
        """Return how a level is cut for OpenSlide."""
        width, height = self.level_dimensions[level]
        return cut_bands(self.mean_downsample(level), width, height)

    def _strip_stops(self, level: int, rows: int) -> Iterator[int]:
        """Yield the rows at which reads of a level best end, about `rows` apart."""
        height = self.level_dimensions[level][1]
        tiff = self._tiff.get(level)
        if tiff is None:
            yield from (band.stop_px for band in self._bands(level))
        else:
            step = max(1, rows // tiff.tile_px[1]) * tiff.tile_px[1]
            yield from (min(stop, height) for stop in range(step, height + step, step))

    def _reference(self, level: int, corner_px: tuple[int, int], size_px: tuple[int, int]) -> RGB | None:
        """Return the source's reading of a part of a level, None when its corner is no level-0 pixel."""
        downsample = self.mean_downsample(level)
        x_l0, y_l0 = (round(c * downsample) for c in corner_px)
        if max(abs(x_l0 / downsample - corner_px[0]), abs(y_l0 / downsample - corner_px[1])) < ON_PIXEL:
            return self._call((x_l0, y_l0), level, size_px)
        return None

    def _from_tiff(
        self, tiff: TiffLevel, corner_px: tuple[int, int], size_px: tuple[int, int], *, cached: bool
    ) -> RGB | None:
        """Return a rectangle decoded directly; None when that fails, and OpenSlide reads it or says why."""
        pool = None if cached else self._threads_pool()
        try:
            return tiff.read(corner_px, size_px, pool=pool, threads=self.threads, cached=cached)
        except SlideError as error:
            self._tiff.give_up(tiff.level, error)
            return None
