"""The scores themselves as a pyramidal OME-TIFF: float32, one channel per column, NaN where no patch lies.

Channels are pages of the main chain, and coarser levels are their SubIFDs, where Bio-Formats (and so QuPath) expects
them. Tiles are compressed with deflate and written as they are painted.
"""

import os
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from mil_heatmaps.export.score_pixels import Floats, ScorePainter, ScorePicture
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.visualization.frame import Frame

_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
UNITS = {
    "attention_softmax": "share of the slide's attention",
    "attention_mean": "share of the slide's attention",
    "instance_probability": "probability",
}
"""Unit of a score by kind; other kinds are plain numbers."""


def unit_of(kind: str) -> str:
    """Return the unit of a kind of score."""
    return UNITS.get(kind, "1")


def write_score_tiff(path: str | os.PathLike[str], picture: ScorePicture, *, tile_size: int = 512) -> None:
    """Write the picture; the same picture always gives the same bytes.

    Parameters
    ----------
    tile_size : int
        Side of a tile, a multiple of 16.
    """
    import tifffile

    levels = picture.levels(tile_size)
    options: dict[str, Any] = {
        "dtype": np.float32,
        "tile": (tile_size, tile_size),
        "photometric": "minisblack",
        "compression": "zlib",
        "metadata": None,
        "software": False,
        "maxworkers": 1,
    }
    with atomic_path(path) as partial, tifffile.TiffWriter(partial, bigtiff=True) as tiff:
        for number, frame in enumerate(levels):
            width, height = frame.size_px
            shape = (len(picture.columns), height, width)
            own: dict[str, Any] = {"subfiletype": 1} if number else {"subifds": len(levels) - 1}
            if number == 0:
                own["description"] = ome_xml(picture).encode()
            if (mpp := picture.mpp_of(frame)) is not None:
                own |= {"resolution": (1e4 / mpp[0], 1e4 / mpp[1]), "resolutionunit": "CENTIMETER"}
            tiff.write(_tiles(picture, frame, tile_size), shape=shape, **options, **own)


def _tiles(picture: ScorePicture, frame: Frame, side: int) -> Iterator[Floats]:
    """Yield the tiles of all channels at full size, NaN beyond the picture's edge."""
    for scores in picture.columns.values():
        painter = ScorePainter(picture.grid, scores, frame)
        for y0 in range(0, frame.size_px[1], side):
            for piece in painter.rows(y0, min(y0 + side, frame.size_px[1]), side):
                if piece.shape == (side, side):
                    yield piece
                else:
                    tile = np.full((side, side), np.nan, np.float32)
                    tile[: piece.shape[0], : piece.shape[1]] = piece
                    yield tile


def ome_xml(picture: ScorePicture) -> str:
    """Return the OME-XML: channels by name, with kind, unit, range and position on the slide as annotations."""
    width, height = picture.frame.size_px
    names = list(picture.columns)
    size, position = "", ""
    if (mpp := picture.mpp_of(picture.frame)) is not None and picture.mpp is not None:
        sides = zip("XY", mpp, strict=True)
        size = "".join(f' PhysicalSize{axis}="{side:.9g}" PhysicalSize{axis}Unit="µm"' for axis, side in sides)
        x, y = (corner * picture.mpp for corner in picture.frame.corner_l0)
        position = f' PositionX="{x:.9g}" PositionXUnit="µm" PositionY="{y:.9g}" PositionYUnit="µm"'
    channels = "".join(
        f'<Channel ID="Channel:0:{number}" Name={quoteattr(name)} SamplesPerPixel="1">'
        f'<AnnotationRef ID="Annotation:{number}"/></Channel>'
        for number, name in enumerate(names)
    )
    data = "".join(f'<TiffData IFD="{number}" FirstC="{number}" PlaneCount="1"/>' for number in range(len(names)))
    planes = "".join(f'<Plane TheC="{number}" TheT="0" TheZ="0"{position}/>' for number in range(len(names)))
    annotations = "".join(_annotation(number, _told(picture, name)) for number, name in enumerate(names))
    place = {
        "corner_level0": " ".join(map(str, picture.frame.corner_l0)),
        "downsample": " ".join(f"{factor:.9g}" for factor in picture.frame.downsample),
        "patch_size_level0": " ".join(map(str, picture.grid.size_l0)),
    }
    said = f"<Description>{escape(chr(10).join(picture.notes))}</Description>" if picture.notes else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{_SCHEMA}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{_SCHEMA} {_SCHEMA}/ome.xsd">'
        f'<Image ID="Image:0" Name={quoteattr(picture.name)}>{said}'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="float" SizeX="{width}" SizeY="{height}" '
        f'SizeC="{len(names)}" SizeZ="1" SizeT="1" BigEndian="false" Interleaved="false"{size}>'
        f"{channels}{data}{planes}</Pixels>"
        f'<AnnotationRef ID="Annotation:{len(names)}"/></Image>'
        f"<StructuredAnnotations>{annotations}{_annotation(len(names), place)}</StructuredAnnotations></OME>"
    )


def _told(picture: ScorePicture, name: str) -> dict[str, str]:
    kind = picture.kinds[name]
    told = {"score": name, "kind": kind, "unit": unit_of(kind), "outside": "NaN"}
    if (ends := picture.range_of(name)) is not None:
        told |= {"min": f"{ends[0]:.9g}", "max": f"{ends[1]:.9g}"}
    return told


def _annotation(number: int, told: dict[str, str]) -> str:
    entries = "".join(f"<M K={quoteattr(key)}>{escape(value)}</M>" for key, value in told.items())
    return (
        f'<MapAnnotation ID="Annotation:{number}" Namespace="mil-heatmaps/scores"><Value>{entries}</Value>'
        "</MapAnnotation>"
    )
