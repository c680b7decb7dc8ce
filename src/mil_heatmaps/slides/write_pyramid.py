"""Write a picture as a small slide: a tiled pyramidal TIFF, or a file that looks like an Aperio SVS.

It is meant for demos, tests and measurements; the whole picture is in memory.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mil_heatmaps.files.atomic import atomic_path

Compression = Literal["jpeg", "jpeg2000", "deflate", "lzw", "none"]
_TIFF_NAMES = {"deflate": "adobe_deflate", "lzw": "lzw"}


def average_down(picture: npt.NDArray[np.uint8], size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the picture averaged down to `size_px` (width, height)."""
    import cv2

    small: npt.NDArray[np.uint8] = cv2.resize(picture, size_px, interpolation=cv2.INTER_AREA)
    return small


def write_pyramid(
    path: str | os.PathLike[str],
    picture: npt.NDArray[np.uint8],
    *,
    downsamples: Sequence[float] = (1, 4, 16),
    mpp: float | None = 0.5,
    tile_px: int = 256,
    compression: Compression = "jpeg",
    quality: int = 85,
    rgb_jpeg: bool = False,
    svs: bool = False,
    magnification: float | None = None,
) -> Path:
    """Write `picture` (H, W, 3) as a slide and return its path.

    Parameters
    ----------
    downsamples
        Downsample of every level, finest first; a level of factor f has floor(W / f) x floor(H / f) pixels.
    mpp
        Micrometres per level-0 pixel; None leaves it out.
    rgb_jpeg
        Store JPEG tiles as RGB instead of YCbCr with halved chroma.
    compression
        ``jpeg2000`` needs `svs`, because OpenSlide reads it only in SVS files.
    svs
        Add the description by which readers recognise an Aperio SVS file, and a thumbnail.
    magnification
        Magnification of the objective; only an SVS-like file can store it.
    """
    import tifffile

    height, width = picture.shape[:2]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"picture must be (H, W, 3) uint8, got {picture.dtype} {picture.shape}")
    if not downsamples or downsamples[0] != 1 or list(downsamples) != sorted(downsamples):
        raise ValueError(f"downsamples must begin with 1 and rise, got {list(downsamples)}")
    if compression == "jpeg2000" and not svs:
        raise ValueError("OpenSlide reads JPEG 2000 only in an SVS file: give svs=True as well")
    options: dict[str, Any] = {"tile": (tile_px, tile_px), "photometric": "rgb", "metadata": None}
    if compression == "jpeg":
        # The given picture is always RGB; `outcolorspace` is the colour space of the tiles.
        stored = "RGB" if rgb_jpeg else "YCBCR"
        options |= {"compression": "jpeg", "compressionargs": {"level": quality, "outcolorspace": stored}}
        if not rgb_jpeg:
            options |= {"subsampling": (2, 2)}
    elif compression == "jpeg2000":
        options |= {"compression": "aperio_jp2000_rgb", "compressionargs": {"level": quality}}
    elif compression != "none":
        options |= {"compression": _TIFF_NAMES[compression], "predictor": True}
    resolution: dict[str, Any] = {}
    if mpp is not None and not svs:
        resolution = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}

    big = picture.nbytes > 2**31
    with atomic_path(path) as partial, tifffile.TiffWriter(partial, bigtiff=big) as tiff:
        for number, factor in enumerate(downsamples):
            size = max(1, int(width / factor)), max(1, int(height / factor))
            level = picture if factor == 1 else average_down(picture, size)
            reduced = number > 0 and not svs
            description = None
            if svs:
                description = _aperio_description((width, height), size, tile_px, number, mpp, magnification)
            tiff.write(
                level,
                **options,
                **resolution,
                subfiletype=int(reduced),
                description=description,
                software=False,
            )
            if svs and number == 0:
                thumbnail = average_down(picture, (min(width, 256), max(1, height * min(width, 256) // width)))
                about = f"Aperio Image Library v11.2.1 \n{width}x{height} -> thumbnail"
                tiff.write(
                    thumbnail,
                    photometric="rgb",
                    compression="jpeg",
                    rowsperstrip=16,
                    metadata=None,
                    software=False,
                    description=about,
                )
    return Path(path)


def _aperio_description(
    full_px: tuple[int, int],
    level_px: tuple[int, int],
    tile_px: int,
    number: int,
    mpp: float | None,
    magnification: float | None,
) -> str:
    width, height = full_px
    head = f"Aperio Image Library v11.2.1 \n{width}x{height} [0,0 {width}x{height}] ({tile_px}x{tile_px})"
    if number:
        head += f" -> {level_px[0]}x{level_px[1]}"
    fields = [head]
    if magnification is not None:
        fields.append(f"AppMag = {magnification:g}")
    if mpp is not None:
        fields.append(f"MPP = {mpp:.4f}")
    return "|".join(fields)
