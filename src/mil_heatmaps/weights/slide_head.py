"""Heads that turn a slide encoder's vector into outputs: a linear, logistic or Cox model, or cosines to vectors.

A head is read from NPZ, CSV or safetensors with numpy alone: nothing in the file is executed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mil_heatmaps.choices import Task
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.files import hdf5
from mil_heatmaps.files.arrays import read_arrays, read_npy, read_safetensors
from mil_heatmaps.files.json_files import parse_json
from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import first_of, reason_of, said_by, whole_number

if TYPE_CHECKING:
    import numpy.typing as npt

Floats: TypeAlias = "npt.NDArray[np.float64]"

KINDS: Final[dict[str, tuple[Task, ...]]] = {
    "linear": ("regression",),
    "logistic": ("classification", "multilabel"),
    "cox": ("survival",),
}
"""Kind of model that a file may state -> the tasks that fit this kind."""
_ALIASES = {"coef_": "W", "weight": "W", "intercept_": "b", "bias": "b", "mean_": "mean", "scale_": "scale"}
_NAMES = ("class_names", "classes", "names")
_FORMATS = ".npz, .csv or .safetensors"


@dataclass(frozen=True)
class SlideHead:
    """A linear map from a slide's vector to outputs, or the vectors whose cosines with it are the outputs.

    Attributes
    ----------
    weight : (C, E) float64
        For a linear map, its weight with the standardisation folded in; for cosines, the vectors, each of length 1.
    bias : (C,) float64
    names : C or 2 str, optional
        Names of the outputs; two names if one output tells two classes apart.
    kind : str, optional
        ``linear``, ``logistic`` or ``cox`` if the file says so, or ``cosine``.
    source : Path
    """

    weight: Floats
    bias: Floats
    source: Path = field(default=Path())
    names: tuple[str, ...] | None = None
    kind: str | None = None

    @property
    def cosine(self) -> bool:
        """Whether the outputs are cosines."""
        return self.kind == "cosine"

    @property
    def width(self) -> int:
        """Length of the vector that the head takes."""
        return int(self.weight.shape[1])

    def __len__(self) -> int:
        return len(self.weight)

    def check_task(self, task: Task) -> None:
        """Raise a `CheckpointError` if the outputs do not fit the task."""
        allowed = ("regression",) if self.cosine else KINDS.get(self.kind or "", (task,))
        if task not in allowed:
            what = "gives cosines, which are values" if self.cosine else f"is a {self.kind} model"
            raise CheckpointError(
                f"the head {self.source} {what}, but model_arguments.task is {task}; set task: {' or '.join(allowed)}"
            )


def read_head(path: Path, *, cosine: bool = False) -> SlideHead:
    """Return the head in a file.

    Parameters
    ----------
    path : .npz, .csv or .safetensors
        It holds ``W`` (C, E) or (E,) and optionally ``b`` (C,), ``mean`` and ``scale`` (E,), which standardise the
        vector first, ``class_names`` and ``kind``. scikit-learn's names work too. A CSV has one row per output.
    cosine : bool
        Whether the file holds a vector (E,) or several (K, E) instead, as .npy, .npz or .h5.

    Raises
    ------
    CheckpointError
        The file is missing or unreadable, shapes do not fit each other, or numbers are not finite.
    """
    try:
        return _vectors(path) if cosine else _linear(path)
    except CheckpointError:
        raise
    except Exception as error:  # numbers of 400 digits, endlessly nested JSON, errors of csv and numpy
        raise CheckpointError(f"cannot read the head {path}: {said_by(error, 1000)}") from error


def _linear(path: Path) -> SlideHead:
    readers = {".npz": _arrays, ".csv": _table, ".safetensors": _safetensors}
    if path.suffix.lower() not in readers:
        raise CheckpointError(f"the head {path} must be {_FORMATS}")
    held = {_ALIASES.get(key, key): value for key, value in readers[path.suffix.lower()](path).items()}
    if "W" not in held:
        raise CheckpointError(f"the head {path} has no weights W; it has {first_of(sorted(held), 8) or 'nothing'}")
    weight = np.atleast_2d(_numbers(held["W"], "W", path))
    if weight.ndim != 2:
        raise CheckpointError(f"W of the head {path} has shape {weight.shape}; (outputs, numbers a vector) is needed")
    count, width = weight.shape
    bias = _numbers(held.get("b", np.zeros(count)), "b", path).reshape(-1)
    if bias.shape != (count,):
        raise CheckpointError(f"b of the head {path} has {len(bias)} numbers, but W has {count} rows: one per output")
    mean = _of_width(held.get("mean", np.zeros(width)), "mean", width, path)
    scale = _of_width(held.get("scale", np.ones(width)), "scale", width, path)
    if (scale <= 0).any():
        raise CheckpointError(f"scale of the head {path} has numbers that are not above 0: the vector is divided by it")
    weight = weight / scale
    names, kind = _names(held, count, path), _kind(held, path)
    return SlideHead(weight, bias - weight @ mean, path, names, kind)


def _vectors(path: Path) -> SlideHead:
    held: Mapping[str, Any]
    if path.suffix == ".npy":
        held = {"vector": _arrays(path).get("")}
    elif path.suffix == ".npz":
        held = _arrays(path)
    elif path.suffix in (".h5", ".hdf5"):
        held = {"vector": read_slide_vectors(path)}
    else:
        raise CheckpointError(f"cosine_to names {path}; a .npy, .npz or .h5 file of a vector is needed")
    vectors = {key: value for key, value in held.items() if key not in (*_NAMES, "kind")}
    if len(vectors) != 1:
        raise CheckpointError(f"cosine_to names {path}, which has {len(vectors)} arrays; one, of a vector, is needed")
    ((name, value),) = vectors.items()
    rows = np.atleast_2d(_numbers(value, name, path))
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if rows.ndim != 2 or not rows.size or (lengths == 0).any():
        raise CheckpointError(f"cosine_to names {path}, which holds no vector or one of length 0")
    return SlideHead(rows / lengths, np.zeros(len(rows)), path, _names(held, len(rows), path), "cosine")


def read_slide_vectors(path: Path) -> Floats:
    """Return the vectors (K, E) in a file of one slide, such as TRIDENT's ``slide_features_<encoder>/S.h5``.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, has no vector, or holds features of patches.
    """
    import h5py

    from mil_heatmaps.errors import HeatmapError

    if path.suffix == ".npy":
        return np.atleast_2d(_numbers(read_npy(path, CheckpointError), "the vector", path))
    try:
        with hdf5.open_h5(path) as file:
            found = next((item for name in ("features", "feats") if isinstance(item := file.get(name), h5py.Dataset)),
                         None)  # fmt: skip
            if found is None:
                raise CheckpointError(f"{path} has no slide vector: a dataset 'features' is needed")
            coords = file.get("coords")
            patches = coords.shape[0] if isinstance(coords, h5py.Dataset) and coords.ndim else 0
            if found.ndim > 1 and len(found) > 1 and len(found) == patches:
                raise CheckpointError(f"{path} holds features of {patches} patches, not the vector of a slide")
            return np.atleast_2d(_numbers(found[()], "features", path).squeeze())
    except CheckpointError:
        raise
    except (HeatmapError, OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the slide vector {path}: {reason_of(error)}") from error


def _arrays(path: Path) -> dict[str, Any]:
    try:
        return dict(read_arrays(path, CheckpointError))
    except CheckpointError as error:
        raise CheckpointError(f"cannot read the head {said_by(error, 1000)}") from error


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        arrays, told = read_safetensors(path, CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"cannot read the head {said_by(error, 1000)}") from error
    held: dict[str, Any] = dict(arrays)
    for name in _NAMES:
        if name in told:
            held[name] = parse_json(told[name]) if told[name].lstrip().startswith("[") else told[name].split(",")
    return held | ({"kind": told["kind"]} if "kind" in told else {})


def _table(path: Path) -> dict[str, Any]:
    """Return the head in a table: a row per output, with its name, ``b`` and a column per weight.

    The first column names the rows; two further rows, ``mean`` and ``scale``, standardise the vector.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)] or [[]]
    columns = [name.strip() for name in header]
    biases = [i for i, name in enumerate(columns) if i and _ALIASES.get(name, name) == "b"]
    weights = [i for i in range(1, len(columns)) if i not in biases]
    if not weights or not rows:
        raise CheckpointError(f"the head {path} must have one row per output: its name, b, and a column a weight")
    numbers = [number for i in weights if (number := whole_number(columns[i].lstrip("Wwfx_"))) is not None]
    if len(numbers) == len(weights) and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise CheckpointError(f"the columns of weights of the head {path} are out of order: {', '.join(columns[1:6])}")
    if odd := next((number for number, row in enumerate(rows, 2) if len(row) != len(columns)), None):
        raise CheckpointError(f"line {odd} of the head {path} has {len(rows[odd - 2])} cells of {len(columns)}")
    found: dict[str, Any] = {}
    outputs = [row for row in rows if row[0].strip() not in ("mean", "scale")]
    for row in rows:
        if (name := row[0].strip()) in ("mean", "scale"):
            found[name] = [float(row[i]) for i in weights]
    if not outputs:
        raise CheckpointError(f"the head {path} has no row of an output")
    found["W"] = [[float(row[i]) for i in weights] for row in outputs]
    found["b"] = [float(row[biases[0]]) if biases and row[biases[0]].strip() else 0.0 for row in outputs]
    if all(row[0].strip() for row in outputs):
        found["class_names"] = [row[0].strip() for row in outputs]
    return found


