"""Spots and cells of one slide: points with numbers or classes, assigned to patches.

A table has x and y (level-0 pixels, or micrometres) and either columns of numbers (genes, proteins) or a column of cell
types; an h5ad has ``obsm["spatial"]``; a GeoJSON has cells as points or outlines with a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import HeatmapError, ScoreError
from mil_heatmaps.files import hdf5
from mil_heatmaps.files.json_files import read_json
from mil_heatmaps.files.parquet import MOST_NUMBERS, is_parquet, read_parquet
from mil_heatmaps.files.stand_ins import refuse_no_file
from mil_heatmaps.files.stem_index import StemIndex
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.frames import place_shapes
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import first_of, said_by

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet", ".h5ad", ".geojson", ".json")
_X, _Y = ("x", "x_l0", "centroid_x", "pxl_col_in_fullres", "x_um", "centroid x µm"), (
    "y", "y_l0", "centroid_y", "pxl_row_in_fullres", "y_um", "centroid y µm")  # fmt: skip
_TYPES = ("cell_type", "celltype", "class", "type", "classification", "label")
_NO_NUMBERS = ("in_tissue", "array_row", "array_col", "index", "id", "cell_id", "spot_id", "barcode", "unnamed: 0")

_MOST_TYPES = 1_000
"""Maximum number of cell types (each gets a column); a column with more values holds names or numbers."""


class SpotIndex(StemIndex):
    """Tables of spots or cells by slide_id; ``S_cells.csv`` and ``S_spots.csv`` count as S."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        super().__init__(folders, SUFFIXES, recursive=True, noun="table of spots", error=ScoreError)

    def stems_for(self, name: str) -> tuple[str, ...]:
        """Return the stems of tables, the slide's own name first."""
        return name, f"{name}_cells", f"{name}_spots"


@dataclass(frozen=True, repr=False, eq=False)
class Spots:
    """Points of one slide.

    Attributes
    ----------
    points_l0 : (M, 2) float64
        Level-0 pixels.
    values : (M, F) float32
        For each point: the numbers of genes, or 1 for its cell type and 0 for the others.
    names : F str
    are_types : bool
        Whether the columns are cell types.
    notices : notices about their place
    """

    points_l0: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    are_types: bool
    notices: tuple[Notice, ...] = ()


def read_spots(path: Path, *, unit: str = "px", space: SlideSpace | None = None) -> Spots:
    """Return the points of a file.

    Parameters
    ----------
    unit : ``px`` or ``um``
        The unit of positions; columns such as ``x_um`` name it themselves.
    space : SlideSpace, optional
        What is known of the slide: its resolution, for ``um``, and its scanned area, whose corner may be the origin.

    Raises
    ------
    ScoreError
        No positions, no numbers or types, or micrometres on a slide without a resolution.
    """
    refuse_no_file(path, ScoreError)
    suffix = path.suffix.lower()
    in_um = unit == "um"
    if suffix == ".h5ad":
        points, values, names, types = _h5ad(path)
    elif suffix in (".geojson", ".json"):
        points, values, names, types = _cells(path)
    else:
        table = _table(path)
        points, in_um, rest = _positions(table, path, in_um)
        values, names, types = _columns(rest, path)
    kept = np.isfinite(points).all(axis=1)
    if not kept.any():
        raise ScoreError(f"{path}: no point has a position")
    space, points = space or SlideSpace(), points[kept]
    if in_um:
        if space.mpp is None:
            raise ScoreError(f"{path}: positions are in µm, but the slide's resolution (mpp) is not known")
        points = points / space.mpp
    shift, notices = place_shapes(points, points, space, "points")
    return Spots(points + shift, values[kept], names, types, tuple(notices))


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if is_parquet(path):
        return read_parquet(path, ScoreError)
    try:
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
    except Exception as error:  # a damaged file can raise any error of its columns
        raise ScoreError(f"cannot read {path}: {said_by(error)}") from error


def _check_count(rows: int, columns: int, path: Path) -> None:
    if rows * columns > MOST_NUMBERS:
        most = f"up to {MOST_NUMBERS:,} numbers are read"
        raise ScoreError(f"{path} has {rows:,} points and {columns:,} columns; {most}")


