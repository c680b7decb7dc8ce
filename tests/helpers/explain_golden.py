"""Read golden/explain: the results of an independent float64 program, the models behind them, and the toy."""

import importlib.util
import json
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.helpers.mil_lab_golden import SHARED

FOLDER = SHARED / "golden" / "explain"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no golden data in {FOLDER} (set HEATMAP_TEST_DATA)")
STRICT = {torch.float64: 1e-7, torch.float32: 1e-4}
"""Largest difference for exact forms, as a share of an array's largest value."""
PRECISIONS = tuple(STRICT)
DIFFERENCES_OF_FORWARDS = 1e-3
"""The same in single precision, for families evaluated by forwards."""


def tolerance(case: str, dtype: torch.dtype) -> float:
    """Return the tolerance for the values of a case, as a share of an array's largest value."""
    return DIFFERENCES_OF_FORWARDS if case == "transmil" and dtype == torch.float32 else STRICT[dtype]


@cache
def manifest() -> dict[str, Any]:
    """Return the description of every case, empty where there is no golden data."""
    path = FOLDER / "manifest.json"
    entries = json.loads(path.read_text()) if path.is_file() else {}
    return {name: entry for name, entry in entries.items() if isinstance(entry, dict) and "arrays" in entry}


def slow(case: str) -> tuple[pytest.MarkDecorator, ...]:
    """Return the marks of a case: a case without a closed form takes one forward per question."""
    return (pytest.mark.slow,) if case == "transmil" else ()


@cache
def arrays(case: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a case."""
    with np.load(FOLDER / f"{case}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def features(case: str) -> npt.NDArray[Any]:
    """Return the features of a case."""
    where = manifest()[case]["features"]
    if " rows " not in where:
        return arrays(case)["features"]
    path, rows = where.split(" rows ")
    start, stop = map(int, rows.split(":"))
    with np.load(SHARED / "golden" / path) as stored:
        return np.asarray(stored["features"][start:stop])


def build(case: str, dtype: torch.dtype) -> Any:
    """Return our model of a case."""
    from mil_heatmaps.checkpoints.builder import create_model

    entry = manifest()[case]
    name = "abmil.base.16.none" if case.startswith("toy") else entry["create_model"]
    folder = SHARED / "golden" if "/" in entry["weights"] else FOLDER
    return create_model(name, entry["num_classes"], folder / entry["weights"]).to(dtype)


def settings(case: str, output: str | None = None) -> dict[str, Any]:
    """Return the settings behind a case's arrays."""
    entry = manifest()[case]
    task = "survival" if "survival" in case else "classification"
    return {"output": output or entry["main_output"], "task": task}


def assert_near(ours: Any, golden: Any, tolerance: float) -> None:
    """Compare to within a share of the golden array's largest value."""
    golden = np.asarray(golden, np.float64)
    np.testing.assert_allclose(ours, golden, rtol=0, atol=tolerance * np.abs(golden).max())


@cache
def toy() -> Any:
    """Return the module that makes the toy's bags and networks."""
    spec = importlib.util.spec_from_file_location("make_toy", FOLDER / "make_toy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toy_abmil(shift: float = 0.0) -> Any:
    """Return the toy's ABMIL, whose log-odds of class 1 are 24 sum w_i (h_i0 - h_i1) - 0.5."""
    from mil_heatmaps.models.abmil import ABMIL

    model = ABMIL(in_dim=16, embed_dim=8, attn_dim=4, num_classes=2)
    model.load_state_dict(toy().abmil(shift))
    return model.eval()


def toy_transmil() -> Any:
    """Return the toy's TransMIL, which reads a mean of normalised tokens."""
    from mil_heatmaps.models.transmil import TransMIL

    model = TransMIL(in_dim=16, embed_dim=8, num_heads=2, num_classes=2)
    model.load_state_dict(toy().transmil())
    return model.eval()
