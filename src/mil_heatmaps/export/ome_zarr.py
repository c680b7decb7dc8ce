"""OME-Zarr (NGFF 0.4 in Zarr 2, 0.5 in Zarr 3): the scores themselves, or the picture, as a multiscale image.

Axes are channel, y, x. Scales and translations are in micrometres if the slide's resolution is known. Otherwise they
are in level-0 pixels without a unit, because NGFF has no unit for pixels. Bands of one row of chunks are written at a
time.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.reduce import iter_pyramid, level_sizes
from mil_heatmaps.export.score_pixels import ScorePainter, ScorePicture
from mil_heatmaps.export.score_tiff import unit_of
from mil_heatmaps.files.atomic import atomic_folder
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.overlay import iter_painted
from mil_heatmaps.words import install_line, lacking

Version = Literal["0.4", "0.5"]
Band = tuple[int, int, int, int, npt.NDArray[Any]]
"""(level, channel, y0, x0, pixels); pixels are (h, w) of one channel, or (c, h, w) of several from `channel` on."""

_COLOURS = ("FFFFFF", "FF0000", "00FF00", "0000FF", "FFFF00", "FF00FF", "00FFFF")


def write_score_zarr(
    path: str | os.PathLike[str], picture: ScorePicture, *, version: Version = "0.4", chunk_size: int = 512
) -> None:
    """Write the scores as float32, one channel per column, NaN where no patch lies.

    Raises
    ------
    MissingDependencyError
        If zarr is not installed.
    """
    levels = picture.levels(chunk_size)

    def bands() -> Iterator[Band]:
        for number, frame in enumerate(levels):
            for channel, scores in enumerate(picture.columns.values()):
                painter = ScorePainter(picture.grid, scores, frame)
                for y0 in range(0, frame.size_px[1], chunk_size):
                    pieces = painter.rows(y0, min(y0 + chunk_size, frame.size_px[1]), chunk_size)
                    for nth, piece in enumerate(pieces):
                        yield number, channel, y0, nth * chunk_size, piece

    channels: list[dict[str, Any]] = []
    for name in picture.columns:
        ends = picture.range_of(name) or (0.0, 1.0)
        channels.append({"label": name, "color": "FFFFFF", **_window(*ends), "active": not channels})
    told: dict[str, Any] = {
        "slide_id": picture.name,
        "scores": [
            {"name": name, "kind": kind, "unit": unit_of(kind), "range": picture.range_of(name)}
            for name, kind in ((name, picture.kinds[name]) for name in picture.columns)
        ],
        "corner_level0": list(picture.frame.corner_l0),
        "downsample": list(picture.frame.downsample),
        "patch_size_level0": list(picture.grid.size_l0),
        "notices": list(picture.notes),
    }
    _write(path, levels, picture.name, picture.mpp, np.dtype(np.float32), channels, told, bands(), version, chunk_size)


def write_picture_zarr(
    path: str | os.PathLike[str],
    drawing: Drawing,
    *,
    version: Version = "0.4",
    chunk_size: int = 512,
    notices: Sequence[str] = (),
) -> None:
    """Write the picture as uint8 with the channels red, green and blue; MissingDependencyError without zarr."""
    x, y = drawing.frame.downsample
    sizes = level_sizes(drawing.size_px, chunk_size)
    levels = [
        Frame(drawing.frame.level, size, (x * 2**number, y * 2**number), drawing.frame.corner_l0)
        for number, size in enumerate(sizes)
    ]

    def bands() -> Iterator[Band]:
        painted = iter_painted(drawing, chunk_size, threads=1)
        for number, y0, band in iter_pyramid(painted, drawing.size_px, chunk_size, len(levels)):
            yield number, 0, y0, 0, np.moveaxis(band, -1, 0)

    names = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    channels = [{"label": name, "color": colour, **_window(0, 255), "active": True} for name, colour in names]
    told = {"slide_id": drawing.slide.slide_id, "corner_level0": list(drawing.frame.corner_l0), "downsample": [x, y]}
    told["notices"] = list(notices)
    slide = drawing.slide
    _write(path, levels, slide.slide_id, slide.mpp, np.dtype(np.uint8), channels, told, bands(), version, chunk_size)


def _window(low: float, high: float) -> dict[str, Any]:
    return {"window": {"min": low, "max": high, "start": low, "end": high}}


def multiscales(levels: Sequence[Frame], name: str, mpp: float | None) -> list[dict[str, Any]]:
    """Return the NGFF metadata of the levels, without their version."""
    unit = {} if mpp is None else {"unit": "micrometer"}
    factor = 1.0 if mpp is None else mpp
    datasets = []
    for number, frame in enumerate(levels):
        x, y = (factor * side for side in frame.downsample)
        # The position of a pixel is its centre.
        left, top = (factor * (frame.corner_l0[i] + (frame.downsample[i] - 1) / 2) for i in (0, 1))
        transformations = [
            {"type": "scale", "scale": [1.0, y, x]},
            {"type": "translation", "translation": [0.0, top, left]},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
    axes = [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space", **unit} for axis in "yx")]
    return [{"name": name, "axes": axes, "datasets": datasets}]


def _write(
    path: str | os.PathLike[str],
    levels: Sequence[Frame],
    name: str,
    mpp: float | None,
    dtype: np.dtype[Any],
    channels: list[dict[str, Any]],
    told: dict[str, Any],
    bands: Iterator[Band],
    version: Version,
    chunk_size: int,
) -> None:
    """Write a temporary folder beside `path`, then move it into place."""
    try:
        import zarr
    except ImportError as error:
        raise lacking("export_arguments.ome_zarr", "zarr", install_line("interop"), error) from error

    scales = multiscales(levels, name, mpp)
    omero: dict[str, Any] = {"channels": channels, "rdefs": {"model": "color" if dtype == np.uint8 else "greyscale"}}
    with atomic_folder(path) as partial:
        root = zarr.open_group(str(partial), mode="w", zarr_format=2 if version == "0.4" else 3)
        arrays = [
            root.create_array(
                str(number),
                shape=(len(channels), frame.size_px[1], frame.size_px[0]),
                chunks=(len(channels) if dtype == np.uint8 else 1, chunk_size, chunk_size),
                dtype=dtype,
                fill_value=np.nan if dtype.kind == "f" else 255,
                **({"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version == "0.4" else
                   {"dimension_names": ["c", "y", "x"]}),
            )
            for number, frame in enumerate(levels)
        ]  # fmt: skip
        for number, channel, y0, x0, pixels in bands:
            planes = pixels if pixels.ndim == 3 else pixels[None]
            bottom, right = y0 + planes.shape[1], x0 + planes.shape[2]
            arrays[number][channel : channel + len(planes), y0:bottom, x0:right] = planes
        if version == "0.4":
            scales[0]["version"] = omero["version"] = version
            root.attrs.update({"multiscales": scales, "omero": omero, "mil_heatmaps": told})
        else:
            root.attrs.update(
                {"ome": {"version": version, "multiscales": scales, "omero": omero}, "mil_heatmaps": told}
            )
