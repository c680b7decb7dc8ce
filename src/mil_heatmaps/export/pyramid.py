"""Pyramidal OME-TIFF of a heatmap, at any scale, in bounded memory.

If the tiles of a slide can be copied (tiled JPEG TIFF and SVS), every level of the slide is coloured tile by tile.
Tiles without colour are copied byte by byte; the others are decoded, coloured and encoded again. For any other slide,
and for colours alone, the finest level is drawn in bands, and the coarser levels are made from it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.export.reduce import iter_pyramid, level_sizes
from mil_heatmaps.export.tiff_writer import LevelLayout, PyramidWriter
from mil_heatmaps.export.tile_codecs import SUBSAMPLING, encode_tile
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.slides.colour_profile import embedded_profile
from mil_heatmaps.slides.pixels import WHITE, UInt8Array
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.tiff_levels import DEFLATE, JPEG, PHOTOMETRIC_RGB, TiffLevel
from mil_heatmaps.visualization.drawing import Band, Drawing, Painter
from mil_heatmaps.visualization.frame import choose_frame
from mil_heatmaps.visualization.overlay import iter_in_order, iter_painted

_TILES_AT_ONCE = 24
_WRITTEN_AT_ONCE = 1 << 20
"""Bytes to collect before writing, because tiles are small."""
COARSE_ENOUGH_PX = 4096
"""A slide whose coarsest level is longer than this gets coarser levels."""


def write_ome_tiff(
    path: str | os.PathLike[str],
    drawing: Drawing,
    *,
    level: int | None = None,
    compression: Literal["jpeg", "deflate"] = "jpeg",
    quality: int = 85,
    tile_size: int = 512,
    threads: int | None = None,
    notices: Sequence[str] = (),
    painter: Painter | None = None,
) -> None:
    """Write the drawing as a pyramidal BigTIFF with OME metadata; QuPath, OpenSlide and tifffile open it.

    Parameters
    ----------
    drawing : Drawing
        For the colours without the slide, use `colours_alone(drawing)`.
    level : int, optional
        The slide's level that becomes the finest level of the file, regardless of the drawing's scale; 0 keeps the
        slide's full resolution. None takes the drawing's frame.
    compression
        ``jpeg``, or ``deflate``, which is lossless.
    quality : int
        Quality of JPEG tiles, 1 to 100; copied tiles keep their quality.
    tile_size : int
        Side of a tile, a multiple of 16. If the slide's tiles are copied, their size is used instead.
    notices : texts
        What a user should know about the slide, one line each, as the picture's description in the OME metadata.
    painter : Painter, optional
        Of this drawing, in its own frame; afterwards it knows which patches are coloured.
    """
    if compression not in ("jpeg", "deflate"):
        raise ConfigError(f"unknown compression {compression!r}; choose 'jpeg' or 'deflate'")
    if tile_size < 16 or tile_size % 16:
        raise ConfigError(f"tile_size must be a multiple of 16, got {tile_size}")
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality must be 1 to 100, got {quality}")
    if level is not None:
        drawing = replace(drawing, frame=choose_frame(drawing.slide, level), blur_px=None)
    slide, frame = drawing.slide, drawing.frame
    threads = threads or slide.threads
    mpp = None if slide.mpp is None else slide.mpp * sum(frame.downsample) / 2
    sources = _copied_levels(drawing) if compression == "jpeg" else None
    with atomic_path(path) as partial, partial.open("wb", buffering=_WRITTEN_AT_ONCE) as file:
        if sources is not None:
            layouts = [_layout_of(source) for source in sources]
            # Tiles are copied as stored, so all tiles stay in the slide's colour space.
            profile = embedded_profile(slide.icc_profile, "ignore" if drawing.color_profile == "ignore" else "embed")
            writer = PyramidWriter(
                file, layouts, mpp=mpp, name=slide.slide_id, notes=notices, icc_profile=profile
            )
            _write_over_tiles(writer, drawing, sources, layouts, quality, threads, painter)
        else:
            sizes = level_sizes(drawing.size_px, tile_size)
            layout = LevelLayout(drawing.size_px, (tile_size, tile_size))
            if compression == "deflate":
                layout = replace(layout, compression=DEFLATE, photometric=PHOTOMETRIC_RGB, subsampling=(1, 1))
            layouts = [replace(layout, size_px=size) for size in sizes]
            writer = PyramidWriter(
                file, layouts, mpp=mpp, name=slide.slide_id, notes=notices, icc_profile=drawing.icc_profile
            )
            _write_bands(writer, drawing, layouts, quality, threads, painter)
        writer.finish()


def _copied_levels(drawing: Drawing) -> list[TiffLevel] | None:
    """Return the slide's levels from the drawing's level on, or None if their tiles cannot be copied."""
    frame, slide = drawing.frame, drawing.slide
    if drawing.blank_canvas or drawing.blur_px is not None or frame.resized or not frame.whole:
        return None
    levels: list[TiffLevel] = []
    for number in range(frame.level, slide.level_count):
        level = slide.tiff_level(number)
        if level is None or level.compression != JPEG or level.subsampling not in SUBSAMPLING:
            return None
        if level.tile_px[0] % 16 or level.tile_px[1] % 16:
            return None
        levels.append(level)
    # A viewer needs coarse levels; for a slide without them, a new pyramid is made.
    return levels if max(levels[-1].size_px) <= COARSE_ENOUGH_PX else None


def _layout_of(level: TiffLevel) -> LevelLayout:
    return LevelLayout(level.size_px, level.tile_px, JPEG, level.photometric, level.subsampling, level.jpeg_tables)


@dataclass(frozen=True)
class _TileRun:
    """Neighbouring tiles of one row of one level, and the colours over that row."""

    number: int
    slide: Slide
    source: TiffLevel
    layout: LevelLayout
    row: int
    columns: range
    band: Band | None


def _write_over_tiles(
    writer: PyramidWriter,
    drawing: Drawing,
    sources: list[TiffLevel],
    layouts: list[LevelLayout],
    quality: int,
    threads: int,
    own: Painter | None,
) -> None:
    def runs() -> Iterator[_TileRun]:
        for number, (source, layout) in enumerate(zip(sources, layouts, strict=True)):
            frame = choose_frame(drawing.slide, source.level)
            painter = own if own is not None and frame == drawing.frame else Painter(replace(drawing, frame=frame))
            across, down = source.tiles
            for row in range(down):
                y0 = row * source.tile_px[1]
                band = painter.band(y0, min(y0 + source.tile_px[1], source.size_px[1]))
                for first in range(0, across, _TILES_AT_ONCE):
                    columns = range(first, min(first + _TILES_AT_ONCE, across))
                    yield _TileRun(number, drawing.slide, source, layout, row, columns, band)

    def tint(run: _TileRun) -> tuple[int, list[tuple[int, bytes]]]:
        return run.number, [_tinted(run, column, quality) for column in run.columns]

    for number, tiles in iter_in_order(tint, runs(), threads):
        for index, data in tiles:
            writer.write_tile(number, index, data)
    if own is not None and choose_frame(drawing.slide, sources[0].level) != drawing.frame:
        own.look()


def _tinted(run: _TileRun, column: int, quality: int) -> tuple[int, bytes]:
    """Return (index, bytes) of one tile: the slide's bytes if the tile has no colour and can be read."""
    source = run.source
    index = run.row * source.tiles[0] + column
    x0, y0 = column * source.tile_px[0], run.row * source.tile_px[1]
    x1, y1 = min(x0 + source.tile_px[0], source.size_px[0]), min(y0 + source.tile_px[1], source.size_px[1])
    painted = None if run.band is None else run.band.painted(x0, x1)
    if run.band is None or painted is None:
        data = run.slide.tile_bytes(source, index)
        if data is not None:
            return index, data
    tile = run.slide.tile(source, index)
    inside = np.ascontiguousarray(tile[: y1 - y0, : x1 - x0])
    if run.band is not None and painted is not None:
        run.band.paint_where(inside, painted, x0)
    return index, encode_tile(inside, run.layout, quality)


