"""What the addresses of the application mean: slides, tiles, scores and patches of a catalog.

Every method takes numbers; LookupError says there is no such thing, a `HeatmapError` what is wrong with a
file.
"""

import json
from collections.abc import Iterator
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.notices import joined
from mil_heatmaps.slides.resolution import decide_resolution
from mil_heatmaps.viewer.catalog import Catalog, Defaults, NamedFile, SlideEntry
from mil_heatmaps.viewer.jpeg_tiles import encode_jpeg
from mil_heatmaps.viewer.layers import ScoreFiles, ScoreLayer, layers_of
from mil_heatmaps.viewer.open_slides import OpenSlides
from mil_heatmaps.viewer.palettes import palettes
from mil_heatmaps.viewer.tile_slide import TileSlide
from mil_heatmaps.words import one_line

THUMBNAIL_PX = 192
PATCH_PX = 160


class Content:
    """Opens what the catalog names, when it is asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._slides = OpenSlides()
        self._scores = ScoreFiles()

    def close(self) -> None:
        """Close the slides."""
        self._slides.close()

    def index(self, nonce: str) -> dict[str, Any]:
        """Return the list of slides and what the page needs to begin."""
        defaults = self.catalog.defaults
        return {
            "title": self.catalog.title,
            "data": f"/data/{nonce}",
            "columns": list(self.catalog.columns),
            "notes": list(self.catalog.notes),
            "defaults": defaults.as_view(),
            "palettes": palettes([defaults.cmap] if defaults.cmap else []),
            "slides": [entry.summary() for entry in self.catalog.slides],
        }

    def describe(self, slide: int) -> dict[str, Any]:
        """Return one slide: its size, levels and layers. What cannot be read is said in `problems`."""
        entry = self.entry(slide)
        problems = [entry.problem] if entry.problem else []
        out: dict[str, Any] = {
            "index": slide,
            "name": entry.slide_id,
            "layers": [],
            "problems": problems,
            "slide": None,
        }
        if entry.slide_path is not None:
            try:
                with self._slides.use(entry.slide_path) as opened:
                    out["slide"] = _describe_slide(opened, entry)
            except HeatmapError as error:
                problems.append(one_line(error))
        elif not problems:
            problems.append(f"the slide {entry.slide_id} was not found")
        for found in self._score_layers(entry):
            if isinstance(found, Exception):
                problems.append(one_line(found))
            else:
                out["layers"] += [layer.describe() for layer in found]
        for number, named in enumerate(entry.pictures):
            try:
                with self._slides.use(named.path, lossless=True) as picture:
                    out["layers"].append(
                        {
                            "type": "picture",
                            "title": named.title,
                            "picture": number,
                            **_describe_levels(picture),
                        }
                    )
            except HeatmapError as error:
                problems.append(one_line(error))
        _say_what_is_usual(out["layers"], self.catalog.defaults)
        out["tissue"] = entry.tissue is not None
        problems += _mismatches(out)
        return out

    def slide_tile(self, slide: int, level: int, column: int, row: int) -> tuple[bytes, str]:
        """Return a tile of the slide and its media type."""
        with self._slides.use(_needed(self.entry(slide))) as opened:
            return _tile(opened, level, column, row)

    def picture_tile(self, slide: int, picture: int, level: int, column: int, row: int) -> tuple[bytes, str]:
        """Return a tile of a picture and its media type."""
        named: NamedFile = _at(self.entry(slide).pictures, picture)
        with self._slides.use(named.path, lossless=True) as opened:
            return _tile(opened, level, column, row)

    def thumbnail(self, slide: int) -> bytes:
        """Return the slide as a small JPEG."""
        with self._slides.use(_needed(self.entry(slide))) as opened:
            return encode_jpeg(opened.thumbnail(THUMBNAIL_PX))

    def layer(self, slide: int, number: int) -> ScoreLayer:
        """Return a score layer by its place among those of the slide's score files."""
        layers: list[ScoreLayer] = []
        for found in self._score_layers(self.entry(slide)):
            layers += [] if isinstance(found, Exception) else found
            if number < len(layers):
                break
        layer: ScoreLayer = _at(layers, number)
        return layer

    def _score_layers(self, entry: SlideEntry) -> Iterator[list[ScoreLayer] | Exception]:
        """Yield the layers of each score file, or why it cannot be read; such a file has none."""
        for file, named in enumerate(entry.scores):
            try:
                yield layers_of(self._scores.read(named.path, entry.slide_id), named, file)
            except (HeatmapError, OSError) as error:
                yield error

    def patch(self, slide: int, number: int, patch: int) -> bytes:
        """Return one patch as a small JPEG."""
        layer = self.layer(slide, number)
        grid = layer.source.grid
        x, y = _at(grid.coords_l0, patch).tolist()
        with self._slides.use(_needed(self.entry(slide))) as opened:
            return encode_jpeg(opened.region((x, y), grid.size_l0, PATCH_PX))

    def tissue(self, slide: int) -> bytes:
        """Return the outlines as JSON: pieces, each with its holes, as flat x, y lists."""
        from mil_heatmaps.slides.tissue_files import read_mask

        entry = self.entry(slide)
        if entry.tissue is None:
            raise LookupError("no outlines")
        mask = read_mask(entry.tissue)
        pieces = [
            {"outline": contour.reshape(-1).tolist(), "holes": [hole.reshape(-1).tolist() for hole in holes]}
            for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True)
        ]
        return json.dumps(pieces, separators=(",", ":")).encode()

    def entry(self, slide: int) -> SlideEntry:
        """Return a slide of the catalog."""
        entry: SlideEntry = _at(self.catalog.slides, slide)
        return entry


