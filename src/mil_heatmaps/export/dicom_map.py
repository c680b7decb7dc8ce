"""A column of scores as a DICOM parametric map, in the frame of reference of its slide.

If the slide is a DICOM series, the map refers to its finest level: same patient, study, specimen and frame of
reference. For any other slide, a frame of reference is generated, the same for all maps of that slide. Values are
float32 in tiles, NaN where no patch lies. Lengths in DICOM are in millimetres.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.export.score_pixels import ScorePainter, ScorePicture
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.version import __version__
from mil_heatmaps.words import install_line, lacking

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_PIXELS = 1 << 27
"""Most pixels of a map. It is assembled in memory, which takes at most half a gigabyte."""

_TILE_PX = 256
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_LONGEST_LO = 64
_LONGEST_SH = 16
_BLANK = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes that a file must contain but may leave empty."""


def write_dicom_map(
    path: str | os.PathLike[str],
    picture: ScorePicture,
    column: str,
    *,
    slide_path: Path | None = None,
    series: int = 1,
) -> None:
    """Write one column of the picture, at the picture's finest level.

    Parameters
    ----------
    slide_path : Path, optional
        Path of the slide; its header is read if it is DICOM.
    series : int
        SeriesNumber.

    Raises
    ------
    MissingDependencyError
        If highdicom or pydicom is not installed.
    ScoreError
        If the slide's resolution, which DICOM needs, is not known, or the map has more than `MOST_PIXELS` pixels.
    """
    try:
        import highdicom
        from pydicom.uid import generate_uid
    except ImportError as error:
        raise lacking("export_arguments.dicom", "highdicom", install_line("interop"), error) from error

    frame = picture.frame
    mpp = picture.mpp_of(frame)
    if mpp is None or picture.mpp is None:
        raise ScoreError(
            "a DICOM map needs the slide's resolution (mpp), which is not known: give it in the column mpp of the "
            "process list, or as data_arguments.slide_mpp"
        )
    width, height = frame.size_px
    if width * height > MOST_PIXELS:
        raise ScoreError(
            f"a DICOM map of {width} x {height} pixels exceeds {MOST_PIXELS:,}: choose a coarser "
            "export_arguments.dicom.level, or a coarser vis_level"
        )
    source = _source(picture, slide_path)
    pixels = np.empty((height, width), np.float32)
    painter = ScorePainter(picture.grid, picture.columns[column], frame)
    for y0 in range(0, height, _TILE_PX):
        (pixels[y0 : y0 + _TILE_PX],) = painter.rows(y0, min(y0 + _TILE_PX, height), width)
    low, high = picture.range_of(column) or (0.0, 0.0)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    made = generate_uid(entropy_srcs=[source.SOPInstanceUID, column, digest])
    kind = picture.kinds[column]
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label=_short(column, _LONGEST_SH),
        lut_explanation=_short(f"{column} ({kind})", _LONGEST_LO),
        unit=highdicom.sr.CodedConcept("1", "UCUM", "no units"),
        value_range=(float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)),
        slope=1.0,
        intercept=0.0,
    )
    window = highdicom.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))
    told = "; ".join((f"{column} ({kind})", "NaN outside patches", *picture.notes))
    document = highdicom.pm.ParametricMap(
        [source],
        pixels,
        series_instance_uid=generate_uid(entropy_srcs=[source.SOPInstanceUID, column, "series"]),
        series_number=series,
        sop_instance_uid=made,
        instance_number=1,
        manufacturer="mil-heatmaps",
        manufacturer_model_name="mil-heatmaps",
        software_versions=__version__,
        device_serial_number="0",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label=_code(column),
        content_description=_short(told, _LONGEST_LO),
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=(mpp[1] / 1000, mpp[0] / 1000), slice_thickness=_thickness(source)
        ),
        plane_orientation=highdicom.PlaneOrientationSequence("SLIDE", [float(v) for v in source.ImageOrientationSlide]),
        plane_positions=[_position(source, picture)],
        tile_pixel_array=True,
        tile_size=(_TILE_PX, _TILE_PX),
        dimension_organization_type="TILED_FULL",
    )
    document.SeriesDescription = _short(f"mil-heatmaps {column}", _LONGEST_LO)
    if picture.notes:
        document.ImageComments = "\n".join((f"{column} ({kind})", "NaN outside patches", *picture.notes))[:10240]
    with atomic_path(path) as partial:
        document.save_as(partial)


