"""Every family asked about a case: to the bit what it says of the concatenated features, of every own score."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.features.stacked import StackedRows
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.inference import infer
from mil_heatmaps.models.registry import model_class, model_types
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.stages.case_bag import side_by_side
from tests.helpers.small_models import SIZES

COUNTS = (37, 1, 26)
WIDTH = 24


OWN: dict[str, dict[str, Any]] = {
    "mil_fc": {"num_classes": 2}, "additive_mil": {"num_classes": 2}, "stamp_mlp": {"num_classes": 2},
    "torchmil_dsmil": {"num_classes": 1}, "trident_abmil": {"num_classes": 0},
    "trident_slide_encoder": {"num_classes": 0},
    **{key: {"embed_dim": 32, "num_heads": 4} for key in ("transmil_original", "torchmil_transmil")},
    "stamp_vit": {"embed_dim": 32, "mlp_dim": 32, "num_heads": 4},
    "histobistro_transformer": {"embed_dim": 32, "inner_dim": 32, "mlp_dim": 32, "num_heads": 4},
}  # fmt: skip
"""Settings of families that do not take three classes, or have none; and what makes the large ones small."""


def model_of(name: str) -> MILModel:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"num_classes": 3} | SIZES.get(name, {}) | OWN.get(name, {})
    model = model_class(name)(in_dim=WIDTH, **settings)
    for parameter in model.parameters():  # some families begin with zeros
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def parts() -> list[PatchFeatures]:
    """Three slides on grids of their own, whose places in micrometres are each slide's."""
    rng, found = np.random.default_rng(0), []
    for number, count in enumerate(COUNTS):
        cells = np.stack(np.divmod(rng.choice(100, count, replace=False), 10), 1)
        grid = PatchGrid(cells * 256 + 1000 * number, (256, 256), (256, 256))
        values = rng.normal(size=(count, WIDTH)).astype(np.float32)
        found.append(PatchFeatures(grid, values, None, Path(f"{number}.h5"), (), grid.coords_l0 * 0.5))
    return found


@pytest.mark.parametrize("name", model_types())
def test_a_case_is_the_concatenation_of_its_slides_to_the_bit(name: str, parts: list[PatchFeatures]) -> None:
    model = model_of(name)
    whole: Any = np.concatenate([part.features for part in parts])
    streamed: Any = StackedRows([len(part.features) for part in parts], WIDTH, whole.dtype,
                                lambda number: parts[number].features.copy())  # fmt: skip
    grid = side_by_side([part.grid for part in parts])
    coords_um = np.concatenate([part.coords_um for part in parts])
    scores = list(model.score_specs())
    prediction, found = infer(model, PatchFeatures(grid, streamed, None, Path("case.h5"), (), coords_um), scores=scores)
    expected = model.explain(PatchFeatures(grid, whole, None, Path("all.h5"), (), coords_um), scores)
    if expected.logits is not None:
        assert prediction is not None
        np.testing.assert_array_equal(prediction.logits[-len(expected.logits) :], expected.logits)  # one of two: 0, z
    assert found.keys() == expected.scores.keys()
    for score, made in found.items():
        np.testing.assert_array_equal(made.values, expected.scores[score].values)
    alone = model.explain(parts[0], []).logits  # of one slide the model says something else
    assert expected.logits is None or not np.array_equal(alone, expected.logits)
