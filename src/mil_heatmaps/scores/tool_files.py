"""Score files that are not tables: objects of QuPath, predictions of TIAToolbox, attention of slideflow.

Names ending ``_l0`` are level-0 pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.features.geometry import positive_pair
from mil_heatmaps.features.slideflow import index_of_stem, read_index
from mil_heatmaps.files import json_files
from mil_heatmaps.files.arrays import read_arrays
from mil_heatmaps.files.zarr_chunks import check_chunks
from mil_heatmaps.scores.told_scores import ToldScores
from mil_heatmaps.scores.tool_tables import other_objects
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import first_of, install_line, lacking, reason_of, said_by

_MOST_NAMES = 2_000
_MOST_ZARR_BYTES = 1 << 28
"""Maximum bytes of one array: 4 million tiles with 8 classes."""

_ROUNDED_PX = 1.0
ATTENTION_END = "_att"
"""End of the stems of slideflow's attention files, ``S_att.npz``."""


def read_json(
    path: Path,
    space: SlideSpace,
    patch_size_l0: float | tuple[float, float] | None,
    columns: Sequence[str] | None,
) -> ToldScores:
    """Return the scores in GeoJSON of QuPath or JSON of TIAToolbox; ScoreError for any other JSON."""
    held = json_files.read_json(path, ScoreError)
    if isinstance(held, dict) and "coordinates" in held and ("probabilities" in held or "predictions" in held):
        return _tiatoolbox(held, space, patch_size_l0, path)
    features = held.get("features") if isinstance(held, dict) else held
    if not isinstance(features, list):
        raise ScoreError(
            f"{path}: neither GeoJSON with 'features', as QuPath writes, nor 'coordinates' with 'probabilities', as "
            "TIAToolbox does"
        )
    return _qupath(features, columns, path)


def _qupath(features: list[Any], columns: Sequence[str] | None, path: Path) -> ToldScores:
    """Return tiles, detections and cells with their measurements; all must be rectangles of one size."""
    boxes: list[tuple[float, float, float, float]] = []
    measured: list[dict[str, float]] = []
    others = 0
    for number, feature in enumerate(features, start=1):
        properties = feature.get("properties") if isinstance(feature, dict) else None
        properties = properties if isinstance(properties, dict) else {}
        kind = str(properties.get("objectType") or properties.get("object_type") or "").casefold()
        if not any(word in kind for word in ("tile", "detection", "cell")):
            others += 1
            continue
        boxes.append(_box(feature.get("geometry"), number, path))
        measured.append(_measurements(properties.get("measurements"), number, path))
    if not boxes:
        raise ScoreError(f"{path}: no tiles, detections or cells among its {len(features)} objects")
    corners = np.array(boxes, np.float64)
    sizes = corners[:, 2:] - corners[:, :2]
    size = np.median(sizes, axis=0)
    if (wrong := (np.abs(sizes - size) > _ROUNDED_PX).any(axis=1)).any():
        row = int(np.argmax(wrong))
        raise ScoreError(
            f"{path}: patches of different size, {size.tolist()} and {sizes[row].tolist()} at {boxes[row][:2]}; all "
            "patches of a slide must be equal squares: in QuPath make tiles without trimming them to the annotation"
        )
    names = list(columns or dict.fromkeys(name for each in measured for name in each))
    names = [name for name in names if columns is not None or not name.endswith(" percentile")]
    known = {name for each in measured for name in each}
    if missing := [name for name in names if name not in known]:
        raise ScoreError(f"{path}: no measurement {missing[0]!r}; choose from {first_of(sorted(known), 20)}")
    if not names:
        raise ScoreError(f"{path}: its {len(boxes)} patches have no measurements")
    if len(names) > _MOST_NAMES:
        raise ScoreError(f"{path}: has {len(names):,} measurements; up to {_MOST_NAMES:,} are read")
    values = np.array([[each.get(name, np.nan) for name in names] for each in measured], np.float64)
    attributes: dict[str, Any] = {"unit": "px", "patch_size_level0": np.rint(size)}
    notes = other_objects(others, path) if others else []
    return ToldScores(np.rint(corners[:, :2]).astype(np.int64), attributes, tuple(names), values, tuple(notes))