def _position(source: Dataset, picture: ScorePicture) -> Any:
    """Return the position of the map's first pixel on the slide, measured at its centre as in DICOM."""
    from highdicom import PlanePositionSequence

    assert picture.mpp is not None
    origin = source.TotalPixelMatrixOriginSequence[0]
    start = np.array([origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem], np.float64)
    orientation = np.array(source.ImageOrientationSlide, np.float64)
    along_x, along_y = orientation[:2], orientation[3:5]
    x, y = (
        (corner + (downsample - 1) / 2) * picture.mpp / 1000
        for corner, downsample in zip(picture.frame.corner_l0, picture.frame.downsample, strict=True)
    )
    place = start + x * along_x + y * along_y
    depth = float(getattr(origin, "ZOffsetInSlideCoordinateSystem", 0.0) or 0.0)
    return PlanePositionSequence("SLIDE", (float(place[0]), float(place[1]), depth), (1, 1))


def _thickness(source: Dataset) -> float:
    shared = source.get("SharedFunctionalGroupsSequence")
    measures = shared[0].get("PixelMeasuresSequence") if shared else None
    said = measures[0].get("SliceThickness") if measures else None
    return float(said) if said else 0.001


def _source(picture: ScorePicture, slide_path: Path | None) -> Dataset:
    """Return the header of the slide's finest level; for a slide that is not DICOM, a generated header."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    found = None if slide_path is None else _finest(slide_path)
    source = Dataset() if found is None else found

    def fill(name: str, value: Any) -> None:
        if name not in source:
            setattr(source, name, value)

    def uid(of: str) -> str:
        return str(generate_uid(entropy_srcs=["mil-heatmaps", picture.name, of]))

    width, height = picture.slide_size_l0 or picture.frame.size_px
    for name in _BLANK:
        fill(name, "")
    fill("SOPClassUID", _WHOLE_SLIDE)
    fill("SOPInstanceUID", uid("instance"))
    fill("StudyInstanceUID", uid("study"))
    fill("SeriesInstanceUID", uid("series"))
    fill("FrameOfReferenceUID", uid("frame of reference"))
    fill("PositionReferenceIndicator", "SLIDE_CORNER")
    fill("Modality", "SM")
    fill("ImageType", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    fill("SpecificCharacterSet", "ISO_IR 192")
    fill("Rows", _TILE_PX)
    fill("Columns", _TILE_PX)
    fill("TotalPixelMatrixRows", height)
    fill("TotalPixelMatrixColumns", width)
    fill("NumberOfFrames", -(-height // _TILE_PX) * -(-width // _TILE_PX))
    fill("DimensionOrganizationType", "TILED_FULL")
    fill("ImageOrientationSlide", [0.0, -1.0, 0.0, -1.0, 0.0, 0.0])
    fill("ContainerIdentifier", _short(picture.name, _LONGEST_LO))
    if "TotalPixelMatrixOriginSequence" not in source:
        origin = Dataset()
        origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 0.0
        source.TotalPixelMatrixOriginSequence = [origin]
    if "SharedFunctionalGroupsSequence" not in source and picture.mpp is not None:
        measures, groups = Dataset(), Dataset()
        measures.PixelSpacing = [picture.mpp / 1000] * 2
        measures.SliceThickness = 0.001
        groups.PixelMeasuresSequence = [measures]
        source.SharedFunctionalGroupsSequence = [groups]
    if "SpecimenDescriptionSequence" not in source:
        specimen = Dataset()
        specimen.SpecimenIdentifier = _short(picture.name, _LONGEST_LO)
        specimen.SpecimenUID = uid("specimen")
        specimen.SpecimenPreparationSequence = []
        specimen.IssuerOfTheSpecimenIdentifierSequence = []
        source.SpecimenDescriptionSequence = [specimen]
        fill("IssuerOfTheContainerIdentifierSequence", [])
        fill("ContainerTypeCodeSequence", [])
    return source


def _finest(slide_path: Path) -> Dataset | None:
    """Return the header of the largest level of a DICOM slide; None for other formats."""
    import pydicom

    from mil_heatmaps.slides.dicom_series import read_header, series_of

    whole = slide_path.is_dir()
    own, folder = (None, slide_path) if whole else (read_header(slide_path), slide_path.parent)
    if own is None and not whole:
        return None
    series = series_of(path for path in folder.iterdir() if path.is_file())
    finest = next((paths[0] for uid, paths in series.items() if own is None or uid == own.series_uid), None)
    header = None if finest is None else read_header(finest)
    return pydicom.dcmread(finest, stop_before_pixels=True) if header is not None and header.is_level else None


def _short(text: str, most: int) -> str:
    """Return a text without backslashes, which DICOM reserves, cut to the attribute's greatest length."""
    return text.replace("\\", "/")[:most]


def _code(text: str) -> str:
    """Return a label of at most 16 capitals, digits and underscores."""
    plain = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in text.upper())
    return plain[:_LONGEST_SH].strip("_") or "MAP"
