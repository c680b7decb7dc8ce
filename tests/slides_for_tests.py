"""Tiny slides with tissue of known place, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from src.slides.write_pyramid import write_pyramid

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


def make_tiled_pyramid(
    path: Path, size: tuple[int, int] = (2048, 1536), seed: int = 0, **options: Any
) -> Path:
    """Write a generic tiled TIFF with levels 1, 4, 16 and 0.5 um/px; `options` as of `write_pyramid`."""
    return write_pyramid(path, tissue_picture(*size, seed), **options)


def make_svs_like(path: Path, size: tuple[int, int] = (2048, 1536), seed: int = 1, **options: Any) -> Path:
    """Write a slide that OpenSlide takes for an Aperio SVS at 20x."""
    options = {"svs": True, "tile_px": 240, "mpp": 0.499, "magnification": 20} | options
    return write_pyramid(path, tissue_picture(*size, seed), **options)


def make_single_level(path: Path, size: tuple[int, int] = (1024, 768), seed: int = 2, **options: Any) -> Path:
    """Write a tiled TIFF of one level."""
    return write_pyramid(path, tissue_picture(*size, seed), **({"downsamples": (1,)} | options))


def make_blank(path: Path, size: tuple[int, int] = (1024, 768)) -> Path:
    """Write a slide of nothing but glass."""
    return write_pyramid(path, np.full((size[1], size[0], 3), 244, np.uint8), downsamples=(1, 4))