def _box(geometry: Any, number: int, path: Path) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of a polygon."""
    try:
        if geometry["type"] != "Polygon":
            raise ValueError(f"its geometry is a {geometry['type']}")
        points = np.array(geometry["coordinates"][0], np.float64)
        if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points).all() or np.abs(points).max() > 1e9:
            raise ValueError("its ring is not a list of finite x, y")
    except (TypeError, KeyError, IndexError, ValueError) as cause:
        raise ScoreError(f"{path}: object {number} is not a rectangle ({reason_of(cause)})") from cause
    (left, top), (right, bottom) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _measurements(told: Any, number: int, path: Path) -> dict[str, float]:
    """Return measurements by name: a mapping as QuPath writes since 0.4, or its earlier list of names and values."""
    if isinstance(told, list):
        told = {str(entry.get("name")): entry.get("value") for entry in told if isinstance(entry, dict)}
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise ScoreError(f"{path}: the measurements of object {number} are neither a mapping nor a list")
    found = {}
    for name, value in told.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[str(name)] = float(value)
        elif value not in (None, "NaN"):
            raise ScoreError(f"{path}: object {number}, measurement {name!r}: {value!r} is not a number")
    return found


def _tiatoolbox(
    held: dict[str, Any], space: SlideSpace, patch_size_l0: float | tuple[float, float] | None, path: Path
) -> ToldScores:
    """Return predictions of TIAToolbox: boxes at the requested resolution, one probability per class."""
    try:
        boxes = np.array(held["coordinates"], np.float64)
        told = held.get("probabilities")
        values = np.array(held["predictions"] if told is None else told, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if boxes.ndim != 2 or boxes.shape[1] != 4 or values.ndim != 2 or len(values) != len(boxes) or not len(boxes):
            raise ValueError(f"coordinates of shape {boxes.shape}, values of shape {values.shape}")
    except (TypeError, ValueError, KeyError) as cause:
        raise ScoreError(
            f"{path}: predictions of TIAToolbox need coordinates (N, 4) and a row of probabilities for each: "
            f"{reason_of(cause)}"
        ) from cause
    if not np.isfinite(boxes).all() or np.abs(boxes).max() > 1e9:
        raise ScoreError(f"{path}: its coordinates are not all finite")
    labels = held.get("label_dict")
    names = [f"class {i}" for i in range(values.shape[1])] if told is not None else ["prediction"]
    if isinstance(labels, dict):
        pairs = {str(k): str(v) for k, v in labels.items()} | {str(v): str(k) for k, v in labels.items()}
        names = [pairs.get(str(i), name) for i, name in enumerate(names)] if told is not None else names
    width = float(np.median(boxes[:, 2] - boxes[:, 0]))
    scale = _to_l0(held, width, space, patch_size_l0, path)
    size = np.maximum(1, np.rint(np.median(boxes[:, 2:] - boxes[:, :2], axis=0) * scale))
    corners = np.rint(boxes[:, :2] * scale).astype(np.int64)
    return ToldScores(corners, {"unit": "px", "patch_size_level0": size}, tuple(names), values)


def _to_l0(
    held: dict[str, Any],
    width: float,
    space: SlideSpace,
    patch_size_l0: float | tuple[float, float] | None,
    path: Path,
) -> float:
    """Return level-0 pixels per pixel of the coordinates, from ``resolution`` and ``units``, else from a tile size."""
    resolution, units = held.get("resolution"), held.get("units")
    number = resolution if isinstance(resolution, int | float) and not isinstance(resolution, bool) else None
    if number is not None and np.isfinite(number):
        if units == "mpp" and number > 0 and space.mpp is not None:
            return float(number / space.mpp)
        if units == "baseline" and number > 0:
            return float(1 / number)
        if units == "level" and number == int(number) and 0 <= number < len(space.downsamples):
            return space.downsamples[int(number)]
    said = positive_pair({"size": patch_size_l0}, "size")
    if said is not None and width > 0:
        return said[0] / width
    found = f"resolution {resolution!r} in {units!r}" if resolution is not None else "no resolution"
    needs = ", and the slide's resolution (mpp) is not known" if units == "mpp" and space.mpp is None else ""
    raise ScoreError(
        f"{path}: TIAToolbox counts pixels at the resolution it was asked for; the file says {found}{needs}, so its "
        "tiles cannot be placed: set data_arguments.patch_size_level0 to the level-0 pixels that a tile covers"
    )


def read_zarr(path: Path, space: SlideSpace, patch_size_l0: float | tuple[float, float] | None) -> ToldScores:
    """Return predictions that TIAToolbox 2 wrote as Zarr: arrays coordinates, and probabilities or predictions."""
    try:
        import zarr
    except ImportError as error:
        raise lacking(f"{path.name} (TIAToolbox)", "zarr", install_line("interop"), error) from error
    if linked := next((where for where in path.rglob("*") if where.is_symlink()), None):
        raise ScoreError(f"{path}: {linked.relative_to(path)} is a link, which could lead to any file of this machine")
    try:
        group = zarr.open_group(str(path), mode="r", use_consolidated=False)
        held: dict[str, Any] = {**dict(group.attrs)}
        for name in ("coordinates", "probabilities", "predictions"):
            if name in group:
                check_chunks(group[name], path / name, _MOST_ZARR_BYTES, ScoreError)
                held[name] = np.asarray(group[name][:])
    except ScoreError:
        raise
    except Exception as error:  # a damaged folder can raise many errors
        raise ScoreError(f"{path}: damaged, or no Zarr of numbers ({said_by(error)})") from error
    if "coordinates" not in held or not {"probabilities", "predictions"} & set(held):
        text = "no arrays coordinates and probabilities, as TIAToolbox writes"
        raise ScoreError(f"{path}: {text}; it has {sorted(held)}")
    return _tiatoolbox(held, space, patch_size_l0, path)


def read_npz(path: Path) -> ToldScores:
    """Return slideflow's attention, ``S_att.npz``, placed by the index of the bag beside it, ``S.index.npz``."""
    arrays = read_arrays(path, ScoreError)
    if not arrays:
        raise ScoreError(f"{path}: an archive without an array")
    values: npt.NDArray[Any] = next(iter(arrays.values()))
    stem = path.stem.removesuffix(ATTENTION_END)
    index = index_of_stem(path.parent, stem)
    if index is None and len(arrays) > 1:
        held = first_of([name or "(without a name)" for name in arrays], 6)
        raise ScoreError(
            f"{path}: an archive of {len(arrays)} arrays ({held}); of .npz files slideflow's attention alone is read, "
            f"one array beside the index of its bag, {stem}.index.npz. Write other scores with their coordinates as "
            "HDF5 or CSV"
        )
    if index is None:
        raise ScoreError(
            f"{path}: slideflow's attention does not say where its tiles are: put the index of the bag, "
            f"{stem}.index.npz, and bags_config.json beside it"
        )
    centres, attributes = read_index(index)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim == 2 and len(values) != len(centres) and values.shape[1] == len(centres):
        values = values.T
    if values.ndim != 2 or len(values) != len(centres) or values.dtype.kind not in "fiub":
        raise ScoreError(
            f"{path}: {len(centres)} tiles in {index.name} but attention {values.dtype} of shape {values.shape}"
        )
    names = ("attention",) if values.shape[1] == 1 else tuple(f"attention {i}" for i in range(values.shape[1]))
    return ToldScores(centres, attributes, names, values)
