"""Write frames to a film: H.264 with PyAV, short loops as GIF or WebP with Pillow. Files appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.film.settings import FilmSettings
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.words import install_line, lacking, said_by

INSTALL = install_line("video")
_CODEC = "libx264"
_THREADS = 2
"""Threads of x264; its default is 1.5 per core, with as many frames in memory."""
_BT709 = 1
"""Code in ITU-T H.273 of BT.709, the colours that players assume for HD films."""


def check_installed(settings: FilmSettings) -> None:
    """Raise MissingDependencyError if the film's format needs PyAV, and PyAV or its x264 is missing."""
    if settings.format == "mp4":
        _av()


def _av() -> Any:
    try:
        import av
        import av.codec
    except ImportError as error:
        missing = None if isinstance(error, ModuleNotFoundError) and error.name == "av" else error
        raise lacking("video_arguments (format: mp4)", "av", INSTALL, missing) from error
    try:
        av.codec.Codec(_CODEC, "w")
    except ValueError as error:  # av.codec.UnknownCodecError is one
        raise lacking("video_arguments (format: mp4)", "av with x264 in it", INSTALL) from error
    return av


def write_film(path: Path, frames: Iterable[UInt8Array], settings: FilmSettings) -> None:
    """Write a film from its frames, each (height, width, 3), which are consumed one by one.

    Raises
    ------
    MissingDependencyError
        Without PyAV, for MP4.
    HeatmapError
        If the encoder refuses the frames.
    """
    with atomic_path(path) as partial:
        if settings.format == "mp4":
            _write_mp4(partial, frames, settings)
        else:
            _write_loop(partial, frames, settings)


def _write_mp4(path: Path, frames: Iterable[UInt8Array], settings: FilmSettings) -> None:
    av = _av()
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream(_CODEC, rate=settings.rate)
            stream.width, stream.height = settings.size_px
            stream.pix_fmt = "yuv420p"
            # Each look-ahead frame of x264 stays in memory; the default of 40 gains little if the camera moves slowly.
            ahead = "rc-lookahead=8:sync-lookahead=0"
            stream.options = {"crf": str(settings.crf), "preset": "medium", "x264-params": ahead}
            stream.thread_count = _THREADS
            context = stream.codec_context
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.color_range = 1  # limited range, which all players support
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                frame.pts = number
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    except av.FFmpegError as error:
        raise HeatmapError(f"the film cannot be encoded: {said_by(error)}") from error


def _write_loop(path: Path, frames: Iterable[UInt8Array], settings: FilmSettings) -> None:
    """Write a GIF or WebP that loops forever."""
    from PIL import Image

    def images() -> Iterator[Image.Image]:
        for pixels in frames:
            image = Image.fromarray(pixels)
            yield image.quantize(256, Image.Quantize.MEDIANCUT) if settings.format == "gif" else image

    pictures = images()
    first = next(pictures)
    # GIF times are in hundredths of a second, and players treat values below 2 as 10.
    per_frame = max(20, round(100 / settings.fps) * 10) if settings.format == "gif" else round(1000 / settings.fps)
    options: dict[str, Any] = {"quality": 80, "method": 2} if settings.format == "webp" else {"optimize": False}
    first.save(
        path, format=settings.format.upper(), save_all=True, append_images=chain(pictures), duration=per_frame, loop=0,
        **options,
    )  # fmt: skip