def _write_bands(
    writer: PyramidWriter, drawing: Drawing, layouts: list[LevelLayout], quality: int, threads: int,
    painter: Painter | None,
) -> None:  # fmt: skip
    rows = layouts[0].tile_px[1]
    bands = iter_painted(drawing, rows, threads=1, painter=painter)
    pieces = iter_pyramid(bands, drawing.size_px, rows, len(layouts))

    def runs() -> Iterator[tuple[int, int, UInt8Array]]:
        for number, y0, band in pieces:
            layout = layouts[number]
            for first in range(0, layout.tiles[0], _TILES_AT_ONCE):
                x0 = first * layout.tile_px[0]
                part = band[:, x0 : x0 + _TILES_AT_ONCE * layout.tile_px[0]]
                yield number, y0 // rows * layout.tiles[0] + first, part

    def encode(run: tuple[int, int, UInt8Array]) -> tuple[int, list[tuple[int, bytes, bool]]]:
        number, index, part = run
        side = layouts[number].tile_px[0]
        encoded: list[Any] = []
        for nth, x0 in enumerate(range(0, part.shape[1], side)):
            tile = part[:, x0 : x0 + side]
            # White tiles are all equal, so they are stored once.
            blank = drawing.blank_canvas and bool((tile == WHITE).all())
            encoded.append((index + nth, encode_tile(tile, layouts[number], quality), blank))
        return number, encoded

    for number, tiles in iter_in_order(encode, runs(), threads):
        for index, data, blank in tiles:
            writer.write_tile(number, index, data, shared=blank)
