"""The config section of the exports: a switch for each format, or a mapping of its options."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import core_schema

from mil_heatmaps.config.section_types import Float, Int, Section, shown


def _options(value: Any) -> Any:
    """Return the options of a format: none of its own for true, no format for false."""
    if value is True or value is False:
        return {} if value else None
    if value is None or isinstance(value, (dict, Section)):
        return value
    raise ValueError(f"must be true, false, or a mapping of options; got {shown(value)}")


class _Switchable:
    """Makes an optional mapping of options take true and false as well; the JSON Schema says so."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        options = handler(source)
        given = core_schema.union_schema([core_schema.bool_schema(), options])
        return core_schema.no_info_before_validator_function(_options, options, json_schema_input_schema=given)


T = TypeVar("T", bound=Section)
Format = Annotated[T | None, _Switchable()]


def _british(value: Any) -> Any:
    """Take ``colors``, as other keys of the field are spelt, for ``colours``."""
    return "colours" if value == "colors" else value


class PictureExport(Section):
    """A picture of the heatmap."""

    content: Annotated[Literal["overlay", "colours"], BeforeValidator(_british)] = Field(
        default="overlay",
        description="Colours over the slide, or the colours alone on white.",
    )


class PngExport(PictureExport):
    """A PNG of the heatmap."""


class JpegExport(PictureExport):
    """A JPEG of the heatmap; no side may exceed 65 500 pixels."""

    quality: Int = Field(default=90, ge=1, le=100, description="JPEG quality.")


class WebpExport(PictureExport):
    """A WebP of the heatmap; no side may exceed 16 383 pixels."""

    quality: Int = Field(default=80, ge=1, le=100, description="WebP quality.")
    lossless: bool = Field(default=False, description="Keep every pixel.")


class OmeTiffExport(Section):
    """A pyramidal OME-TIFF that QuPath, OpenSlide and tifffile open."""

    content: Annotated[Literal["overlay", "colours", "scores"], BeforeValidator(_british)] = Field(
        default="overlay",
        description="Colours over the slide, the colours alone on white, or the scores themselves: float32, a channel "
        "a column, NaN where there is no patch, so that the reader chooses the colours.",
    )
    level: Int | None = Field(
        default=None,
        ge=0,
        description="Pyramid level of the finest picture. null: that of the heatmap.",
    )
    compression: Literal["jpeg", "deflate"] = Field(
        default="jpeg", description="How tiles are packed; scores are always deflated."
    )
    quality: Int = Field(default=85, ge=1, le=100, description="JPEG quality.")
    tile_size: Int = Field(default=512, ge=16, multiple_of=16, description="Side of a tile.")


class DeepZoomExport(PictureExport):
    """DeepZoom tiles for a browser."""

    container: Literal["szi", "dzi"] = Field(default="szi", description="One zip file, or a folder of tiles.")
    level: Int | None = Field(
        default=None,
        ge=0,
        description="Pyramid level of the finest picture. null: that of the heatmap.",
    )
    format: Literal["jpeg", "png"] = Field(default="jpeg", description="Format of the tiles.")
    quality: Int = Field(default=85, ge=1, le=100, description="JPEG quality.")
    tile_size: Int = Field(default=254, ge=32, multiple_of=2, description="Side of a tile without its overlap; even.")


class GeojsonExport(Section):
    """Objects for QuPath, in level-0 pixels as QuPath counts them: from the corner of the scanned area."""

    objects: Literal["tile", "detection"] = Field(
        default="tile",
        description="What patches are in QuPath: tiles, which getTileObjects() finds, or detections.",
    )
    most_objects: Int = Field(
        default=250_000,
        ge=1,
        description="Objects a file may hold. Above it patches are left out: the file has regions, and a table of "
        "the patches lies beside it.",
    )
    detections: bool = Field(default=True, description="Every patch, with its scores as measurements.")
    regions: bool = Field(default=True, description="High-attention patches merged into outlines, with their area.")
    tissue: bool = Field(default=True, description="The tissue outlines.")
    threshold: Float = Field(default=0.9, ge=0, le=1, description="Place on the colour scale where a region begins.")
    gzip: bool = Field(default=False, description="Pack the file.")


