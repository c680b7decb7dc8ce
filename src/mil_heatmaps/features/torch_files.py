"""Read features from ``.pt`` files, without ever running code in them.

torch is imported by the functions that need it, so that importing this module is cheap.
"""

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.units import FEATS
from mil_heatmaps.files.hdf5 import plain
from mil_heatmaps.files.safe_pickle import UnsafePickleError
from mil_heatmaps.files.safe_torch import load_torch
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.words import said_by

_FEATURE_KEYS = ("features", "feats", "embeddings")
_COORDS_KEYS = ("coords", "coordinates")


def load_pt(path: Path) -> Any:
    """Return the content of a ``.pt`` file: tensors (on the CPU), NumPy arrays and plain containers of them.

    Raises
    ------
    FeatureError
        The file is missing, damaged, or holds anything that would run code when loaded.
    """
    if not path.is_file():
        raise FeatureError(f"{path}: does not exist")
    refuse_stand_in(path, FeatureError)
    try:
        return load_torch(path)
    except UnsafePickleError as cause:
        raise FeatureError(str(cause)) from cause
    except pickle.UnpicklingError as cause:
        named = re.search(r"Unsupported (?:global|class):? (?:GLOBAL )?([\w.]+)|GLOBAL ([\w.]+)", str(cause))
        what = f"a pickled {named.group(1) or named.group(2)}" if named else "more than tensors and arrays"
        raise FeatureError(
            f"{path}: holds {what}; loading that could run code, so it is refused. Save the features alone:"
            " torch.save(features_tensor, path), or write features and coords to an HDF5 file"
        ) from cause
    except Exception as cause:  # torch raises a different type for every way a file can be damaged
        raise FeatureError(f"{path}: damaged or not a torch file ({said_by(cause)})") from cause


class HeldFeatures(NamedTuple):
    """The features of a ``.pt`` file, its coordinates if it has any, and what else it says: unit, patch size, slide."""

    features: npt.NDArray[Any]
    coords: npt.NDArray[Any] | None
    attributes: dict[str, Any]


def features_from_pt(path: Path) -> HeldFeatures:
    """Return what a file holds.

    A tensor or an array is the features; a dict has them as ``features`` (and ``coords``), and its texts and single
    numbers are what attributes are in HDF5. bfloat16, which NumPy lacks, becomes float32; no value changes.
    """
    held = load_pt(path)
    if isinstance(held, Mapping):
        features = next((held[key] for key in _FEATURE_KEYS if key in held), None)
        coords = next((held[key] for key in _COORDS_KEYS if key in held), None)
        if features is None:
            names = sorted(key for key in held if isinstance(key, str))
            raise FeatureError(f"{path}: a dict without 'features'; it holds {names[:12]}")
        told, places = _told(held), None if coords is None else _as_array(coords, path)
        if "features" not in held and "feats" in held:
            told[FEATS] = "'feats'"
        elif places is not None and places.dtype.kind == "f":
            told[FEATS] = f"coords in {places.dtype}"
        return HeldFeatures(_as_array(features, path), places, told)
    return HeldFeatures(_as_array(held, path), None, {})


def _told(held: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the texts, the numbers and the pairs of numbers of a dict, by name, as attributes of HDF5 are returned."""
    told: dict[str, Any] = {}
    for key, value in held.items():
        if not isinstance(key, str) or key in (*_FEATURE_KEYS, *_COORDS_KEYS):
            continue
        shape = getattr(value, "shape", None)
        if shape is not None and math.prod(shape) <= 2 and not getattr(value, "is_sparse", False):
            value = value.tolist()
        if isinstance(value, list | tuple) and len(value) <= 2 and all(isinstance(each, int | float) for each in value):
            value = np.asarray(value)
        if isinstance(value, str | bytes | int | float | np.ndarray) and np.size(value) in (1, 2):
            told[key] = plain(value)
    return told


def _as_array(held: Any, path: Path) -> npt.NDArray[Any]:
    import torch

    if isinstance(held, np.ndarray):
        return held
    if not isinstance(held, torch.Tensor):
        raise FeatureError(f"{path}: holds a {type(held).__name__}, not a tensor of features (N, D)")
    tensor = held.detach()
    if tensor.is_sparse or tensor.is_quantized:
        raise FeatureError(
            f"{path}: holds a sparse or quantized tensor; save it dense: torch.save(t.to_dense(), path)"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise FeatureError(
            f"{path}: holds a view of shape {tuple(tensor.shape)} that unfolds to more than is stored; save it whole: "
            "torch.save(t.clone(), path)"
        )
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
