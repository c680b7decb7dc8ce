"""Picture files of any format, written in bands; every file appears whole or not at all."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.files.early_flush import EarlyFlushed
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.jpeg_stream import MOST_SIDE as JPEG_MOST_SIDE
from mil_heatmaps.visualization.jpeg_stream import JpegWriter
from mil_heatmaps.visualization.png_stream import PngWriter

JPEG_QUALITY, WEBP_QUALITY = 100, 80
JPEG_SUFFIXES = (".jpg", ".jpeg")
_OTHER_SUFFIXES = (".webp", ".tif", ".tiff", ".bmp")
SUFFIXES = (".png", *JPEG_SUFFIXES, *_OTHER_SUFFIXES)
_MOST_SIDE = {".webp": 16383, **dict.fromkeys(JPEG_SUFFIXES, JPEG_MOST_SIDE)}
MOST_PIXELS_IN_MEMORY = 1 << 30
"""Most pixels of a picture that must be whole in memory before it is written."""


@dataclass(frozen=True)
class FileFacts:
    """What a picture file holds besides its pixels.

    Attributes
    ----------
    icc_profile : bytes or None
        For PNG, JPEG, WebP and TIFF.
    dpi : float or None
        Dots per inch, for programs that print; for PNG, JPEG and TIFF.
    texts : name -> text
        Where the picture comes from; for PNG.
    """

    icc_profile: bytes | None = None
    dpi: float | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


class PictureWriter(Protocol):
    """Takes a picture band by band: `encode` may run in several threads, `write` takes them in order."""

    def encode(self, pixels: UInt8Array) -> Any: ...

    def write(self, band: Any) -> None: ...

    def finish(self) -> None: ...


def check_size(path: Path, size_px: tuple[int, int]) -> None:
    """Raise ConfigError if a file of this suffix cannot hold a picture of this size; the message says what can."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path.name}: unknown picture format {suffix!r}; choose from {', '.join(SUFFIXES)}")
    width, height = size_px
    most = _MOST_SIDE.get(suffix)
    if most is not None and max(size_px) > most:
        raise ConfigError(
            f"{path.name}: {width} x {height} pixels do not fit {suffix[1:].upper()}, "
            f"which ends at {most} a side; "
            "choose png, a pyramidal TIFF export, or a coarser level"
        )
    if suffix in _OTHER_SUFFIXES and math.prod(size_px) > MOST_PIXELS_IN_MEMORY:
        raise ConfigError(
            f"{path.name}: {suffix[1:].upper()} needs all {width} x {height} pixels in memory at once; "
            "choose png, a pyramidal TIFF export, or a coarser level"
        )


def fits(path: Path, size_px: tuple[int, int]) -> bool:
    """Whether a file of this suffix can hold a picture of this size."""
    try:
        check_size(path, size_px)
    except ConfigError:
        return False
    return True


@contextmanager
def open_picture_file(
    path: str | os.PathLike[str],
    size_px: tuple[int, int],
    rows: int,
    *,
    quality: int | None = None,
    lossless: bool = False,
    facts: FileFacts | None = None,
) -> Iterator[PictureWriter]:
    """Yield a writer for the format of `path`, for bands of `rows` rows (a multiple of 16 for JPEG).

    `quality`, 1 to 100, is for JPEG (default 100, as in CLAM) and WebP (default 80, as in PIL); `lossless` is for WebP;
    `facts` go into the file's header. The file is finished and moved into place when the block ends. If the block
    raises, no file is left.
    """
    target = Path(path)
    check_size(target, size_px)
    if quality is not None and not 1 <= quality <= 100:
        raise ConfigError(f"quality must be 1 to 100, got {quality}")
    suffix, facts = target.suffix.lower(), facts or FileFacts()
    with atomic_path(target) as partial:
        if suffix in _OTHER_SUFFIXES:
            whole = _WholeWriter(partial, size_px, quality or WEBP_QUALITY, lossless, facts)
            yield whole
            whole.finish()
            return
        with EarlyFlushed(partial) as file:
            writer: PictureWriter = (
                PngWriter(file, size_px, icc_profile=facts.icc_profile, dpi=facts.dpi, texts=facts.texts)
                if suffix == ".png"
                else JpegWriter(
                    file, size_px, rows, quality or JPEG_QUALITY, icc_profile=facts.icc_profile, dpi=facts.dpi
                )
            )
            yield writer
            writer.finish()


def save_picture(
    path: str | os.PathLike[str],
    picture: UInt8Array | Image.Image,
    *,
    quality: int | None = None,
    facts: FileFacts | None = None,
) -> None:
    """Write a picture that is already in memory, with the same formats and settings as for a drawing."""
    pixels = np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    height, width = pixels.shape[:2]
    rows = max(16, min(65535 // -(-width // 16), 64) * 16)
    with open_picture_file(path, (width, height), rows, quality=quality, facts=facts) as file:
        for y0 in range(0, height, rows):
            file.write(file.encode(pixels[y0 : y0 + rows]))


class _WholeWriter:
    """Collects the whole picture, then lets PIL write it."""

    def __init__(self, path: Path, size_px: tuple[int, int], quality: int, lossless: bool, facts: FileFacts) -> None:
        self._path = path
        self._facts = facts
        self._quality, self._lossless = quality, lossless
        self._pixels = np.empty((size_px[1], size_px[0], 3), np.uint8)
        self._filled = 0

    def encode(self, pixels: UInt8Array) -> UInt8Array:
        return pixels

    def write(self, band: UInt8Array) -> None:
        self._pixels[self._filled : self._filled + len(band)] = band
        self._filled += len(band)

    def finish(self) -> None:
        options: dict[str, Any] = {}
        if self._path.suffix.lower() == ".webp":
            options = {"quality": self._quality, "lossless": self._lossless}
        elif self._path.suffix.lower() in (".tif", ".tiff"):
            options = {"compression": "tiff_lzw"}
            if self._facts.dpi is not None:
                options["dpi"] = (self._facts.dpi, self._facts.dpi)
        if self._facts.icc_profile is not None and self._path.suffix.lower() != ".bmp":
            options["icc_profile"] = self._facts.icc_profile
        Image.fromarray(self._pixels).save(self._path, **options)
