"""Which part of a slide a picture shows, and at what scale.

Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the picture. Pairs are (x, y) or (width, height).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.reader import Slide

logger = logging.getLogger(__name__)

FINEST = 0.99
"""The smallest downsample. A picture is never finer than its slide; the value leaves room for rounding."""
DEFAULT_DOWNSAMPLE = 32
MOST_PIXELS_UNASKED = 64_000_000
"""Most pixels of a picture whose level the user did not choose."""

Pair = tuple[int, int]
Corner = Sequence[int]


@dataclass(frozen=True)
class Frame:
    """The place of a picture on its slide.

    Attributes
    ----------
    level : int
        Pyramid level whose pixels are read; 0 is the finest.
    size_px : (width, height)
        Size of the picture.
    downsample : (x, y)
        Level-0 pixels per picture pixel, per axis; the level's downsample unless the picture is resized.
    corner_l0 : (x, y)
        Top-left corner of the picture.
    whole : bool
        True when the picture shows the whole slide.
    resized : bool
        True when no level has this scale and the pixels are averaged from the next finer one.
    by_centres : bool
        True when a pixel shows the patch under its centre; False when patches are rounded up, as in CLAM's pictures.
    note : Notice or None
        What a user should know about the choice of level.
    """

    level: int
    size_px: Pair
    downsample: tuple[float, float]
    corner_l0: Pair = (0, 0)
    whole: bool = True
    resized: bool = False
    by_centres: bool = False
    note: Notice | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """Picture pixels per level-0 pixel. CLAM multiplies by this; dividing would round differently."""
        return 1 / self.downsample[0], 1 / self.downsample[1]


def choose_frame(
    slide: Slide,
    vis_level: int = -1,
    *,
    downsample: float | None = None,
    mpp: float | None = None,
    top_left: Corner | None = None,
    bot_right: Corner | None = None,
) -> Frame:
    """Return the frame for a level, a downsample or a resolution, of the whole slide or of a region.

    A level below 0 means about 1/32. It takes the last level whose mean downsample is at most 32, which is OpenSlide's
    rule and CLAM's. If that level holds more than `MOST_PIXELS_UNASKED` pixels, the picture is averaged to 1/32
    instead. A level deeper than the pyramid becomes the deepest level, with a note. A downsample or mpp within 1 % of
    a level takes that level; any other is averaged from the next finer level.

    Parameters
    ----------
    top_left, bot_right : (x, y), level-0 pixels
        Corners of a region; give both or neither.

    Raises
    ------
    ConfigError
        For a region that is empty or half given, a downsample below 1, or an mpp on a slide without one.
    """
    if mpp is not None:
        if slide.mpp is None:
            raise ConfigError(
                f"mpp={mpp:g} needs a slide with a pixel size, {slide.path} has none: {slide.mpp_note}; give it in the "
                "process list's column mpp, or in data_arguments.slide_mpp for every slide without one"
            )
        downsample = mpp / slide.mpp
        if downsample < FINEST:
            raise ConfigError(f"a picture cannot be finer than the slide: mpp {mpp:g}, the slide has {slide.mpp:g}")
    if downsample is not None:
        frame = _frame_at(slide, downsample)
    elif vis_level >= 0:
        frame = _frame_of_level(slide, vis_level)
    else:
        frame = _frame_of_level(slide, slide.level_for_downsample(DEFAULT_DOWNSAMPLE))
        if math.prod(frame.size_px) > MOST_PIXELS_UNASKED:
            frame = _frame_at(slide, DEFAULT_DOWNSAMPLE)
            text = f"no level near 1/{DEFAULT_DOWNSAMPLE}: made from level {frame.level}"
            frame = replace(frame, note=Notice("level", text))
    region = region_between(top_left, bot_right)
    return frame if region is None else _cut(frame, *map(as_pair, region))


def shrunk_frame(frame: Frame, longest_px: int) -> Frame:
    """Return the frame with a longer side of at most `longest_px` pixels, at the size `shrink` gives a picture."""
    width, height = frame.size_px
    if max(width, height) <= longest_px:
        return frame
    factor = longest_px / max(width, height)
    size = tuple(longest_px if side == max(width, height) else max(1, int(side * factor)) for side in (width, height))
    downsample = (
        width * frame.downsample[0] / size[0],
        height * frame.downsample[1] / size[1],
    )
    return replace(
        frame, size_px=(size[0], size[1]), downsample=downsample, resized=True, by_centres=True
    )


def region_between(top_left: Corner | None, bot_right: Corner | None) -> tuple[Corner, Corner] | None:
    """Return the corners of a region, or None without corners; raise ConfigError if only one is given."""
    if top_left is None and bot_right is None:
        return None
    if top_left is None or bot_right is None:
        raise ConfigError("a region needs both corners, top_left and bot_right")
    return top_left, bot_right


def _frame_of_level(slide: Slide, level: int) -> Frame:
    level, note = slide.clamp_level(level)
    return Frame(level, slide.level_dimensions[level], slide.level_downsamples[level], note=note)


def _frame_at(slide: Slide, downsample: float) -> Frame:
    if not downsample >= FINEST:
        raise ConfigError(f"a picture cannot be finer than the slide: downsample {downsample:.3g}, at least 1 will do")
    for level, factors in enumerate(slide.level_downsamples):
        if max(abs(factor / downsample - 1) for factor in factors) < 0.01:
            return replace(_frame_of_level(slide, level), by_centres=True)
    level = max(slide.level_for_downsample(downsample), 0)
    width, height = slide.dimensions_l0
    size_px = max(1, round(width / downsample)), max(1, round(height / downsample))
    return Frame(level, size_px, (width / size_px[0], height / size_px[1]), resized=True, by_centres=True)


def _cut(frame: Frame, top_left: Pair, bot_right: Pair) -> Frame:
    scale = frame.scale
    size = [int(bot_right[i] * scale[i]) - int(top_left[i] * scale[i]) for i in (0, 1)]
    if frame.resized and min(bot_right[i] - top_left[i] for i in (0, 1)) > 0:
        extent_l0 = bot_right[0] - top_left[0], bot_right[1] - top_left[1]
        size = [max(1, round(extent_l0[i] * scale[i])) for i in (0, 1)]
        frame = replace(frame, downsample=(extent_l0[0] / size[0], extent_l0[1] / size[1]))
    if min(size) < 1:
        raise ConfigError(
            f"the region from {top_left} to {bot_right} is empty at level {frame.level}; "
            "top_left must be above and left of bot_right"
        )
    return replace(frame, size_px=(size[0], size[1]), corner_l0=top_left, whole=False)


def as_pair(corner: Corner) -> Pair:
    return int(corner[0]), int(corner[1])
