"""What the addresses of the application mean: slides, tiles, scores and patches of a catalog.

Every method takes numbers; LookupError says there is no such thing, a `HeatmapError` what is wrong with a
file.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.notices import Notice, joined
from mil_heatmaps.records.layout import RECORD
from mil_heatmaps.records.slide_record import SlideRecord, read_record
from mil_heatmaps.slides.resolution import decide_resolution
from mil_heatmaps.viewer.catalog import Catalog, Defaults, NamedFile, SlideEntry
from mil_heatmaps.viewer.evidence import evidence_outlines
from mil_heatmaps.viewer.jpeg_tiles import encode_jpeg
from mil_heatmaps.viewer.layers import ScoreFiles, ScoreLayer, layers_of
from mil_heatmaps.viewer.open_slides import OpenSlides
from mil_heatmaps.viewer.palettes import palettes
from mil_heatmaps.viewer.tile_slide import TileSlide
from mil_heatmaps.words import one_line

if TYPE_CHECKING:
    from mil_heatmaps.slides.slide_space import SlideSpace
    from mil_heatmaps.slides.tissue import TissueMask

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
            "notices": _notices(entry),
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
                out["layers"] += [layer.describe() | self._evidence(layer, entry) for layer in found]
                problems += [f"{layer.named.title}: {note}" for layer in found[:1] for note in _placed(layer)]
                out["notices"] += [notice for layer in found for notice in layer.source.notices]
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
        out["notices"] = list(dict.fromkeys(out["notices"]))
        _say_what_is_usual(out["layers"], self.catalog.defaults)
        out["tissue"] = entry.tissue is not None
        if entry.own_files and entry.tissue is not None:
            with suppress(HeatmapError):  # the page asks for the outlines, and is told then
                problems += self._outlines(entry)[1]
        problems += _mismatches(out)
        return out

    def _evidence(self, layer: ScoreLayer, entry: SlideEntry) -> dict[str, Any]:
        """Return the outline of a map's evidence set, where the run asked for it."""
        rings = evidence_outlines(layer, entry.slide_id) if self.catalog.defaults.evidence else []
        return {"evidence": rings} if rings else {}

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
                yield layers_of(self._scores.read(named.path, entry.slide_id, self._space(entry)), named, file)
            except (HeatmapError, OSError) as error:
                yield error

    def _space(self, entry: SlideEntry) -> "SlideSpace | None":
        """Return what coordinates in the user's own files mean; None for those of a run, which are as they are."""
        if not entry.own_files or entry.slide_path is None:
            return None
        try:
            with self._slides.use(entry.slide_path) as opened:
                return replace(opened.slide.space(), size_l0=None)  # files of another slide are shown as well
        except HeatmapError:
            return None

    def patch(self, slide: int, number: int, patch: int) -> bytes:
        """Return one patch as a small JPEG."""
        layer = self.layer(slide, number)
        grid = layer.source.grid
        x, y = _at(grid.coords_l0, patch).tolist()
        with self._slides.use(_needed(self.entry(slide))) as opened:
            return encode_jpeg(opened.region((x, y), grid.size_l0, PATCH_PX))

    def tissue(self, slide: int) -> bytes:
        """Return the outlines as JSON: pieces, each with its holes, as flat x, y lists."""
        mask, _ = self._outlines(self.entry(slide))
        pieces = [
            {"outline": contour.reshape(-1).tolist(), "holes": [hole.reshape(-1).tolist() for hole in holes]}
            for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True)
        ]
        return json.dumps(pieces, separators=(",", ":")).encode()

    def _outlines(self, entry: SlideEntry) -> "tuple[TissueMask, list[Notice]]":
        """Return the outlines in the slide's frame, and a notice if they were moved; LookupError without any."""
        from mil_heatmaps.slides.frames import place_mask
        from mil_heatmaps.slides.tissue_files import read_mask

        if entry.tissue is None:
            raise LookupError("no outlines")
        mask, space = read_mask(entry.tissue), self._space(entry)
        return (mask, []) if space is None else place_mask(mask, space)

    def entry(self, slide: int) -> SlideEntry:
        """Return a slide of the catalog."""
        entry: SlideEntry = _at(self.catalog.slides, slide)
        return entry


def _placed(layer: ScoreLayer) -> list[Notice]:
    """Return what was decided of where the scores belong, which for scores of a run it was when they were made."""
    return [note for note in layer.source.notes if note.code in ("frame", "units", "pairing")]


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


def _notices(entry: SlideEntry) -> list[str]:
    """Return what is to know of a slide: from the records beside its scores, else as the process list says it."""
    paths = dict.fromkeys(named.path.with_name(RECORD) for named in entry.scores)
    records = [(path, data) for path in paths if (data := read_record(path)) is not None]
    if records:
        return [text for path, data in records for text in SlideRecord.of(data, path, entry.slide_id).notices()]
    return [listed] if (listed := entry.cells.get("notes", "")) else []


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
