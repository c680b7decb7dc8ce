"""The format of a map that is too large for the one asked for, and how it is written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.notices import Notice

if TYPE_CHECKING:
    from mil_heatmaps.visualization.drawing import Drawing, Painter

PYRAMID = ".ome.tif"
_MOST_PIXELS_OF_PNG = 1 << 30
"""PNG has no such limit, but most programs open no larger picture at once; a pyramid is opened part by part."""
_QUALITY = 90


def holding(path: Path, size_px: tuple[int, int]) -> tuple[Path, list[Notice]]:
    """Return a path whose format can hold a picture of this size, and a notice if it is not the path asked for.

    JPEG and WebP become PNG. TIFF, and any picture that is too large to open as PNG, become a pyramidal BigTIFF with
    OME metadata. All are written in bounded memory.
    """
    from mil_heatmaps.visualization.picture_files import fits

    if fits(path, size_px):
        return path, []
    tiled = path.suffix.lower() in (".tif", ".tiff") or math.prod(size_px) > _MOST_PIXELS_OF_PNG
    chosen, said = (PYRAMID, "OME-TIFF (pyramidal BigTIFF)") if tiled else (".png", "PNG")
    width, height = size_px
    text = f"a map of {width} x {height} pixels does not fit {path.suffix[1:].upper()}: written as {said}"
    return path.with_name(f"{path.stem}{chosen}"), [Notice("picture_format", text)]


def write_maps(
    paths: list[Path], drawing: Drawing, *, quality: int | None = None, lossless: bool = False,
    painter: Painter | None = None,
) -> None:  # fmt: skip
    """Draw into files of `holding`; `painter` as in `draw_to_files`.

    A pyramid in place of TIFF, or of a lossless picture, keeps every pixel.
    """
    from mil_heatmaps.export.pyramid import write_ome_tiff
    from mil_heatmaps.visualization.overlay import draw_to_files

    flat = [path for path in paths if not path.name.endswith(PYRAMID)]
    if flat:
        draw_to_files(flat, drawing, quality=quality, lossless=lossless, painter=painter)
    for path in paths:
        if path not in flat:
            write_ome_tiff(
                path, drawing, compression="deflate" if lossless else "jpeg", quality=quality or _QUALITY,
                painter=painter,
            )  # fmt: skip
