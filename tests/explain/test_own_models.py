"""Models of the user's own are explained by their forward alone, where patches lie included."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models import explaining
from mil_heatmaps.models.custom import CustomModel
from mil_heatmaps.slides.patch_grid import PatchGrid
from tests.explain.test_asking import LATTICE, WIDTH, values
from tests.helpers.mil_lab_checks import random_features


class Mean(nn.Module):
    """A mean of features under a linear classifier; with `noise`, another one each time."""

    def __init__(self, noise: float = 0.0, breaks: bool = False) -> None:
        super().__init__()
        self.linear, self.noise, self.breaks = nn.Linear(WIDTH, 2), noise, breaks
        nn.init.eye_(self.linear.weight)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        z = self.linear(h.mean(dim=1))
        z = z + self.noise * torch.randn_like(z)
        return z.detach() if self.breaks else z


def test_own_models_are_explained_by_their_forward() -> None:
    x, model = random_features(12, WIDTH), CustomModel(Mean().double(), "Mean").double()
    found = model.explain(
        x, list(EXPLANATIONS), ["a", "b"], settings={"output": "logit"}, coords_l0=LATTICE[:12], step_l0=256
    )
    z = x[:, :2].astype(np.float64)
    np.testing.assert_allclose(values(found, "gradient_x_input"), z / 12, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(values(found, "integrated_gradients"), z / 12, rtol=1e-5, atol=1e-7)
    left = (z - z.mean(axis=0)) / 11
    np.testing.assert_allclose(values(found, "leave_one_out"), left, rtol=1e-4, atol=1e-6)
    assert found.scores["occlusion"].names == ("a", "b")
    assert found.checks["integrated_gradients"]["complete"] == [True, True]


class Placed(nn.Module):
    """A mean of the first two features, each patch times its column on the lattice plus one."""

    def forward(self, h: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
        assert coords.shape == (h.shape[1], 2)
        return (h[0, :, :2] * (coords[:, :1] / 256 + 1)).mean(dim=0)


def test_own_models_with_coords_get_those_of_the_patches_that_are_kept() -> None:
    x, model = random_features(24, WIDTH), CustomModel(Placed(), "Placed")
    names: list[str] = list(EXPLANATIONS)
    bag = PatchFeatures(PatchGrid(LATTICE, (256, 256), (256, 256)), x, None, Path("x.h5"))
    found = model.explain(bag, names, settings={"output": "logit"})
    z = x[:, :2].astype(np.float64) * (LATTICE[:, :1] / 256 + 1)
    np.testing.assert_allclose(values(found, "single"), z, rtol=1e-5)
    np.testing.assert_allclose(values(found, "leave_one_out"), (z - z.mean(axis=0)) / 23, rtol=1e-3, atol=1e-6)
    for name in ("gradient_x_input", "integrated_gradients"):
        np.testing.assert_allclose(values(found, name), z / 24, rtol=1e-4, atol=1e-6)
    order = np.argsort(-z[:, 1], kind="stable")
    measured = model.faithfulness(bag, {"z": z[:, 1]}, target=1, settings={"output": "logit"}).as_dict()
    kept = [z[order[k:], 1].mean() for k in measured["removed"]]
    np.testing.assert_allclose(measured["maps"]["z"]["morf"]["logit"], kept, rtol=1e-4, atol=1e-6)
    bare = model.explain(x, names, settings={"output": "logit"}, coords_l0=LATTICE)
    for name in names:
        np.testing.assert_array_equal(values(bare, name), values(found, name))
    again = model.faithfulness(x, {"z": z[:, 1]}, target=1, settings={"output": "logit"}, coords_l0=LATTICE)
    assert again.as_dict()["maps"]["z"]["morf"] == measured["maps"]["z"]["morf"]
    with pytest.raises(ModelError, match="Placed takes coords: give PatchFeatures"):
        model.explain(x, "single")


def test_a_gradient_whose_memory_is_measured_has_the_coords_of_the_patches_it_is_measured_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explaining, "_MEASURED", (4, 8, 16))
    found = CustomModel(Placed(), "Placed").explain(random_features(24, WIDTH), "gradient_x_input", coords_l0=LATTICE)
    assert np.isfinite(values(found, "gradient_x_input")).all()


def test_an_own_model_whose_forward_changes_is_refused() -> None:
    with pytest.raises(ModelError, match="two forward passes of Mean on the same patches differ by"):
        CustomModel(Mean(noise=0.1), "Mean").explain(random_features(12, WIDTH), "leave_one_out")


def test_an_own_model_without_gradients_keeps_the_other_scores() -> None:
    model, x = CustomModel(Mean(breaks=True), "Mean"), random_features(12, WIDTH)
    with pytest.raises(ModelError, match=r"Mean gives no gradients .*; choose leave_one_out, single"):
        model.explain(x, "gradient_x_input")
    assert values(model.explain(x, "leave_one_out"), "leave_one_out").shape == (12, 2)
