"""Marks as GeoJSON features, as QuPath reads and writes them: checked before they are kept or sent."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.json_files import read_json

MOST_FEATURES = 20_000
MOST_POINTS = 2_000_000
MOST_BYTES = 32 << 20
_DEPTHS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
"""How deep the points of a geometry lie."""

Feature = dict[str, Any]


class MarkError(HeatmapError, ValueError):
    """Marks that are none, or cannot be read."""


def features_of(value: Any) -> list[Feature]:
    """Return the features of a GeoJSON document: a collection, one feature, or a list of them.

    Raises
    ------
    MarkError
        Says which feature is wrong, and in what.
    """
    if isinstance(value, dict) and value.get("type") == "FeatureCollection":
        value = value.get("features")
    elif isinstance(value, dict) and value.get("type") == "Feature":
        value = [value]
    if not isinstance(value, list):
        raise MarkError("marks must be a GeoJSON FeatureCollection, a Feature, or a list of them")
    if len(value) > MOST_FEATURES:
        raise MarkError(f"{len(value)} marks are more than the {MOST_FEATURES} that are kept for a slide")
    points = sum(_check(feature, number) for number, feature in enumerate(value, 1))
    if points > MOST_POINTS:
        raise MarkError(f"the marks have {points} points, more than {MOST_POINTS}")
    return value


def _check(feature: Any, number: int) -> int:
    """Return how many points a feature has."""
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise MarkError(f"mark {number} is not a GeoJSON Feature")
    geometry = feature.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(kind, str) or kind not in _DEPTHS:
        raise MarkError(f"mark {number}: a geometry {kind!r} is not known, only {', '.join(_DEPTHS)}")
    if not isinstance(feature.get("properties") or {}, dict):
        raise MarkError(f"mark {number}: its properties are no object")
    assert isinstance(geometry, dict)
    points: list[Any] = [geometry.get("coordinates")]
    for _ in range(_DEPTHS[kind]):
        if not all(isinstance(part, list) for part in points):
            raise MarkError(f"mark {number}: the coordinates do not fit a {kind}")
        points = [inner for part in points for inner in part]
    if not points or not all(map(_is_point, points)):
        raise MarkError(f"mark {number}: a {kind} needs points of two finite numbers")
    return len(points)


def _is_point(point: Any) -> bool:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9

    return isinstance(point, list) and 2 <= len(point) <= 3 and all(map(is_number, point))


def read_features(path: Path) -> list[Feature]:
    """Return the marks in a file, none when it is not there; MarkError when it cannot be read."""
    return features_of(read_json(path, MarkError, most_bytes=MOST_BYTES, finite=True)) if path.exists() else []


def as_text(features: Iterable[Feature]) -> str:
    """Return a FeatureCollection, one feature a line."""
    lines = ",\n".join(
        json.dumps(feature, ensure_ascii=False, separators=(",", ":"), allow_nan=False) for feature in features
    )
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'


