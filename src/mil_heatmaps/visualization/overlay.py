"""From a drawing to a picture: reads, paints, encodes and writes bands of the slide, a few at a time.

No function holds a whole picture unless its caller asks for one. The bytes written do not depend on the number of
threads: every band is painted and encoded separately, and bands are joined in order.
"""

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.drawing import Drawing, Painter
from mil_heatmaps.visualization.picture_files import MOST_PIXELS_IN_MEMORY, FileFacts, check_size, open_picture_file
from mil_heatmaps.visualization.slide_rows import iter_slide_bands

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def draw_to_file(
    path: str | os.PathLike[str],
    drawing: Drawing,
    *,
    quality: int | None = None,
    lossless: bool = False,
    threads: int | None = None,
) -> None:
    """Draw into a file in the format of its suffix. The file appears whole or not at all.

    PNG and JPEG are written during drawing, in bounded memory; other formats (WebP, TIFF, BMP) need the whole picture
    first. JPEG has CLAM's settings: halved chroma, and quality 100 unless `quality` is given. WebP is `lossless` or has
    quality 80 unless `quality` is given.

    Raises
    ------
    ConfigError
        Before any work, if the format is unknown or cannot hold a picture of this size.
    """
    draw_to_files([path], drawing, quality=quality, lossless=lossless, threads=threads)


def draw_to_files(
    paths: Sequence[str | os.PathLike[str]],
    drawing: Drawing,
    *,
    quality: int | None = None,
    lossless: bool = False,
    threads: int | None = None,
    painter: Painter | None = None,
) -> None:
    """Draw once into several files, each in the format of its suffix; otherwise as `draw_to_file`.

    Give a `painter` of this drawing to ask it afterwards which patches it coloured.
    """
    for path in paths:
        check_size(Path(path), drawing.size_px)
    rows, facts = band_rows(drawing), FileFacts(icc_profile=drawing.icc_profile)
    with ExitStack() as stack:
        pictures = [
            stack.enter_context(
                open_picture_file(path, drawing.size_px, rows, quality=quality, lossless=lossless, facts=facts)
            )
            for path in paths
        ]
        painted = iter_painted(
            drawing, rows, lambda band: [p.encode(band) for p in pictures], threads=threads, painter=painter
        )
        for parts in painted:
            for picture, part in zip(pictures, parts, strict=True):
                picture.write(part)


def iter_painted(
    drawing: Drawing,
    rows: int,
    then: Callable[[UInt8Array], Any] = lambda band: band,
    *,
    threads: int | None = None,
    painter: Painter | None = None,
) -> Iterator[Any]:
    """Yield `then(band)` for each band of the picture from top to bottom, `rows` rows each (the last may have fewer).

    `then` runs in the painting threads. A drawing with CLAM's blur is drawn whole first.
    """
    painter = painter or Painter(drawing)
    if drawing.blur_px is not None:
        picture = draw(drawing, painter=painter)
        yield from (then(picture[y0 : y0 + rows]) for y0 in range(0, len(picture), rows))
        return
    threads = threads or drawing.slide.threads
    yield from iter_in_order(
        lambda item: then(painter.paint(item[1](), item[0])),
        iter_slide_bands(
            drawing.slide, drawing.frame, rows, threads=threads, blank=drawing.blank_canvas,
            to_srgb=drawing.color_profile == "convert",
        ),
        threads,
    )


def draw(drawing: Drawing, *, threads: int | None = None, painter: Painter | None = None) -> UInt8Array:
    """Return the whole picture, (height, width, 3); `painter` as in `draw_to_files`.

    Raises
    ------
    ConfigError
        If the picture is too large for memory; `draw_to_file` and the pyramid exports have no such limit.
    """
    if math.prod(drawing.size_px) > MOST_PIXELS_IN_MEMORY:
        width, height = drawing.size_px
        raise ConfigError(
            f"a picture of {width} x {height} pixels does not fit in memory; choose a coarser vis_level, or write it "
            "with draw_to_file(path, plan_heatmap(...)) or as a pyramidal TIFF"
        )
    if drawing.blur_px is not None:
        from mil_heatmaps.visualization.clam_blur import draw_blurred

        return draw_blurred(painter or Painter(drawing))
    width, height = drawing.size_px
    out = np.empty((height, width, 3), np.uint8)
    y0 = 0
    for band in iter_painted(drawing, band_rows(drawing), threads=threads, painter=painter):
        out[y0 : y0 + len(band)] = band
        y0 += len(band)
    return out


def band_rows(drawing: Drawing) -> int:
    """Return how many rows are drawn at once: about 4 MB of pixels, in whole tile rows, and a multiple of 16."""
    width = drawing.size_px[0]
    tiff = drawing.slide.tiff_level(drawing.frame.level) if drawing.frame.whole and not drawing.frame.resized else None
    unit = 256 if tiff is None or tiff.tile_px[1] % 16 else tiff.tile_px[1]
    fitting = max(1, (4 << 20) // (3 * width * unit))
    # JPEG stores the number of blocks of a band in 16 bits.
    most = 65535 // -(-width // 16) * 16
    return min(fitting * unit, max(16, most // unit * unit or most), 2048)


def iter_in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`; `threads` threads compute a few items ahead."""
    if threads < 2:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="paint")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            while waiting and (waiting[0].done() or len(waiting) > threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
