"""Annotations of one slide by class: GeoJSON of QuPath and TRIDENT, ASAP's XML, label masks.

The result has, for each class, polygons in level-0 pixels, or a mask with its scale. Rings that cross themselves
are corrected where the corrected shape keeps the drawn area, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError
from mil_heatmaps.files.json_files import read_json
from mil_heatmaps.files.stand_ins import refuse_no_file
from mil_heatmaps.files.stem_index import StemIndex
from mil_heatmaps.insight.label_masks import LabelMask, read_label_mask
from mil_heatmaps.insight.packages import needed
from mil_heatmaps.insight.tangles import MOST_OF_ALL, MOST_OF_ONE, refuse_tangle
from mil_heatmaps.slides.frames import place_shapes
from mil_heatmaps.slides.points_in_contour import signed_area
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import counted, first_of, said_by

VECTOR = (".geojson", ".geojson.gz", ".json", ".xml")
RASTER = (".tif", ".tiff", ".png")
UNNAMED = "unclassified"

_FURTHEST_L0 = 2**31

_SAFE_CHANGE = 0.01
"""Share of its area by which a corrected polygon may differ from the drawn one."""


class AnnotationIndex(StemIndex):
    """Annotation files by slide_id; ``S_mask.tif`` and ``S_annotations.geojson`` count as S."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        super().__init__(folders, (*VECTOR, *RASTER), recursive=True, noun="annotation file", error=TissueError)

    def stems_for(self, name: str) -> tuple[str, ...]:
        """Return the stems of annotations, the slide's own name first."""
        return name, f"{name}_annotations", f"{name}_annotation", f"{name}_mask"


@dataclass
class Annotations:
    """The annotations of one slide.

    Attributes
    ----------
    polygons : class -> a shapely geometry, level-0 pixels
    mask : LabelMask or None
        0 is unlabelled.
    mask_names : number -> class
    notes : list of str
        Corrections, shifts and omissions.
    """

    polygons: dict[str, Any] = field(default_factory=dict)
    mask: LabelMask | None = None
    mask_names: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """The annotated classes, in order."""
        return list(self.polygons) if self.mask is None else list(dict.fromkeys(self.mask_names.values()))


def read_annotations(
    path: Path,
    space: SlideSpace | None = None,
    *,
    classes: Sequence[str] | None = None,
    mask_labels: Mapping[str, str] | None = None,
    mask_downsample: float | None = None,
) -> Annotations:
    """Return the annotations of a slide.

    Parameters
    ----------
    space : SlideSpace, optional
        What is known of the slide: annotations that lie beyond it belong to another slide, and those that count from
        the corner of its scanned area are moved.
    classes : names, optional
        Classes to read; others are named in the notes and left out.
    mask_labels : number as text -> name, optional
    mask_downsample : float, optional
        Level-0 pixels per pixel of the mask; by default, slide width over mask width.

    Raises
    ------
    TissueError
        The file cannot be read, a shape cannot be corrected safely, the annotations are of another slide, or no class
        is left.
    """
    refuse_no_file(path, TissueError)
    name, space = path.name.lower(), space or SlideSpace()
    if name.endswith(RASTER):
        mask = read_label_mask(path, space, mask_downsample)
        numbers = [int(number) for number in np.unique(mask.values) if number]
        named = {str(key): value for key, value in (mask_labels or {}).items()}
        found = Annotations(
            mask=mask,
            mask_names={number: named.get(str(number), f"label {number}") for number in numbers},
            notes=[str(notice) for notice in mask.notices],
        )
    else:
        try:
            drawn = list(_asap(path) if name.endswith(".xml") else _geojson(path))
        except RecursionError as error:
            raise TissueError(f"{path} is nested too deeply: {said_by(error)}") from error
        found = _by_class(drawn, path)
        _place(found, space)
        _check_bounds(found, space.size_l0, path)
    return _chosen(found, classes, path)


def _chosen(found: Annotations, classes: Sequence[str] | None, path: Path) -> Annotations:
    """Leave out the classes that were not asked for."""
    if not found.classes:
        raise TissueError(f"{path} holds no annotated area")
    if classes is None:
        return found
    unknown = [name for name in found.classes if name not in classes]
    if len(unknown) == len(found.classes):
        raise TissueError(f"{path} has only the classes {', '.join(unknown)}; asked for are {', '.join(classes)}")
    if unknown:
        found.notes.append(f"left out: {first_of(unknown, 5)}, not among the classes asked for")
    found.polygons = {name: shape for name, shape in found.polygons.items() if name in classes}
    found.mask_names = {number: name for number, name in found.mask_names.items() if name in classes}
    return found


