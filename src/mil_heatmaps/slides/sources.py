"""Where a slide's pixels come from: OpenSlide for slides, Pillow for plain pictures.

A source reads RGB; pixels that are transparent or outside the slide are white. Names ending ``_px`` are pixels of the
current level.
"""

import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.names import PICTURE_EXTENSIONS, SLIDE_EXTENSIONS
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.slides.header_checks import refuse_large_tiles
from mil_heatmaps.slides.pixels import RGB, WHITE
from mil_heatmaps.slides.slide_space import is_possible_area
from mil_heatmaps.slides.unreadable import TileError
from mil_heatmaps.words import said_by

_OPAQUE = 254
_MOST_SIDE_PX, _MOST_PX = 1 << 24, 1 << 42
"""Slides have up to some 500,000 pixels a side; work on a damaged header's thousands of millions would not end."""


class Source(Protocol):
    """A file whose pixels can be read by level."""

    vendor: str
    level_dimensions: tuple[tuple[int, int], ...]
    properties: Mapping[str, str]

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile, or None."""
        ...

    def read(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        """Return `size_px` pixels of `level` from a level-0 corner on; the caller bounds the size.

        Raises TileError if they cannot be decoded, even if the rest of the slide may be readable.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def rgb_over_white(rgba: npt.NDArray[np.uint8]) -> RGB:
    """Return (H, W, 4) straight-alpha pixels blended over white.

    An alpha of 254 counts as opaque, because OpenSlide's rounding leaves it on seams between tiles.
    """
    import cv2

    rgb: RGB = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    alpha = rgba[..., 3]
    if alpha.min(initial=WHITE) >= _OPAQUE:
        return rgb
    seen = alpha < _OPAQUE
    weight = alpha[seen].astype(np.uint16)[:, None]
    mixed = (rgb[seen].astype(np.uint16) * weight + WHITE * (WHITE - weight) + WHITE // 2) // WHITE
    rgb[seen] = mixed.astype(np.uint8)
    return rgb


class OpenSlideSource:
    """A slide of any format that OpenSlide reads. Reads may run in several threads."""

    def __init__(self, path: Path) -> None:
        import openslide

        self._path = path
        self._lock = threading.Lock()
        self._error: type[Exception] = openslide.OpenSlideError
        try:
            self._slide: Any = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError:
            refuse_stand_in(path, SlideError)
            raise SlideError(f"{path} is not a slide that can be read: {_why_unknown(path)}") from None
        except openslide.OpenSlideError as error:
            raise SlideError(f"cannot open slide {path}: {said_by(error)}") from error
        self.properties: Mapping[str, str] = dict(self._slide.properties)
        self.vendor = self.properties.get("openslide.vendor", "unknown")
        self.level_dimensions = tuple((int(w), int(h)) for w, h in self._slide.level_dimensions)
        width, height = self.level_dimensions[0]
        if max(width, height) > _MOST_SIDE_PX or width * height > _MOST_PX:
            self._slide.close()
            raise SlideError(f"{path} says that it has {width:,} x {height:,} pixels; no slide is that large: damaged")
        if not is_possible_area(self.properties, (width, height)):  # OpenSlide looks for tiles there without end
            self._slide.close()
            raise SlideError(f"{path} places tiles far outside its {width:,} x {height:,} pixels: damaged")

    @property
    def icc_profile(self) -> bytes | None:
        try:
            profile = self._slide.color_profile
        except (self._error, OSError):  # a damaged profile is no reason to refuse the slide
            return None
        return None if profile is None else bytes(profile.tobytes())

    def read(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        slide = self._slide
        try:
            return rgb_over_white(np.asarray(slide.read_region(corner_l0, level, size_px)))
        except self._error:
            pass
        # After one failed read, OpenSlide refuses all later reads with the same message, so the slide is reopened. The
        # failed read may have been another thread's, so this read is tried again on a slide no other thread uses.
        with self._lock:
            fresh = self._opened_anew()
            try:
                pixels = rgb_over_white(np.asarray(fresh.read_region(corner_l0, level, size_px)))
            except self._error as error:
                fresh.close()
                if self._slide is slide:
                    self._slide = self._opened_anew()
                raise TileError(str(error)) from error
            if self._slide is slide:
                self._slide = fresh
            else:
                fresh.close()
            return pixels

    def _opened_anew(self) -> Any:
        try:
            return type(self._slide)(self._path)
        except (self._error, OSError) as error:
            raise SlideError(f"cannot open slide {self._path} any more: {said_by(error)}") from error

    def close(self) -> None:
        self._slide.close()


def _why_unknown(path: Path) -> str:
    """Return what is probably wrong with a file that OpenSlide does not know: cut short, or not a slide."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is not None and len(head) == 16:
        big = struct.unpack_from(order + "H", head, 2)[0] == 43
        directory = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
        if directory >= size:
            return f"the file is cut short, its directory begins at byte {directory} of {size}"
    if size == 0:
        return "the file is empty"
    if path.suffix.lower() == ".czi":
        return "this version of OpenSlide does not read Zeiss CZI; convert it, for example to OME-TIFF"
    if order is not None and (stored := _stored_in(path)) is not None:
        return stored
    return (
        "OpenSlide does not know its format, or it is damaged or cut short (slides end with "
        f"{', '.join(SLIDE_EXTENSIONS)}; a .tif must be tiled; pictures end with {', '.join(PICTURE_EXTENSIONS)})"
    )


def _stored_in(path: Path) -> str | None:
    """Return how a TIFF is stored if OpenSlide does not open it because it has no tiles; otherwise None."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            tiled, size = page.is_tiled, f"{page.imagewidth} x {page.imagelength} pixels"
    except Exception:  # a foreign file, which may hold anything
        return None
    if tiled:
        return None
    return (
        f"a TIFF of {size} stored in strips; OpenSlide reads TIFF in tiles. Convert it, for instance by: "
        f"vips tiffsave {path.name} {path.stem}_tiled.tif --tile --pyramid --bigtiff --compression jpeg --Q 90"
    )


_PILLOW_LIMIT = threading.Lock()


@contextmanager
def large_pictures_allowed() -> Iterator[None]:
    """Lift Pillow's limit on picture size while a file is opened, because slides are larger."""
    from PIL import Image

    with _PILLOW_LIMIT:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


MOST_PICTURE_PIXELS = 178_956_970
"""Pillow's own limit. The whole picture is held in memory: 3 bytes per pixel, and 7 during decoding."""

_ALWAYS_PIXELS = 1 << 25
_MOST_PIXELS_A_BYTE = 60


def _check_pixels(path: Path, size_px: tuple[int, int]) -> None:
    """Refuse a picture that is too large for memory, or implausibly large for its file size."""
    pixels, stored = size_px[0] * size_px[1], path.stat().st_size
    what = f"picture {path} is not read: it has {size_px[0]} x {size_px[1]} pixels"
    if pixels > MOST_PICTURE_PIXELS:
        raise SlideError(f"{what}, and up to {MOST_PICTURE_PIXELS:,} in all are; make a tiled TIFF of it")
    if pixels > max(_ALWAYS_PIXELS, _MOST_PIXELS_A_BYTE * stored):
        raise SlideError(f"{what} in {stored:,} bytes: tissue never compresses that far")


class PictureSource:
    """A plain PNG or JPEG as a slide with one level; the whole picture stays in memory after the first read.

    Pixels are taken as stored, without EXIF rotation, because patch coordinates refer to the stored pixels.
    """

    vendor = "picture"

    def __init__(self, path: Path) -> None:
        from PIL import Image, UnidentifiedImageError

        self._path = path
        self._lock = threading.Lock()
        self._pixels: RGB | None = None
        try:
            with large_pictures_allowed(), Image.open(path) as picture:
                self.level_dimensions: tuple[tuple[int, int], ...] = (picture.size,)
                dpi = picture.info.get("dpi")
                self._icc_profile: bytes | None = picture.info.get("icc_profile")
                _check_pixels(path, picture.size)
        except UnidentifiedImageError:
            raise SlideError(f"{path} is not a picture that can be read") from None
        except SlideError:
            raise
        except (OSError, SyntaxError, ValueError) as error:
            raise SlideError(f"cannot open picture {path}: {said_by(error)}") from error
        self.properties: Mapping[str, str] = {}
        if dpi is not None:
            self.properties = {
                "tiff.ResolutionUnit": "inch",
                "tiff.XResolution": str(float(dpi[0])),
                "tiff.YResolution": str(float(dpi[1])),
            }

    @property
    def icc_profile(self) -> bytes | None:
        return self._icc_profile

    def _load(self) -> RGB:
        from PIL import Image

        with self._lock:
            if self._pixels is None:
                try:
                    with large_pictures_allowed():
                        picture = Image.open(self._path)
                    with picture:
                        if picture.has_transparency_data:
                            self._pixels = rgb_over_white(np.asarray(picture.convert("RGBA")))
                        else:
                            self._pixels = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
                except (OSError, SyntaxError, ValueError, MemoryError) as error:
                    raise SlideError(f"cannot read picture {self._path}: {said_by(error)}") from error
            return self._pixels

    def read(self, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> RGB:
        pixels = self._load()
        (x, y), (width, height) = corner_l0, size_px
        region = np.full((height, width, 3), WHITE, np.uint8)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, pixels.shape[1]), min(y + height, pixels.shape[0])
        if left < right and top < bottom:
            region[top - y : bottom - y, left - x : right - x] = pixels[top:bottom, left:right]
        return region

    def close(self) -> None:
        self._pixels = None


def open_source(path: Path) -> Source:
    """Return the source for `path`, chosen by its suffix."""
    if path.suffix.lower() in PICTURE_EXTENSIONS:
        return PictureSource(path)
    refuse_large_tiles(path)
    return OpenSlideSource(path)
