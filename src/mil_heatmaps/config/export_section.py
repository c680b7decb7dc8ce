"""The config section of the exports: a switch for each format, or a mapping of its options."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mil_heatmaps.config.section_types import Float, Int, Section, shown

Content = Literal["overlay", "colours"]


def _switch(value: Any) -> Any:
    """Read true as all defaults, and false as off."""
    if value is True:
        return {}
    if value is False:
        return None
    if value is None or isinstance(value, (dict, Section)):
        return value
    raise ValueError(f"must be true, false, or a mapping of options; got {shown(value)}")


class PngExport(Section):
    """A PNG of the heatmap."""

    content: Content = Field(
        default="overlay",
        description="Colours over the slide, or the colours alone on white.",
    )


class JpegExport(Section):
    """A JPEG of the heatmap; no side may exceed 65 500 pixels."""

    content: Content = Field(
        default="overlay",
        description="Colours over the slide, or the colours alone on white.",
    )
    quality: Int = Field(default=90, ge=1, le=100, description="JPEG quality.")


class WebpExport(Section):
    """A WebP of the heatmap; no side may exceed 16 383 pixels."""

    content: Content = Field(
        default="overlay",
        description="Colours over the slide, or the colours alone on white.",
    )
    quality: Int = Field(default=80, ge=1, le=100, description="WebP quality.")
    lossless: bool = Field(default=False, description="Keep every pixel.")


class OmeTiffExport(Section):
    """A pyramidal OME-TIFF that QuPath, OpenSlide and tifffile open."""

    content: Content = Field(
        default="overlay",
        description="Colours over the slide, or the colours alone on white.",
    )
    level: Int | None = Field(
        default=None,
        ge=0,
        description="Pyramid level of the finest picture. null: that of the heatmap.",
    )
    compression: Literal["jpeg", "deflate"] = Field(default="jpeg", description="How tiles are packed.")
    quality: Int = Field(default=85, ge=1, le=100, description="JPEG quality.")
    tile_size: Int = Field(default=512, ge=16, multiple_of=16, description="Side of a tile.")


class DeepZoomExport(Section):
    """DeepZoom tiles for a browser."""

    content: Content = Field(
        default="overlay",
        description="Colours over the slide, or the colours alone on white.",
    )
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
    regions: bool = Field(default=True, description="Hot patches merged into outlines, with their area.")
    tissue: bool = Field(default=True, description="The tissue outlines.")
    threshold: Float = Field(default=0.9, ge=0, le=1, description="Where hot begins on the colour scale.")
    gzip: bool = Field(default=False, description="Pack the file.")


class CsvExport(Section):
    """One row a patch: position, scores, percentile."""

    gzip: bool = Field(default=False, description="Pack the file.")


class NpzExport(Section):
    """Positions and scores as NumPy arrays."""


class ExportArguments(Section):
    """New: further files a slide. Each format takes true, false, or a mapping of its options."""

    png: Annotated[
        PngExport | None, BeforeValidator(_switch, json_schema_input_type=bool | PngExport | None)
    ] = Field(
        default=None,
        description="A PNG of the heatmap.",
    )
    jpeg: Annotated[
        JpegExport | None, BeforeValidator(_switch, json_schema_input_type=bool | JpegExport | None)
    ] = Field(
        default=None,
        description="A JPEG of the heatmap.",
    )
    webp: Annotated[
        WebpExport | None, BeforeValidator(_switch, json_schema_input_type=bool | WebpExport | None)
    ] = Field(
        default=None,
        description="A WebP of the heatmap.",
    )
    ome_tiff: Annotated[
        OmeTiffExport | None, BeforeValidator(_switch, json_schema_input_type=bool | OmeTiffExport | None)
    ] = Field(default=None, description="A pyramid for QuPath and other slide viewers.")
    deepzoom: Annotated[
        DeepZoomExport | None, BeforeValidator(_switch, json_schema_input_type=bool | DeepZoomExport | None)
    ] = Field(default=None, description="Tiles for a browser.")
    geojson: Annotated[
        GeojsonExport | None, BeforeValidator(_switch, json_schema_input_type=bool | GeojsonExport | None)
    ] = Field(default=None, description="Patches, hot regions and tissue for QuPath.")
    csv: Annotated[
        CsvExport | None, BeforeValidator(_switch, json_schema_input_type=bool | CsvExport | None)
    ] = Field(
        default=None,
        description="Scores as a table.",
    )
    npz: Annotated[
        NpzExport | None, BeforeValidator(_switch, json_schema_input_type=bool | NpzExport | None)
    ] = Field(
        default=None,
        description="Scores as NumPy arrays.",
    )