def _at(items: Any, index: int) -> Any:
    """Return `items[index]`; unlike Python's own rule, a negative index is nowhere."""
    if not 0 <= index < len(items):
        raise LookupError(index)
    return items[index]


def _needed(entry: SlideEntry) -> Any:
    if entry.slide_path is None:
        raise LookupError(entry.slide_id)
    return entry.slide_path


def _tile(opened: TileSlide, level: int, column: int, row: int) -> tuple[bytes, str]:
    data = opened.tile(level, column, row)
    if data is None:
        raise LookupError((level, column, row))
    return data, opened.media_type


def _describe_levels(opened: TileSlide) -> dict[str, Any]:
    return {
        "size": list(opened.slide.dimensions_l0),
        "levels": [
            {
                "size": list(level.size_px),
                "tile": list(level.tile_px),
                "tiles": list(level.tiles),
                "downsample": list(level.downsample),
            }
            for level in opened.levels
        ],
    }


def _describe_slide(opened: TileSlide, entry: SlideEntry) -> dict[str, Any]:
    slide = opened.slide
    resolution = decide_resolution(
        slide.properties, slide.dimensions_l0, listed=entry.mpp, otherwise=entry.default_mpp
    )
    return {
        **_describe_levels(opened),
        "mpp": resolution.mpp,
        "mppNote": joined(resolution.notes) or None,
        "objective": slide.objective_power,
        "vendor": slide.vendor,
        "fileLevels": slide.level_count,
        "colourProfile": opened.colour_profile,
    }


def _say_what_is_usual(layers: list[dict[str, Any]], defaults: Defaults) -> None:
    """Tell each layer how the run draws it, and a fine map which layer holds the same score of the bag."""
    bags = {(layer["source"], layer["score"]): number for number, layer in enumerate(layers) if layer.get("bag")}
    for layer in layers:
        if layer["type"] == "scores" and defaults.by_rank:
            layer["usual"] = "percentile"
        number = None if layer.get("bag", True) else bags.get((layer["source"], layer["score"]))
        if number is not None and layers[number]["names"] == layer["names"]:
            layer["reference"] = number
            if layer["usual"] == "percentile" and defaults.among_bag:
                layer["usual"] = "percentile_ref"
        if layer["type"] == "scores" and defaults.has_ends:
            layer["usual"] = defaults.normalize or layer["usual"]
            layer["ends"] = list(defaults.ends)


def _mismatches(out: dict[str, Any]) -> list[str]:
    """Say which scores were computed on a slide of another size."""
    if out["slide"] is None:
        return []
    size = out["slide"]["size"]
    return [
        f"{layer['title']}: its scores belong to a slide of "
        f"{layer['slideSize'][0]} x {layer['slideSize'][1]} pixels, this one has {size[0]} x {size[1]}"
        for layer in out["layers"]
        if layer.get("slideSize") and layer["slideSize"] != size
    ]
