"""Read and write tissue masks: CLAM's mask.pkl and GeoJSON as TRIDENT and QuPath write it.

All coordinates are level-0 pixels.
"""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mil_heatmaps.errors import TissueError
from mil_heatmaps.files.atomic import binary_writer
from mil_heatmaps.files.json_files import read_json
from mil_heatmaps.files.safe_pickle import UnsafePickleError, dump_pickle, load_pickle
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.slides.tissue import Contour, TissueMask
from mil_heatmaps.words import counted, said_by

logger = logging.getLogger(__name__)

_FURTHEST_L0 = 2**31 - 1


def read_mask(path: str | os.PathLike[str]) -> TissueMask:
    """Return the tissue in a ``.geojson``, ``.json`` (either also ``.gz``) or ``.pkl`` file.

    Of GeoJSON, polygons and multi-polygons are read, wherever they are nested; inner rings are holes; points
    and lines are passed over, and so is whatever is classified as ``Ignore…``, QuPath's class for what does
    not count. A file without any polygon is an empty mask.

    Raises
    ------
    TissueError
        The file is missing, damaged, of another kind, or holds a polygon that is none; the message says
        where.
    """
    place = Path(path)
    if not place.is_file():
        raise TissueError(f"tissue file not found: {place}")
    refuse_stand_in(place, TissueError)
    suffixes = [suffix.lower() for suffix in place.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = suffixes[-2 if packed else -1 :][:1]
    if kind in ([".geojson"], [".json"]):
        return _read_geojson(place)
    if kind in ([".pkl"], [".pickle"]) and not packed:
        return _read_pickle(place)
    raise TissueError(
        f"{place} is not a tissue file: expected .geojson, .geojson.gz, .json or .pkl (CLAM's mask)"
    )


def write_mask_pkl(mask: TissueMask, path: str | os.PathLike[str]) -> None:
    """Write the mask in CLAM's form, ``{'holes': list of lists, 'tissue': list}`` of int32 (n, 1, 2)."""
    dump_pickle({"holes": [list(holes) for holes in mask.holes_l0], "tissue": list(mask.contours_l0)}, path)


def write_geojson(mask: TissueMask, path: str | os.PathLike[str]) -> None:
    """Write the mask as GeoJSON that QuPath imports as annotations, packed when `path` ends in .gz."""
    features = []
    for number, (contour, holes) in enumerate(zip(mask.contours_l0, mask.holes_l0, strict=True)):
        rings = [closed_ring(part) for part in (contour, *holes)]
        properties = {
            "objectType": "annotation",
            "tissue_id": number,
            "classification": {"name": "Tissue", "color": [0, 160, 0]},
        }
        geometry = {"type": "Polygon", "coordinates": rings}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    text = json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":")) + "\n"
    with binary_writer(path) as file:
        file.write(text.encode())


def closed_ring(contour: Contour) -> list[list[int]]:
    """Return a contour as GeoJSON asks: at least four positions, the first again at the end."""
    points: list[list[int]] = contour.reshape(-1, 2).tolist()
    return points + [points[0]] * max(1, 4 - len(points))


# CLAM's pickle --------------------------------------------------------------------------------------------


def _read_pickle(path: Path) -> TissueMask:
    try:
        content = load_pickle(path)
    except UnsafePickleError as error:
        raise TissueError(str(error)) from error
    if not isinstance(content, dict) or not {"tissue", "holes"} <= set(content):
        raise TissueError(f"{path} is not CLAM's mask: expected a dict with 'tissue' and 'holes'")
    tissue, holes = content["tissue"], content["holes"]
    lists = (list, tuple)
    if not (
        isinstance(tissue, lists) and isinstance(holes, lists) and all(isinstance(h, lists) for h in holes)
    ):
        raise TissueError(f"{path} is not CLAM's mask: 'tissue' must be a list, 'holes' a list of lists")
    if len(tissue) != len(holes):
        raise TissueError(f"{path} holds {counted(len(tissue), 'piece')} of tissue but holes for {len(holes)}")
    return TissueMask(
        tuple(_contour(points, f"{path}: piece {i}") for i, points in enumerate(tissue)),
        tuple(
            tuple(_contour(points, f"{path}: hole {j} of piece {i}") for j, points in enumerate(of_piece))
            for i, of_piece in enumerate(holes)
        ),
    )


