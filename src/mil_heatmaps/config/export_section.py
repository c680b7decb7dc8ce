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


class OmeTiffExport(PictureExport):
    """A pyramidal OME-TIFF that QuPath, OpenSlide and tifffile open."""

    level: Int | None = Field(
        default=None,
        ge=0,
        description="Pyramid level of the finest picture. null: that of the heatmap.",
    )
    compression: Literal["jpeg", "deflate"] = Field(default="jpeg", description="How tiles are packed.")
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
    """Objects for QuPath, in level-0 pixels."""

    detections: bool = Field(default=True, description="Every patch, with its scores as measurements.")
    regions: bool = Field(default=True, description="High-attention patches merged into outlines, with their area.")
    tissue: bool = Field(default=True, description="The tissue outlines.")
    threshold: Float = Field(default=0.9, ge=0, le=1, description="Where hot begins on the colour scale.")
    gzip: bool = Field(default=False, description="Pack the file.")


class CsvExport(Section):
    """One row per patch: position, scores, percentile."""

    gzip: bool = Field(default=False, description="Pack the file.")


class NpzExport(Section):
    """Positions and scores as NumPy arrays."""


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
