"""A slide, its levels and its notices, as JSON values for the page."""

from typing import Any

from mil_heatmaps.notices import joined
from mil_heatmaps.records.layout import RECORD
from mil_heatmaps.records.slide_record import SlideRecord, read_record
from mil_heatmaps.slides.resolution import decide_resolution
from mil_heatmaps.viewer.catalog import Defaults, SlideEntry
from mil_heatmaps.viewer.tile_slide import TileSlide


def describe_levels(opened: TileSlide) -> dict[str, Any]:
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


def slide_notices(entry: SlideEntry) -> list[str]:
    """Return the notices of a slide: from the records beside its scores, else from the process list."""
    paths = dict.fromkeys(named.path.with_name(RECORD) for named in entry.scores)
    records = [(path, data) for path in paths if (data := read_record(path)) is not None]
    if records:
        return [text for path, data in records for text in SlideRecord.of(data, path, entry.slide_id).notices()]
    return [listed] if (listed := entry.cells.get("notes", "")) else []


def describe_slide(opened: TileSlide, entry: SlideEntry) -> dict[str, Any]:
    slide = opened.slide
    resolution = decide_resolution(
        slide.properties, slide.dimensions_l0, listed=entry.mpp, otherwise=entry.default_mpp
    )
    return {
        **describe_levels(opened),
        "mpp": resolution.mpp,
        "mppNote": joined(resolution.notes) or None,
        "objective": slide.objective_power,
        "vendor": slide.vendor,
        "fileLevels": slide.level_count,
        "colourProfile": opened.colour_profile,
    }


def say_what_is_usual(layers: list[dict[str, Any]], defaults: Defaults) -> None:
    """Tell each layer how the run draws it, and each fine map which layer holds the same score of the bag."""
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
