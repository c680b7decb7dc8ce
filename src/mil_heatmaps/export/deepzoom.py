"""DeepZoom of a heatmap: small tiles at every scale for a browser, in one ``.szi`` (zip) or as ``.dzi`` and a folder.

The picture is drawn and halved band by band, so memory does not grow with its size. Tiles overlap their neighbours by
one pixel, as in OpenSeadragon and libvips.
"""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.export.reduce import iter_pyramid, level_sizes
from mil_heatmaps.files.atomic import atomic_folder, atomic_path, write_text
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.jpeg_stream import encode_jpeg, with_profile
from mil_heatmaps.visualization.overlay import iter_in_order, iter_painted
from mil_heatmaps.visualization.png_stream import PngWriter

OVERLAP = 1
_TILES_AT_ONCE = 24


def write_deepzoom(
    path: str | os.PathLike[str],
    drawing: Drawing,
    *,
    tile_format: Literal["jpeg", "png"] = "jpeg",
    quality: int = 85,
    tile_size: int = 254,
    threads: int | None = None,
) -> None:
    """Write the drawing as DeepZoom tiles; the suffix of `path`, ``.szi`` or ``.dzi``, chooses the container.

    A ``.szi`` file appears whole or not at all. For ``.dzi``, the tiles go to the folder ``<stem>_files`` beside it.
    The folder is moved into place when it is complete, and the ``.dzi`` is written last.

    Parameters
    ----------
    tile_format, quality
        ``jpeg`` with a quality from 1 to 100, or ``png``, which is lossless.
    tile_size : int
        Side of a tile without its overlap; even.
    """
    target = Path(path)
    if target.suffix.lower() not in (".szi", ".dzi"):
        raise ConfigError(f"{target.name}: a DeepZoom file ends with .szi or .dzi")
    if tile_format not in ("jpeg", "png"):
        raise ConfigError(f"unknown tile format {tile_format!r}; choose 'jpeg' or 'png'")
    if tile_size < 32 or tile_size % 2:
        raise ConfigError(f"tile_size must be even and at least 32, got {tile_size}")
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality must be 1 to 100, got {quality}")
    width, height = drawing.size_px
    descriptor = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="{tile_format}" '
        f'Overlap="{OVERLAP}" TileSize="{tile_size}"><Size Width="{width}" Height="{height}"/></Image>\n'
    )
    tiles = _iter_tiles(drawing, tile_size, tile_format, quality, threads or drawing.slide.threads)
    if target.suffix.lower() == ".szi":
        with atomic_path(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            zipped = _ZipSink(archive, target.stem)
            zipped.add(f"{target.stem}.dzi", descriptor.encode())
            for name, data in tiles:
                zipped.add(f"{target.stem}_files/{name}", data)
    else:
        _write_folder(target, descriptor, tiles)


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder

    def add(self, name: str, data: bytes) -> None:
        # A fixed date, so that equal pictures give equal files.
        self._archive.writestr(zipfile.ZipInfo(f"{self._folder}/{name}", (1980, 1, 1, 0, 0, 0)), data)


def _write_folder(target: Path, descriptor: str, tiles: Iterator[tuple[str, bytes]]) -> None:
    with atomic_folder(target.with_name(f"{target.stem}_files")) as folder:
        for name, data in tiles:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        target.unlink(missing_ok=True)  # it would tell of other tiles if the run ended here
    write_text(target, descriptor)


def _iter_tiles(
    drawing: Drawing, side: int, tile_format: str, quality: int, threads: int
) -> Iterator[tuple[str, bytes]]:
    """Yield (``<level>/<column>_<row>.<format>``, file contents) of every tile, with the ICC profile of its colours."""
    deepest, profile = len(level_sizes(drawing.size_px, 1)) - 1, drawing.icc_profile

    def encode(run: tuple[int, int, int, UInt8Array, int]) -> list[tuple[str, bytes]]:
        level, row, first, strip, columns = run
        out = []
        for column in range(first, first + columns):
            left = max(column * side - OVERLAP, 0)
            tile = np.ascontiguousarray(strip[:, left : (column + 1) * side + OVERLAP])
            data = with_profile(encode_jpeg(tile, quality), profile) if tile_format == "jpeg" else _png(tile, profile)
            out.append((f"{deepest - level}/{column}_{row}.{tile_format}", data))
        return out

    def runs() -> Iterator[tuple[int, int, int, UInt8Array, int]]:
        for level, row, strip in _iter_strips(drawing, side, deepest + 1):
            across = -(-strip.shape[1] // side)
            for first in range(0, across, _TILES_AT_ONCE):
                yield level, row, first, strip, min(_TILES_AT_ONCE, across - first)

    for tiles in iter_in_order(encode, runs(), threads):
        yield from tiles


def _iter_strips(drawing: Drawing, side: int, levels: int) -> Iterator[tuple[int, int, UInt8Array]]:
    """Yield (level, tile row, pixels of the row with the overlap above and below)."""
    heights = [height for _, height in level_sizes(drawing.size_px, 1)]
    above: list[UInt8Array | None] = [None] * levels
    waiting: list[tuple[int, UInt8Array] | None] = [None] * levels

    def complete(level: int, following: UInt8Array | None) -> tuple[int, int, UInt8Array]:
        held = waiting[level]
        assert held is not None  # the caller checked
        y0, band = held
        before = above[level]
        parts = [*([] if before is None else [before]), band]
        if following is not None:
            parts.append(following[:OVERLAP])
        above[level] = band[-OVERLAP:].copy()
        return level, y0 // side, np.concatenate(parts) if len(parts) > 1 else band

    for level, y0, band in iter_pyramid(iter_painted(drawing, side, threads=1), drawing.size_px, side, levels):
        if waiting[level] is not None:
            yield complete(level, band)
        waiting[level] = y0, band
        if y0 + len(band) == heights[level]:
            yield complete(level, None)


def _png(tile: UInt8Array, profile: bytes | None) -> bytes:
    file = io.BytesIO()
    writer = PngWriter(file, (tile.shape[1], tile.shape[0]), icc_profile=profile)
    writer.write(writer.encode(tile))
    writer.finish()
    return file.getvalue()