def _contour(points: Any, where: str, *, least: int = 1) -> Contour:
    """Return points (n, 2) or (n, 1, 2) of any number type as an int32 contour, rounded to whole pixels."""
    try:
        if not isinstance(points, np.ndarray) and not all(map(_is_position, points)):
            raise ValueError("each must be two numbers")
        array = np.asarray(points, np.float64)
        if array.size and array.shape not in ((len(array), 2), (len(array), 1, 2)):
            raise ValueError(f"its shape is {array.shape}")
        array = array.reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise TissueError(f"{where} is not a list of x, y positions: {said_by(error)}") from None
    if len(array) < least:
        raise TissueError(f"{where} has {len(array)} positions, needs at least {least}")
    if not np.isfinite(array).all() or np.abs(array).max() > _FURTHEST_L0:
        raise TissueError(f"{where} has a position that is not a number, or beyond {_FURTHEST_L0}")
    return np.rint(array).astype(np.int32).reshape(-1, 1, 2)


def _is_position(point: Any) -> bool:
    """Whether a point is x, y, or a list of that alone: lists that hold one another unfold without end in NumPy."""
    if isinstance(point, np.ndarray):
        return point.size <= 2
    if isinstance(point, list | tuple) and len(point) == 1:
        point = point[0]
    pair = isinstance(point, list | tuple | np.ndarray) and len(point) == 2
    return pair and not any(isinstance(number, list | tuple | np.ndarray) for number in point)


# GeoJSON --------------------------------------------------------------------------------------------------


def _read_geojson(path: Path) -> TissueMask:
    return _mask_of(read_json(path, TissueError), str(path))


def outline_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return what the outlines of a GeoJSON file are called in QuPath, in the order of `read_mask`; "" without a name.

    An outline's own name goes before that of its class. Files of other kinds name nothing.
    """
    place = Path(path)
    if not {".geojson", ".json"} & {suffix.lower() for suffix in place.suffixes}:
        return ()
    return tuple(name for _, _, name in _polygons(read_json(place, TissueError), str(place)))


def _mask_of(content: Any, where_from: str) -> TissueMask:
    contours, holes = [], []
    for rings, where, _ in _polygons(content, where_from):
        outer, *inner = (_open_ring(ring, f"{where}, ring {i}") for i, ring in enumerate(rings))
        contours.append(outer)
        holes.append(tuple(inner))
    return TissueMask(tuple(contours), tuple(holes))


def _polygons(item: Any, where: str, name: str = "") -> Iterator[tuple[list[Any], str, str]]:
    """Yield (rings, where, name) of every polygon in a GeoJSON object, or in a list of them."""
    if isinstance(item, list):
        for number, part in enumerate(item):
            yield from _polygons(part, f"{where}: feature {number}")
        return
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "FeatureCollection":
        yield from _polygons(_field(item, "features", where), where)
    elif kind == "Feature":
        if item.get("geometry") is not None and not _is_ignored(item.get("properties")):
            yield from _polygons(item["geometry"], where, _name_of(item.get("properties")))
    elif kind == "GeometryCollection":
        for number, part in enumerate(_field(item, "geometries", where)):
            yield from _polygons(part, f"{where}, geometry {number}", name)
    elif kind == "MultiPolygon":
        for number, rings in enumerate(_field(item, "coordinates", where)):
            if not isinstance(rings, list):
                raise TissueError(f"{where}, polygon {number}: a list of rings is needed, got {_short(rings)}")
            if rings:
                yield rings, f"{where}, polygon {number}", name
    elif kind == "Polygon":
        if rings := _field(item, "coordinates", where):
            yield rings, where, name
    elif kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        logger.debug("%s: a %s encloses no tissue and is passed over", where, kind)
    else:
        raise TissueError(
            f"{where} is not GeoJSON: expected an object with a known 'type', got {_short(item)}"
        )


def _field(item: dict[str, Any], name: str, where: str) -> list[Any]:
    value = item.get(name)
    if not isinstance(value, list):
        raise TissueError(f"{where}: a {item['type']} needs a list {name!r}, got {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_ignored(properties: Any) -> bool:
    return _class_of(properties).lower().startswith("ignore")


def _class_of(properties: Any) -> str:
    classification = properties.get("classification") if isinstance(properties, dict) else None
    name = classification.get("name") if isinstance(classification, dict) else classification
    return name if isinstance(name, str) else ""


def _name_of(properties: Any) -> str:
    own = properties.get("name") if isinstance(properties, dict) else None
    return own if isinstance(own, str) and own.strip() else _class_of(properties)


def _open_ring(ring: Any, where: str) -> Contour:
    """Return a ring without its closing position and without heights."""
    flat = [position[:2] for position in ring] if _is_list_of_lists(ring) else ring
    contour = _contour(flat, where, least=3)
    return contour[:-1] if len(contour) > 1 and (contour[0] == contour[-1]).all() else contour


def _is_list_of_lists(ring: Any) -> bool:
    return isinstance(ring, list) and all(isinstance(position, list) for position in ring)
