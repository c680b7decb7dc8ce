"""Read golden/others: outputs of models of public repositories, and checkpoints as their users have them."""

import json
from functools import cache
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from tests.helpers.places import CURE, SHARED

FOLDER = SHARED / "golden" / "others" / "models"
needs_public_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no golden data in {FOLDER} ({CURE})")


@cache
def public_manifest() -> dict[str, Any]:
    """Return the description of every case, empty where there is no golden data."""
    path = FOLDER / "manifest.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def features_of(case: dict[str, Any]) -> Any:
    """Return the features (N, D) of a case."""
    with h5py.File(FOLDER / case["features"]) as file:
        return file["features"][:]


def assert_public_golden(name: str) -> Any:
    """Compare logits, kinds and every score of a case with its reference, within the README's tolerance."""
    case = public_manifest()[name]
    model = model_from_checkpoint(FOLDER / case["checkpoint"], **case.get("overrides", {}))
    specs = model.score_specs()
    assert next(iter(specs)) == case["default_score"]
    assert case["kinds"].items() <= {name: spec.kind for name, spec in specs.items()}.items()
    found = model.explain(features_of(case), list(case["kinds"]))
    with np.load(FOLDER / case["expected"]) as expected:
        assert_near(found.logits, expected["logits"].reshape(-1), case)
        for score in case["kinds"]:
            values = expected[f"score_{score}"]
            assert_near(found.scores[score].values, values.reshape(len(values), -1), case)
    return model


def assert_near(found: Any, expected: Any, case: dict[str, Any]) -> None:
    """Compare within max(1e-5, 5 x the reference's own error) x max(1, largest), and 1e-4 of each."""
    absolute = max(1e-5, 5 * case["fp32_vs_fp64"]) * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=absolute)