class CsvExport(Section):
    """One row per patch: position, scores, percentile."""

    gzip: bool = Field(default=False, description="Pack the file.")


class NpzExport(Section):
    """Positions and scores as NumPy arrays."""


class AnndataExport(Section):
    """An AnnData file that scanpy and squidpy open; needs the extra interop."""

    features: bool = Field(default=False, description="Put the features of the patches into X.")
    thumbnail_px: Int = Field(default=1024, ge=16, le=8192, description="Longer side of the slide's thumbnail in uns.")
    cohort: bool = Field(
        default=True,
        description="Also write all slides of the run into one file, cohort.h5ad, with obs['slide_id'].",
    )


class OmeZarrExport(Section):
    """A pyramid of chunks (NGFF) for napari, ome-zarr and zarr; needs the extra interop."""

    content: Annotated[Literal["scores", "overlay", "colours"], BeforeValidator(_british)] = Field(
        default="scores",
        description="The scores themselves: float32, one channel per column, NaN where there is no patch; or colours "
        "over the slide, or alone on white.",
    )
    version: Literal["0.4", "0.5"] = Field(default="0.4", description="Of NGFF: 0.4 lies in Zarr 2, 0.5 in Zarr 3.")
    level: Int | None = Field(
        default=None,
        ge=0,
        description="Pyramid level of the finest picture. null: that of the heatmap.",
    )
    chunk_size: Int = Field(default=512, ge=16, multiple_of=16, description="Side of a chunk.")


class DicomExport(Section):
    """A DICOM parametric map of every drawn column; needs the extra interop and the slide's resolution."""

    level: Int | None = Field(
        default=None,
        ge=0,
        description="Pyramid level of the map's pixels. null: that of the heatmap.",
    )


class AnnotationStoreExport(Section):
    """An annotation store of TIAToolbox (SQLite) of every drawn column, in level-0 pixels."""

    tissue: bool = Field(default=True, description="The tissue outlines.")
    threshold: Float = Field(default=0.9, ge=0, le=1, description="Where hot begins on the colour scale.")


class WsidataExport(Section):
    """A store that wsidata and LazySlide open: a table of tiles with their scores; needs pyarrow."""


class ExportArguments(Section):
    """New: further files a slide. Each format takes true, false, or a mapping of its options."""

    png: Format[PngExport] = Field(default=None, description="A PNG of the heatmap.")
    jpeg: Format[JpegExport] = Field(default=None, description="A JPEG of the heatmap.")
    webp: Format[WebpExport] = Field(default=None, description="A WebP of the heatmap.")
    ome_tiff: Format[OmeTiffExport] = Field(default=None, description="A pyramid for QuPath and other slide viewers.")
    deepzoom: Format[DeepZoomExport] = Field(default=None, description="Tiles for a browser.")
    geojson: Format[GeojsonExport] = Field(
        default=None, description="Patches, high-attention regions and tissue for QuPath."
    )
    csv: Format[CsvExport] = Field(default=None, description="Scores as a table.")
    npz: Format[NpzExport] = Field(default=None, description="Scores as NumPy arrays.")
    anndata: Format[AnndataExport] = Field(default=None, description="Scores for scanpy and squidpy (.h5ad).")
    ome_zarr: Format[OmeZarrExport] = Field(default=None, description="A pyramid in chunks for napari and others.")
    dicom: Format[DicomExport] = Field(default=None, description="A parametric map in the slide's frame of reference.")
    annotation_store: Format[AnnotationStoreExport] = Field(
        default=None, description="Patches, high-attention regions and tissue for TIAToolbox (.db)."
    )
    wsidata: Format[WsidataExport] = Field(default=None, description="Tiles with scores for wsidata and LazySlide.")