# -- shapes --------------------------------------------------------------------------------------------------


def _by_class(drawn: Sequence[tuple[str, list[Any], str]], path: Path) -> Annotations:
    """Return polygons by class, joined; each is corrected or refused."""
    shapely = needed("shapely", "reading annotations")
    shapes: dict[str, list[Any]] = {}
    every: list[npt.NDArray[np.float64]] = []
    mended, empty = 0, 0
    for name, rings, where in drawn:
        outer, *holes = _rings(rings, where)
        if len(outer) < 3:
            empty += 1
            continue
        every += [outer, *holes]
        shape = shapely.Polygon(outer, [hole for hole in holes if len(hole) > 2])
        if not shape.is_valid:
            shape = _mended(shapely, shape, where)
            mended += 1
        if shape.area == 0:
            empty += 1
            continue
        shapes.setdefault(name, []).append(shape)
    refuse_tangle(shapely, every, MOST_OF_ALL, f"{path}: its outlines cross one another")
    found = Annotations(polygons={name: shapely.union_all(some) for name, some in shapes.items()})
    if mended:
        found.notes.append(f"{counted(mended, 'polygon')} crossed itself or touched its holes and was corrected"
                           if mended == 1 else f"{mended} polygons crossed themselves and were corrected")  # fmt: skip
    if empty:
        found.notes.append(f"{counted(empty, 'annotation')} without an area left out")
    return found


def _rings(rings: Any, where: str) -> list[npt.NDArray[np.float64]]:
    """Return the rings of a polygon, each (n, 2), the outer one first; TissueError if they are invalid."""
    try:
        found = [np.asarray(ring, np.float64)[:, :2] for ring in rings]
        if not found or any(ring.ndim != 2 or ring.shape[1] != 2 for ring in found):
            raise ValueError("each must be two numbers")
    except (IndexError, ValueError, TypeError, OverflowError) as error:
        raise TissueError(f"{where} is not a list of x, y positions: {said_by(error)}") from error
    if not all(np.isfinite(ring).all() and (np.abs(ring) < _FURTHEST_L0).all() for ring in found):
        raise TissueError(f"{where} has a position that is not a number, or beyond {_FURTHEST_L0:,}")
    return found


def _mended(shapely: Any, shape: Any, where: str) -> Any:
    """Return a valid shape of the same area; TissueError where a correction would change the drawn shape."""
    # The corrected shape has the even-odd area; the trapezoid formula subtracts one lobe of a figure of eight from the
    # other. Small crossings hardly matter; where the two areas differ, nobody can tell which shape was meant.
    outer, *holes = (abs(signed_area(np.asarray(ring.coords)[:, :2])) for ring in (shape.exterior, *shape.interiors))
    drawn = outer - sum(holes)
    rings = [np.asarray(ring.coords)[:-1] for ring in (shape.exterior, *shape.interiors)]
    refuse_tangle(shapely, rings, MOST_OF_ONE, f"{where} crosses itself")
    outer, *holes = (shapely.make_valid(shapely.Polygon(ring)) for ring in (shape.exterior, *shape.interiors))
    mended = shapely.difference(outer, shapely.union_all(holes))
    if abs(mended.area - drawn) > _SAFE_CHANGE * max(mended.area, abs(drawn)):
        why = shapely.is_valid_reason(shape)
        raise TissueError(
            f"{where} crosses itself ({why}), and correcting it would change its area from {drawn:.0f} to "
            f"{mended.area:.0f} px²: draw it again"
        )
    return mended


def _place(found: Annotations, space: SlideSpace) -> None:
    """Move annotations that count from the corner of the scanned area, as QuPath's do, into the slide's frame."""
    if space.scanned_l0 is None or not found.polygons:
        return
    affinity = needed("shapely.affinity", "reading annotations")
    boxes = np.array([part.bounds for shape in found.polygons.values() for part in _parts(shape)], np.float64)
    (x, y), notices = place_shapes(boxes[:, :2], boxes[:, 2:], space, "annotations")
    if notices:
        found.polygons = {name: affinity.translate(shape, x, y) for name, shape in found.polygons.items()}
        found.notes += map(str, notices)


def _parts(shape: Any) -> list[Any]:
    return list(getattr(shape, "geoms", [shape]))


