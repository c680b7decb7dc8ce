"""The slide's pixels under a picture, band by band."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from mil_heatmaps.slides.bands import cut_bands
from mil_heatmaps.slides.colour_profile import srgb_converter
from mil_heatmaps.slides.pixels import WHITE, UInt8Array
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.visualization.frame import Frame


def iter_slide_bands(
    slide: Slide, frame: Frame, rows: int, *, threads: int, blank: bool = False, to_srgb: bool = False
) -> Iterator[tuple[int, Callable[[], UInt8Array]]]:
    """Yield (y0, read) for the bands of `iter_slide_rows`; `read()` returns the pixels.

    The caller calls it in one of its `threads`. Bands of whole tiles are read only then, so that a band stays in one
    thread from reading to writing.
    """
    whole_level = frame.whole and not (blank or to_srgb or frame.resized)
    tiff = slide.tiff_level(frame.level) if whole_level and threads > 1 else None
    if tiff is not None and rows % tiff.tile_px[1] == 0:
        height = frame.size_px[1]
        for y0 in range(0, height, rows):
            yield y0, partial(slide.read_rows, frame.level, y0, min(y0 + rows, height), threads=1)
    else:
        for y0, pixels in iter_slide_rows(slide, frame, rows, blank=blank, to_srgb=to_srgb):
            yield y0, partial(_given, pixels)


def _given(pixels: UInt8Array) -> UInt8Array:
    return pixels


def iter_slide_rows(
    slide: Slide, frame: Frame, rows: int, *, blank: bool = False, to_srgb: bool = False
) -> Iterator[tuple[int, UInt8Array]]:
    """Yield (y0, pixels) from top to bottom, `rows` rows each (the last may have fewer); white if `blank`.

    The pixels may be changed. With `to_srgb` they are converted with the slide's ICC profile, if it has one.
    """
    converter = srgb_converter(slide.icc_profile) if to_srgb and not blank else None
    if converter is not None:
        for y0, pixels in iter_slide_rows(slide, frame, rows):
            yield y0, np.array(converter(pixels))
        return
    if blank:
        width, height = frame.size_px
        for y0 in range(0, height, rows):
            yield y0, np.full((min(rows, height - y0), width, 3), WHITE, np.uint8)
    elif frame.resized:
        yield from _resized_rows(slide, frame, rows)
    elif frame.whole:
        yield from slide.iter_strips(frame.level, rows)
    else:
        yield from _region_rows(slide, frame, rows)


def _region_rows(slide: Slide, frame: Frame, rows: int) -> Iterator[tuple[int, UInt8Array]]:
    """Read a region in bands that begin on whole level-0 pixels; together they equal a single read of the region."""
    width, height = frame.size_px
    x_l0, y_l0 = frame.corner_l0
    held = np.empty((0, width, 3), np.uint8)
    y0 = 0
    for band in cut_bands(slide.mean_downsample(frame.level), width, height, call_pixels=rows * width):
        size_px = width, band.stop_px - band.start_px
        pixels = slide.read_region((x_l0, y_l0 + band.start_l0), frame.level, size_px)
        held = np.concatenate((held, pixels)) if len(held) else pixels
        while len(held) >= rows or (len(held) and band.stop_px == height):
            yield y0, held[:rows]
            y0, held = y0 + min(rows, len(held)), held[rows:]


def _source(slide: Slide, frame: Frame) -> Frame:
    """Return the frame, in a level's pixels, from which a resized frame is averaged."""
    factors, size_px = slide.level_downsamples[frame.level], slide.level_dimensions[frame.level]
    if not frame.whole:
        width, height = (
            max(1, round(side * ratio / factor))
            for side, ratio, factor in zip(frame.size_px, frame.downsample, factors, strict=True)
        )
        size_px = width, height
    return replace(frame, size_px=size_px, downsample=factors, resized=False)


def _resized_rows(slide: Slide, frame: Frame, rows: int) -> Iterator[tuple[int, UInt8Array]]:
    """Average a level down by any factor: every picture pixel is the mean of the area it covers."""
    import cv2

    width, height = frame.size_px
    source = _source(slide, frame)
    source_height = source.size_px[1]
    ratio = source_height / height
    strips = iter_slide_rows(slide, source, max(16, (12 << 20) // (3 * source.size_px[0])))
    held = np.empty((0, width, 3), np.uint8)
    held_from = 0
    for y0 in range(0, height, rows):
        y1 = min(y0 + rows, height)
        need = min(source_height, int(np.ceil(y1 * ratio - 1e-9)))
        while held_from + len(held) < need:
            _, strip = next(strips)
            narrow = cv2.resize(strip, (width, len(strip)), interpolation=cv2.INTER_AREA)
            held = np.concatenate((held, narrow))
        out = np.empty((y1 - y0, width, 3), np.uint8)
        for y in range(y0, y1):
            first, last = y * ratio, min((y + 1) * ratio, source_height)
            a, b = int(first), min(int(np.ceil(last - 1e-9)), source_height)
            weights = np.ones(b - a, np.float32)
            weights[0] -= first - a
            weights[-1] -= b - last
            block = held[a - held_from : b - held_from].reshape(b - a, -1)
            mean = (weights / weights.sum()) @ block.astype(np.float32)
            out[y - y0] = np.rint(mean).astype(np.uint8).reshape(width, 3)
        drop = max(0, int(y1 * ratio) - held_from)
        held, held_from = held[drop:], held_from + drop
        yield y0, out
