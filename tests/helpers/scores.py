"""A score file with every field filled, for tests."""

from typing import Any

import numpy as np

from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.patch_grid import PatchGrid
from tests.helpers.features import grid_coords


def example(n: int = 20, **changes: Any) -> ScoreFile:
    """Return scores of `n` patches, 5 per row, every field filled; `changes` replaces fields."""
    rng = np.random.default_rng(0)
    grid = PatchGrid(grid_coords(5, n // 5), (256, 256), (192, 192))
    values = rng.normal(size=(n, 2)).astype(np.float32)
    fields: dict[str, Any] = {
        "grid": grid,
        "scores": PatchScores(grid, values, ("LUAD", "LSCC"), "class_contribution", "contribution"),
        "extra": (
            PatchScores(None, rng.random((n, 1), np.float32), ("weight",), "attention_softmax", "weights"),
            PatchScores(
                grid, rng.random((n, 3), np.float32), ("head 0", "head 1", "head 2"), "similarity", "sim"
            ),
        ),
        "prediction": Prediction(
            ("LUAD", "LSCC"), np.array([0.3, 0.7], np.float32), np.array([-1.5, 2], np.float32)
        ),
        "slide_id": "TCGA-1.ä",
        "slide_size_l0": (5000, 4000),
        "level0_mpp": 0.2527,
        "model": "abmil.base.uni_v2.none",
        "checkpoint_sha256": "ab" * 32,
        "features_file": "s.h5",
        "features_fingerprint": {"size": 12, "sha256": "cd"},
        "encoder": "uni_v2",
        "program_version": "0.1.0",
    }
    return ScoreFile(**{**fields, **changes})