def _numbers(value: Any, name: str, path: Path) -> Floats:
    numbers = np.asarray(value, np.float64)
    if not np.isfinite(numbers).all():
        raise CheckpointError(f"{name} of {path} has numbers that are NaN or infinite")
    return numbers


def _of_width(value: Any, name: str, width: int, path: Path) -> Floats:
    numbers = _numbers(value, name, path).reshape(-1)
    if numbers.shape != (width,):
        raise CheckpointError(f"{name} of the head {path} has {len(numbers)} numbers, but W has {width} columns")
    return numbers


def _names(held: Mapping[str, Any], count: int, path: Path) -> tuple[str, ...] | None:
    given = next((held[name] for name in _NAMES if name in held), None)
    if given is None:
        return None
    names = tuple(str(name).strip() for name in np.asarray(given).reshape(-1).tolist())
    if len(names) != count and not (count == 1 and len(names) == 2):
        told = ", ".join(names)
        raise CheckpointError(f"the head {path} names {len(names)} outputs ({told}), but W has {count} rows")
    if len(set(names)) != len(names):
        raise CheckpointError(f"the head {path} names two outputs alike: {', '.join(names)}")
    return names


def _kind(held: Mapping[str, Any], path: Path) -> str | None:
    if "kind" not in held:
        return None
    kind = str(np.asarray(held["kind"]).item()).strip().lower()
    if kind not in KINDS:
        raise CheckpointError(f"the head {path} says kind {kind!r}; choose from {', '.join(KINDS)}")
    return kind
