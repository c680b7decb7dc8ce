"""Tiny slides with tissue at known places, for tests."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.sources import open_source
from mil_heatmaps.slides.write_pyramid import write_pyramid

BLOBS = ((0.28, 0.35, 0.20, 0.25), (0.72, 0.62, 0.20, 0.28))
"""Centre x, centre y, half width and half height of the tissue pieces, as shares of the slide."""


def tissue_map(width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return (height, width), true on the two elliptic pieces of tissue."""
    y, x = np.mgrid[:height, :width]
    inside = np.zeros((height, width), bool)
    for cx, cy, rx, ry in BLOBS:
        inside |= ((x / width - cx) / rx) ** 2 + ((y / height - cy) / ry) ** 2 < 1
    return inside


def tissue_picture(width: int, height: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return pink, speckled tissue on almost white glass, (height, width, 3)."""
    rng = np.random.default_rng(seed)
    glass = rng.integers(240, 247, (height, width, 1)) + np.zeros(3, np.int64)
    grain = rng.integers(-14, 15, (-(-height // 8), -(-width // 8))).repeat(8, 0).repeat(8, 1)
    pink = np.array([214, 140, 180]) + grain[:height, :width, None]
    return np.where(tissue_map(width, height)[..., None], pink, glass).astype(np.uint8)


@lru_cache(maxsize=24)
def _made_slide(suffix: str, size: tuple[int, int], seed: int | None, options: tuple[tuple[str, Any], ...]) -> bytes:
    """Return the bytes of a slide: many tests use the same slides, which are made once per process."""
    picture = np.full((size[1], size[0], 3), 244, np.uint8) if seed is None else tissue_picture(*size, seed)
    with TemporaryDirectory() as folder:
        return write_pyramid(Path(folder, f"slide{suffix}"), picture, **dict(options)).read_bytes()


def _make(path: Path, size: tuple[int, int], seed: int | None, options: dict[str, Any]) -> Path:
    """Write a file for one caller, whose bytes nobody else changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_made_slide(path.suffix, size, seed, tuple(sorted(options.items()))))
    return path


def make_tiled_pyramid(
    path: Path, size: tuple[int, int] = (2048, 1536), seed: int = 0, **options: Any
) -> Path:
    """Write a generic tiled TIFF with levels 1, 4, 16 and 0.5 um/px; `options` as of `write_pyramid`."""
    return _make(path, size, seed, options)


def make_svs_like(path: Path, size: tuple[int, int] = (2048, 1536), seed: int = 1, **options: Any) -> Path:
    """Write a slide that OpenSlide takes for an Aperio SVS at 20x."""
    return _make(path, size, seed, {"svs": True, "tile_px": 240, "mpp": 0.499, "magnification": 20} | options)


def make_single_level(path: Path, size: tuple[int, int] = (1024, 768), seed: int = 2, **options: Any) -> Path:
    """Write a tiled TIFF of one level."""
    return _make(path, size, seed, {"downsamples": (1,)} | options)


def make_blank(path: Path, size: tuple[int, int] = (1024, 768)) -> Path:
    """Write a slide of nothing but glass."""
    return _make(path, size, None, {"downsamples": (1, 4)})


def open_by_openslide(path: Path, **options: Any) -> Slide:
    """Open a slide without direct decoding of any level, like a format that is not known to be tiled TIFF."""
    source = open_source(path)
    source.vendor = "unknown"
    return Slide(path, source, **options)
