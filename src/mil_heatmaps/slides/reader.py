"""Read one slide of any format.

Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the current level; sizes are (width, height), pixels are
(H, W, 3) uint8 RGB. Pixels that are transparent or outside the slide are white; tiles that cannot be read are grey.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mil_heatmaps import machine
from mil_heatmaps.choices import CoordsFrame, CoordsUnit
from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.byte_cache import ByteCache
from mil_heatmaps.files.names import slide_id_of
from mil_heatmaps.notices import Notice, joined
from mil_heatmaps.slides.dicom_series import data_file
from mil_heatmaps.slides.level_reader import LevelReader
from mil_heatmaps.slides.levels import Levels
from mil_heatmaps.slides.pixels import RGB
from mil_heatmaps.slides.resolution import decide_resolution, read_objective_power
from mil_heatmaps.slides.slide_space import SlideSpace, scanned_area
from mil_heatmaps.slides.sources import Source, open_source
from mil_heatmaps.slides.strips import iter_strips, shrink_strips
from mil_heatmaps.slides.tiff_levels import TiffLevel
from mil_heatmaps.slides.unreadable import UnreadableTiles

_MOST_THREADS = 4
_SHRINK_ROWS = 512


def open_slide(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    keep_bytes: int = 0,
    mpp: float | None = None,
    default_mpp: float | None = None,
) -> "Slide":
    """Return the slide at `path`, for use in a `with` statement; SlideError if it is missing or not a slide.

    `path` may be the folder of a DICOM series. Large reads use `threads` threads; None: one per core, at most 4.
    Levels that are read row by row are kept for later reads, up to `keep_bytes` in total.
    `mpp` is the resolution in micrometres per level-0 pixel and overrides the slide's; `default_mpp` is used if the
    slide states none.
    """
    place = Path(path)
    if not place.exists():
        raise SlideError(f"slide not found: {place}")
    source = open_source(data_file(place))
    return Slide(place, source, threads=threads, keep_bytes=keep_bytes, mpp=mpp, default_mpp=default_mpp)


class Slide(Levels):
    """An open slide: what it says about itself, and its pixels by level.

    Reads may run in several threads at once.

    Attributes
    ----------
    path : Path
        A file, or the folder of a DICOM series.
    data_path : Path
        The open file.
    slide_id : str
        The name of the file or folder without its extension.
    vendor : str
        OpenSlide's name of the format, or ``picture``.
    dimensions_l0, level_dimensions, level_downsamples
        See `Levels`.
    resolution : Resolution
    mpp : float or None
        Micrometres per level-0 pixel.
    objective_power : float or None
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        *,
        threads: int | None = None,
        keep_bytes: int = 0,
        mpp: float | None = None,
        default_mpp: float | None = None,
    ) -> None:
        super().__init__(source.level_dimensions)
        self.path = path
        self.data_path = data_file(path)
        self.slide_id = slide_id_of(path)
        self._source = source
        self.vendor = source.vendor
        self.resolution = decide_resolution(source.properties, self.dimensions_l0, listed=mpp, otherwise=default_mpp)
        self.mpp = self.resolution.mpp
        self.objective_power = read_objective_power(source.properties)
        self.threads = threads or min(_MOST_THREADS, machine.cores())
        self._closed = False
        self._reader = LevelReader(self.data_path, source, self, self.threads)
        self._kept: ByteCache[RGB] = ByteCache(keep_bytes)
        self._keeping = threading.Lock()

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
        if not self._closed:
            self._closed = True
            self._kept.clear()
            self._reader.close()

    @property
    def properties(self) -> dict[str, str]:
        """OpenSlide's properties of the file."""
        return dict(self._source.properties)

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile, or None. Pixels are returned as stored, without applying the profile."""
        return self._source.icc_profile

    def clamp_level(self, level: int) -> tuple[int, Notice | None]:
        """Return (level, note); if the pyramid is not that deep, the deepest level and a note that says so."""
        deepest = self.level_count - 1
        if level <= deepest:
            return level, None
        text = f"level {level} is not in {self.path.name}, whose deepest is {deepest}; that one is used"
        return deepest, Notice("level", text)

    def space(self, frame: CoordsFrame = "auto", unit: CoordsUnit = "auto") -> SlideSpace:
        """Return what coordinates in a file mean on this slide; `frame` and `unit` are the user's settings."""
        size = self.dimensions_l0
        downsamples = tuple(x for x, _ in self.level_downsamples)
        return SlideSpace(
            size, scanned_area(self._source.properties, size), self.mpp, frame, unit, self.slide_id, downsamples
        )

    @property
    def mpp_note(self) -> str | None:
        """Notes on the resolution: why there is none, what is unusual, or that it was given by hand."""
        return joined(self.resolution.notes) or None

    # Pixels

    def read_region(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        """Return `size_px` pixels of `level` with the top-left corner at the level-0 point `corner_l0`.

        The pixels equal OpenSlide's, which are interpolated if the corner does not fall on a pixel of the level.
        """
        self._check_level(level)
        (x, y), (width, height) = map(int, corner_l0), map(int, size_px)
        if width < 0 or height < 0:
            raise SlideError(f"{self.path}: cannot read a region of size {width} x {height}")
        return self._reader.region((x, y), level, (width, height))

    def read_rows(self, level: int, y0: int, y1: int, *, threads: int | None = None) -> RGB:
        """Return rows `y0` to `y1` (not included) of a level, equal to `read_level(level)[y0:y1]`.

        `threads=1` is for callers that read in several threads themselves; None: the slide's number.
        """
        self._check_level(level)
        width, height = self.level_dimensions[level]
        if not 0 <= y0 <= y1 <= height:
            raise SlideError(f"{self.path}: level {level} has rows 0 to {height}, asked for {y0} to {y1}")
        if 3 * width * height > self._kept.most_bytes:
            return self._reader.rows(level, y0, y1, threads or self.threads)
        with self._keeping:  # one thread decodes the level, the others wait for it
            pixels = self._kept.get(level)
            if pixels is None:
                pixels = self._reader.rows(level, 0, height, self.threads)
                self._kept.put(level, pixels)
        return pixels[y0:y1].copy()

    def read_level(self, level: int) -> RGB:
        """Return a whole level."""
        self._check_level(level)
        return self.read_rows(level, 0, self.level_dimensions[level][1])

    def iter_strips(self, level: int, rows: int = 256) -> Iterator[tuple[int, RGB]]:
        """Yield (y0, strip) of a level from top to bottom, `rows` rows each (the last may have fewer).

        Memory is bounded by one strip and one row of tiles. No tile is decoded twice, for any `rows`.
        """
        self._check_level(level)
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")

        def read_rows(y0: int, y1: int) -> RGB:
            return self.read_rows(level, y0, y1)

        return iter_strips(read_rows, self.level_dimensions[level], rows, self._reader.row_stops(level, rows))

    def read_shrunk(self, level: int, factor: int) -> RGB:
        """Return a level averaged over squares of `factor` pixels, read in strips.

        Incomplete squares at the right and bottom edges are filled by repeating the edge pixels.
        """
        if factor < 1:
            raise ValueError(f"factor must be at least 1, got {factor}")
        if factor == 1:
            return self.read_level(level)
        strips = self.iter_strips(level, rows=max(1, _SHRINK_ROWS // factor) * factor)
        return shrink_strips(strips, self.level_dimensions[level], factor)

    def thumbnail(self, max_px: int) -> RGB:
        """Return the whole slide with a longer side of `max_px`, or of the slide's size if that is smaller."""
        import cv2

        if max_px < 1:
            raise ValueError(f"max_px must be at least 1, got {max_px}")
        longer = max(self.dimensions_l0)
        if longer <= max_px:
            return self.read_level(0)
        level = self.level_for_downsample(longer / max_px)
        picture = self.read_shrunk(level, max(1, max(self.level_dimensions[level]) // (2 * max_px)))
        width, height = (max(1, round(side * max_px / longer)) for side in self.dimensions_l0)
        small: RGB = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        return small

    @property
    def unreadable(self) -> UnreadableTiles:
        """Which tiles cannot be read; all their pixels are grey."""
        return self._reader.unreadable

    def tile(self, tiff: TiffLevel, index: int) -> RGB:
        """Return the pixels of one tile of `tiff_level`, at the full tile size; grey if it cannot be read."""
        return self._reader.tile(tiff, index)

    def tile_bytes(self, tiff: TiffLevel, index: int) -> bytes | None:
        """Return one tile's compressed bytes as stored; b'' if it was never written, None if it cannot be read."""
        return self._reader.tile_bytes(tiff, index)

    def tiff_level(self, level: int) -> TiffLevel | None:
        """Return the level as a table of compressed tiles, or None if it cannot be decoded directly."""
        self._check_level(level)
        return self._reader.tiff_level(level)

    def _check_level(self, level: int) -> None:
        if self._closed:
            raise SlideError(f"{self.path} was closed and cannot be read any more")
        if not 0 <= level < self.level_count:
            raise SlideError(f"{self.path} has levels 0 to {self.level_count - 1}, asked for {level}")