def _check_bounds(found: Annotations, size_l0: tuple[int, int] | None, path: Path) -> None:
    """Refuse annotations of another slide, which lie beyond this one; those slightly over the edge are cut."""
    if size_l0 is None:
        return
    shapely = needed("shapely", "reading annotations")
    slide = shapely.box(0, 0, *size_l0)
    over = []
    for name, shape in found.polygons.items():
        inside = shapely.intersection(shape, slide)
        if inside.area < 0.5 * shape.area:
            x0, y0, x1, y1 = (round(v) for v in shape.bounds)
            raise TissueError(
                f"{path}: {name} lies at x {x0} to {x1}, y {y0} to {y1}, but the slide is {size_l0[0]} x {size_l0[1]} "
                "pixels: are these annotations of another slide?"
            )
        if inside.area < shape.area * (1 - 1e-9):
            over.append(name)
            found.polygons[name] = inside
    if over:
        found.notes.append(f"{first_of(over, 5)} reached over the edge of the slide and was cut there")


# -- files ---------------------------------------------------------------------------------------------------


def _geojson(path: Path) -> Iterator[tuple[str, list[Any], str]]:
    """Yield (class, rings, where) of every polygon."""
    yield from _polygons(read_json(path, TissueError), UNNAMED, str(path))


def _polygons(item: Any, name: str, where: str) -> Iterator[tuple[str, list[Any], str]]:
    if isinstance(item, list):
        for number, part in enumerate(item):
            yield from _polygons(part, name, f"{where}: feature {number}")
        return
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "FeatureCollection":
        yield from _polygons(_listed(item, "features", where), name, where)
    elif kind == "Feature":
        if item.get("geometry") is not None:
            yield from _polygons(item["geometry"], class_name(item.get("properties"), name), where)
    elif kind == "GeometryCollection":
        for part in _listed(item, "geometries", where):
            yield from _polygons(part, name, where)
    elif kind == "MultiPolygon":
        for number, rings in enumerate(_listed(item, "coordinates", where)):
            yield name, rings, f"{where}, polygon {number}"
    elif kind == "Polygon":
        if item.get("coordinates"):
            yield name, item["coordinates"], where
    elif kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise TissueError(f"{where} is not GeoJSON: expected an object with a known 'type'")


def _listed(item: dict[str, Any], key: str, where: str) -> list[Any]:
    value = item.get(key) or []
    if not isinstance(value, list):
        raise TissueError(f"{where}: {key!r} of a {item['type']} must be a list, it is {str(value)[:60]}")
    return value


def class_name(properties: Any, otherwise: str) -> str:
    """Return the class of a feature: QuPath's classification, or the name that other tools give it."""
    if not isinstance(properties, dict):
        return otherwise
    for key in ("classification", "class", "class_name", "label", "type", "name"):
        value = properties.get(key)
        value = value.get("name") if isinstance(value, dict) else value
        if isinstance(value, str) and value.strip():
            return value.strip()
    return "tissue" if "tissue_id" in properties else otherwise


def _asap(path: Path) -> Iterator[tuple[str, list[Any], str]]:
    """Yield (class, rings, where) of every outline; the class is ASAP's group, else the annotation's name."""
    try:
        data = path.read_bytes()
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if wide else "utf-8-sig")  # the checked text is the text that is parsed
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise TissueError(f"{path} declares a document type or entities, which ASAP's files have not")
        root = ElementTree.fromstring(text)
    except OSError as error:
        raise TissueError(f"cannot read {path}: {error.strerror or said_by(error)}") from error
    except UnicodeDecodeError as error:
        raise TissueError(f"{path} is not XML in UTF-8 or UTF-16: {said_by(error)}") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise TissueError(f"{path} is not XML: {said_by(error)}") from error
    if root.tag != "ASAP_Annotations":
        raise TissueError(f"{path} is not ASAP's: its first element is {root.tag!r}, not 'ASAP_Annotations'")
    for number, item in enumerate(root.iter("Annotation")):
        where = f"{path}: annotation {item.get('Name') or number}"
        if item.get("Type") in ("Dot", "PointSet", "Measurement"):
            continue
        group = item.get("PartOfGroup") or "None"
        try:
            points = sorted(
                (float(c.get("Order", k)), float(c.attrib["X"]), float(c.attrib["Y"]))
                for k, c in enumerate(item.iter("Coordinate"))
            )
        except (KeyError, ValueError, OverflowError) as error:
            raise TissueError(f"{where} has a coordinate without X and Y: {said_by(error)}") from error
        yield (group if group != "None" else UNNAMED), [[[x, y] for _, x, y in points]], where