def _positions(table: pd.DataFrame, path: Path, in_um: bool) -> tuple[npt.NDArray[np.float64], bool, pd.DataFrame]:
    """Return x and y, whether they are micrometres, and the other columns."""
    plain = {str(name).strip().lower(): name for name in table.columns}
    x, y = (next((plain[name] for name in names if name in plain), None) for names in (_X, _Y))
    if x is None or y is None:
        raise ScoreError(f"{path} has no columns x and y; it has {first_of([str(c) for c in table.columns], 8)}")
    in_um = in_um or any(word in str(x).lower() for word in ("_um", "µm"))
    try:
        points = table[[x, y]].to_numpy(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScoreError(f"{path}: x and y must be numbers: {said_by(error)}") from error
    return points, in_um, table.drop(columns=[x, y])


def _columns(table: pd.DataFrame, path: Path) -> tuple[npt.NDArray[np.float32], tuple[str, ...], bool]:
    """Return the numbers of each point; for a column of cell types, 1 in the point's own type."""
    import pandas as pd

    kind = next((name for name in table.columns if str(name).strip().lower() in _TYPES
                 and not pd.api.types.is_numeric_dtype(table[name])), None)  # fmt: skip
    if kind is not None:
        return *_one_of(table[kind].astype(object).fillna("unclassified").astype(str).to_numpy(object), path), True
    numeric = table.select_dtypes("number")
    _check_count(len(numeric), numeric.shape[1], path)
    numeric = numeric[[name for name in numeric.columns if str(name).strip().lower() not in _NO_NUMBERS]]
    if not numeric.shape[1]:
        raise ScoreError(f"{path} has neither a column of cell types ({', '.join(_TYPES)}) nor one of numbers")
    return numeric.to_numpy(np.float32), tuple(map(str, numeric.columns)), False


def _one_of(types: npt.NDArray[Any], path: Path) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    names, place = np.unique(types, return_inverse=True)
    if len(names) > _MOST_TYPES:
        raise ScoreError(f"{path} has {len(names):,} cell types, such as {first_of(list(names), 3)}; up to "
                         f"{_MOST_TYPES:,} are told apart")  # fmt: skip
    return np.eye(len(names), dtype=np.float32)[place], tuple(map(str, names))


def _h5ad(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], tuple[str, ...], bool]:
    """Return the contents of an h5ad: HDF5 with ``X`` dense, or sparse by rows or columns."""
    import h5py
    with hdf5.open_h5(path, ScoreError) as file:
        place = hdf5.dataset(file, "obsm/spatial")
        if place is None:
            there = first_of(list(file["obsm"]), 5) if isinstance(file.get("obsm"), h5py.Group) else ""
            raise ScoreError(f'{path} has no obsm["spatial"]; it has {there or "none"}')
        try:
            points = np.asarray(place[()], np.float64)[:, :2]
            values = _matrix(file, len(points), path)
            index = file["var"][str(file["var"].attrs["_index"])]
            names = (index["values"] if isinstance(index, h5py.Group) else index).asstr()[()]
        except HeatmapError:
            raise
        except Exception as error:  # in a file that anndata did not write, anything may differ
            raise ScoreError(f"{path} is not an h5ad as anndata writes it: {said_by(error)}") from error
    if points.ndim != 2 or points.shape[1] != 2 or values.shape != (len(points), len(names)):
        raise ScoreError(f"{path}: {points.shape} positions, {len(names)} names and numbers of shape {values.shape}")
    return points, values, tuple(map(str, names)), False


def _matrix(file: Any, rows: int, path: Path) -> npt.NDArray[np.float32]:
    """Return ``X`` as float32 (rows, F)."""
    import h5py
    from scipy.sparse import csc_array, csr_array

    matrix = file["X"]
    if isinstance(matrix, h5py.Dataset):
        return np.asarray(hdf5.needed_dataset(file, "X")[()], np.float32)
    height, width = (int(side) for side in matrix.attrs["shape"])
    _check_count(max(rows, height), width, path)
    sparse = csc_array if "csc" in str(matrix.attrs["encoding-type"]) else csr_array
    parts = tuple(hdf5.needed_dataset(matrix, key)[()] for key in ("data", "indices", "indptr"))
    held = sparse(parts, shape=(height, width))
    held.check_format(full_check=True)  # otherwise an index beyond the matrix would still be written to
    return np.asarray(held.toarray(), np.float32)


def _cells(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], tuple[str, ...], bool]:
    """Return the cells of a GeoJSON: points, or the mean of an outline's corners, with their class."""
    from mil_heatmaps.insight.annotations import UNNAMED, class_name

    content = read_json(path, ScoreError)
    try:
        features = content["features"] if isinstance(content, dict) else content
        points, types = [], []
        for feature in features:
            geometry = feature.get("nucleusGeometry") or feature["geometry"]
            place = geometry["coordinates"]
            if geometry["type"] == "Polygon":
                place = np.asarray(place[0], np.float64)[:-1, :2].mean(axis=0)
            elif geometry["type"] != "Point":
                continue
            points.append((float(place[0]), float(place[1])))
            types.append(class_name(feature.get("properties"), UNNAMED))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ScoreError(f"{path} is not a GeoJSON of cells: {said_by(error)}") from error
    if not points:
        raise ScoreError(f"{path} holds no cells (points or polygons)")
    return np.array(points), *_one_of(np.array(types, object), path), True


def on_patches(spots: Spots, grid: PatchGrid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the number of points on each patch, (N,), and the mean of each column, (N, F), NaN without a point.

    For cell types the mean is the share of the cells. A point on several overlapping patches counts on each.
    """
    from scipy.spatial import cKDTree

    size = np.asarray(grid.size_l0, np.float64)
    counts, sums = np.zeros(len(grid), np.int64), np.zeros((len(grid), len(spots.names)))
    if len(grid):
        tree = cKDTree(spots.points_l0 / size)
        near = tree.query_ball_point((grid.coords_l0 + size / 2) / size, 0.5, p=np.inf)
        for patch, members in enumerate(near):
            inside = spots.points_l0[members]
            # A patch includes its left and upper edge; the other edges belong to its neighbours.
            held = np.asarray(members, int)[((inside >= grid.coords_l0[patch])
                                             & (inside < grid.coords_l0[patch] + size)).all(axis=1)]  # fmt: skip
            counts[patch], sums[patch] = len(held), spots.values[held].sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts, np.where(counts[:, None] > 0, sums / counts[:, None], np.nan)
