"""A film of one drawing: plans the flight, draws the frames, writes the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import SlideError
from mil_heatmaps.film.camera import Flight, Stop, Window, fade, highest_places, overview, serpentine, sweep, tour
from mil_heatmaps.film.captions import Captions
from mil_heatmaps.film.encode import write_film
from mil_heatmaps.film.pictures import WindowPictures
from mil_heatmaps.film.settings import FilmSettings
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import shown_extent
from mil_heatmaps.words import counted, number_words

_TENX_MPP = 1.0
"""Micrometres per pixel at magnification 10: 1, because 20x has 0.5."""
_PATCHES_ACROSS = {"sweep": 32, "tour": 16}
"""How many patches a window shows across if no magnification is given."""


@dataclass(frozen=True)
class FilmedMap:
    """The map to film.

    Attributes
    ----------
    drawing : Drawing
        The drawing of the finished map.
    scores : (N,)
        Scores of the drawing's patches, as returned by the model.
    title : str
        Title of the colour bar.
    score_name : str
        Name of the score in captions.
    """

    drawing: Drawing
    scores: npt.NDArray[np.floating]
    title: str
    score_name: str


def plan_flight(filmed: FilmedMap, settings: FilmSettings) -> Flight:
    """Return where the window is in every frame.

    Raises
    ------
    SlideError
        If there is no patch to fly to, if a magnification is given for a slide without a pixel size, or if the window
        is larger than the slide.
    """
    drawing, frames = filmed.drawing, settings.frames
    whole = overview(*shown_extent(drawing), settings.size_px)
    if settings.mode == "fade":
        return fade(whole, frames, settings.blend)
    seen = np.isfinite(drawing.shades)
    if not seen.any():
        raise SlideError(f"a film ({settings.mode}) follows the patches, and no patch of the slide has a score")
    downsample = _downsample(drawing, settings, whole)
    window_l0 = settings.size_px[0] * downsample, settings.size_px[1] * downsample
    grid = drawing.grid
    centres = grid.coords_l0[seen] + np.asarray(grid.size_l0) / 2
    if settings.mode == "sweep":
        return sweep(serpentine(centres, grid.size_l0, window_l0), downsample, frames, settings.blend)
    scores, ranks = filmed.scores[seen], rank_percentiles(filmed.scores)[seen]
    chosen = highest_places(centres, drawing.shades[seen], settings.regions, window_l0)
    stops = [
        Stop(
            Window(float(centres[i, 0]), float(centres[i, 1]), downsample),
            f"{number} of {len(chosen)}: {filmed.score_name} {number_words(float(scores[i]))}, "
            f"percentile {number_words(float(ranks[i]), 3)} of {counted(len(centres), 'patch', 'patches')}",
        )
        for number, i in enumerate(chosen, 1)
    ]
    return tour(whole, stops, frames, settings.size_px[0], settings.blend)


def _downsample(drawing: Drawing, settings: FilmSettings, whole: Window) -> float:
    """Return the level-0 pixels per pixel of the window; never more than in the overview."""
    if settings.magnification is None:
        across = _PATCHES_ACROSS[settings.mode] * drawing.grid.step_l0[0] / settings.size_px[0]
        return min(across, whole.downsample)
    mpp = drawing.slide.mpp
    if mpp is None:
        raise SlideError(
            "video_arguments.magnification needs a slide with a pixel size, and this one has none; give it in the "
            "process list's column mpp or in data_arguments.slide_mpp, or leave magnification out"
        )
    downsample = 10 * _TENX_MPP / settings.magnification / mpp
    if downsample > whole.downsample:
        least = 10 * _TENX_MPP / (whole.downsample * mpp)
        width, height = (round(side * downsample * mpp) for side in settings.size_px)
        raise SlideError(
            f"the film's window ({width} x {height} µm at magnification {settings.magnification:g}) is larger than the "
            f"slide: give video_arguments.magnification of at least {number_words(least, 2)}, or leave it out"
        )
    return downsample


def film_frames(filmed: FilmedMap, settings: FilmSettings, flight: Flight, threads: int = 1) -> Iterator[UInt8Array]:
    """Yield the frames, each (height, width, 3), with their overlays."""
    drawing = filmed.drawing
    written = Captions(
        drawing, filmed.title, settings.size_px, colour_bar=settings.colour_bar, captions=settings.captions
    )
    if settings.mode == "fade":
        yield from _fading(drawing, settings, flight, written, threads)
        return
    with WindowPictures(drawing, settings.blend, threads) as pictures:
        # One by one, because tiles are read and frames are encoded in separate threads.
        for window, words, blend in zip(flight.windows, flight.words, flight.blends, strict=True):
            yield written.write(pictures.picture(window, settings.size_px), window, words, blend)


def _fading(
    drawing: Drawing, settings: FilmSettings, flight: Flight, written: Captions, threads: int
) -> Iterator[UInt8Array]:
    """Yield frames blended from two pictures: the slide, and its map at full blend."""
    window = flight.windows[0]
    slide, mapped = (_still(drawing, blend, window, settings, threads) for blend in (0.0, settings.blend))
    for blend in flight.blends:
        share = blend / settings.blend if settings.blend else 0.0
        mixed = np.asarray(cv2.addWeighted(mapped, share, slide, 1 - share, 0))
        yield written.write(mixed, window, "", blend)


def _still(drawing: Drawing, blend: float, window: Window, settings: FilmSettings, threads: int) -> UInt8Array:
    with WindowPictures(drawing, blend, threads) as pictures:
        return pictures.picture(window, settings.size_px)


def make_film(
    path: Path,
    filmed: FilmedMap,
    settings: FilmSettings,
    *,
    threads: int = 1,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a film; `tell` is called with the number of finished frames and the total, and may stop it by raising."""
    flight = plan_flight(filmed, settings)

    def told() -> Iterator[UInt8Array]:
        for number, frame in enumerate(film_frames(filmed, settings, flight, threads)):
            tell(number, len(flight))
            yield frame

    write_film(path, told(), settings)
