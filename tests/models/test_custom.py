"""Models of the user's own: the documented example runs, and every way to get it wrong has its message."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mil_heatmaps.checkpoints.own_model import load_custom_model
from mil_heatmaps.errors import CheckpointError, FeatureError, ModelError
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.custom import CustomModel
from mil_heatmaps.models.inference import infer
from mil_heatmaps.models.replaced_patches import score_in_place
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.weights.import_own import import_class

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "own_model.md"

MODELS = """
import torch
from torch import nn
from torch import nn

class Short(nn.Module):
    def forward(self, h):
        return h.mean(dim=(0, 1)), h[0, :-1, 0]

class Broken(nn.Module):
    def patch_scores(self, features):
        return features[:, 0] * float("nan")

class Crashes(nn.Module):
    def forward(self, h):
        raise RuntimeError("out of ideas")

class Nothing(nn.Module):
    pass

class LogitsOnly(nn.Module):
    def forward(self, h):
        return h.mean(dim=1)

class Milly(nn.Module):
    in_dim = 4
    def forward(self, h):
        return {"logits": h.mean(dim=1)}, {"attention": h[..., 0].unsqueeze(1)}

class Plain:
    score_kind = "similarity"
    score_name = "likeness"
    def patch_scores(self, features):
        return features.numpy()[:, :2].tolist()

class Needs(nn.Module):
    def __init__(self, depth):
        super().__init__()

class BadKind:
    score_kind = "wishes"
    def patch_scores(self, features):
        return features[:, 0]

class PerPatch(nn.Module):
    def forward(self, h):
        return h[..., :2], h[..., 0]

class Miscounts(nn.Module):
    num_classes = 2
    def forward(self, h):
        return h.mean(dim=1)[:, :3], h[..., 0]

class Scalar(nn.Module):
    def forward(self, h):
        return h.mean(), h[..., 0]

class Leaves(nn.Module):
    def forward(self, h):
        raise SystemExit(3)

class Arrays:
    def forward(self, h):
        return h.mean(dim=1).numpy(), h[0].numpy()

class Width(nn.Module):
    in_dim = "wide"
    def forward(self, h):
        return h.mean(), h[..., 0]

class Complex(nn.Module):
    def forward(self, h):
        return h.mean(dim=1), h[0, :, 0] * 1j

class Text(nn.Module):
    def forward(self, h):
        return "malignant"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "lab_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lab_models", raising=False)
    return "lab_models"


def features(count: int = 6, width: int = 4) -> Any:
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


def test_the_documented_example_runs_from_its_class_and_its_checkpoint(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 21
    (tmp_path / "models.py").write_text(code[1])
    where = f"{tmp_path / 'models.py'}:MeanMIL"
    reference = import_class(where)(in_dim=4)
    torch.save({"state_dict": {f"module.{k}": v for k, v in reference.state_dict().items()}}, tmp_path / "m.pt")
    model = load_custom_model(where, {"in_dim": 4}, tmp_path / "m.pt")
    assert not model.training
    prediction, scores = infer(model, features(), class_names=["no", "yes"])
    assert prediction is not None
    logits, per_patch = reference(torch.from_numpy(features())[None])
    np.testing.assert_allclose(prediction.logits, logits[0].detach(), atol=1e-6)
    np.testing.assert_allclose(scores["evidence"].values, per_patch.detach(), atol=1e-6)
    assert scores["evidence"].names == ("no", "yes")
    assert scores["evidence"].kind == "instance_logit"
    with pytest.raises(FeatureError, match="features are 5 wide"):
        infer(model, features(width=5))


def test_mil_labs_form_is_understood(module: str) -> None:
    model = load_custom_model(f"{module}:Milly")
    prediction, scores = infer(model, features())
    assert prediction is not None
    np.testing.assert_allclose(prediction.logits, features().mean(0), atol=1e-6)
    np.testing.assert_array_equal(scores["attention"].values[:, 0], features()[:, 0])
    _, scores = infer(model, features(1))
    assert scores["attention"].values.shape == (1, 1)


def test_a_single_number_is_one_logit(module: str) -> None:
    prediction, _ = infer(load_custom_model(f"{module}:Scalar"), features())
    assert prediction is not None
    assert len(prediction.classes) == 2
    risk, _ = infer(load_custom_model(f"{module}:Scalar"), features(), task="survival")
    assert risk is not None
    assert risk.risk == pytest.approx(features().mean(), abs=1e-6)


def test_arrays_do_as_well_and_columns_are_called_after_the_outputs(module: str) -> None:
    prediction, scores = infer(load_custom_model(f"{module}:Arrays"), features(), task="survival")
    assert prediction is not None
    np.testing.assert_allclose(prediction.logits, features().mean(axis=0), atol=1e-6)
    assert scores["attention"].names == prediction.classes == tuple(f"interval {t}" for t in range(4))


def test_patch_scores_alone_give_no_prediction(module: str) -> None:
    prediction, scores = infer(load_custom_model(f"{module}:Plain"), features())
    assert prediction is None
    np.testing.assert_array_equal(scores["likeness"].values, features()[:, :2])
    assert scores["likeness"].kind == "similarity"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Short", r"lab_models:Short returned attention of shape \(5,\) for 6 patches: \(6,\) or \(6, K\)"),
        ("Broken", "lab_models:Broken gave 6 NaN or infinite values"),
        ("Crashes", r"failed on features of shape \(6, 4\), RuntimeError: out of ideas"),
        ("Leaves", r"failed on features of shape \(6, 4\), SystemExit: 3"),
        ("LogitsOnly", "returned no patch scores"),
        ("Complex", r"Complex returned complex patch scores \(torch\.complex64\); real numbers are needed"),
        ("Text", "returned a str: it must return logits"),
        ("PerPatch", r"returned logits of shape \(1, 6, 2\): one row for the slide is needed"),
        ("Miscounts", "returned 3 logits, but its num_classes is 2"),
    ],
)
def test_a_model_that_misbehaves_is_named(module: str, name: str, message: str) -> None:
    model = load_custom_model(f"{module}:{name}")
    with pytest.raises(ModelError, match=message):
        infer(model, features())


def bag_of_six() -> PatchFeatures:
    """Features on a grid of 3 x 2 patches."""
    corners = np.array([(x, y) for y in (0, 256) for x in (0, 256, 512)], np.int64)
    return PatchFeatures(PatchGrid(corners, (256, 256), (256, 256)), features(), "encoder", Path("s.h5"))


class Positions(nn.Module):
    """Scores are where the patches are."""

    num_classes = 0

    def forward(self, h: torch.Tensor, coords: torch.Tensor) -> tuple[None, torch.Tensor]:
        assert coords.dtype == torch.int64
        return None, coords[:, 0] + coords[:, 1] / 1000


class Sorted(nn.Module):
    """Returns the scores from high to low, as a top-k does."""

    def patch_scores(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, 0].sort(descending=True)[0]


def test_an_argument_coords_gets_the_corners_in_level_0_pixels() -> None:
    given = bag_of_six()
    _, scores = infer(CustomModel(Positions(), "Positions"), given)
    corners = given.grid.coords_l0
    np.testing.assert_allclose(next(iter(scores.values())).values[:, 0], corners[:, 0] + corners[:, 1] / 1000)


def test_a_model_that_takes_coords_wants_features_that_have_them() -> None:
    with pytest.raises(ModelError, match="Positions takes coords: give PatchFeatures"):
        CustomModel(Positions(), "Positions").explain(features())


def test_patches_in_the_place_of_others_bring_their_own_coords() -> None:
    bag = bag_of_six()
    extra = replace(bag, grid=replace(bag.grid, coords_l0=bag.grid.coords_l0 + 3))
    made = score_in_place(CustomModel(Positions(), "P"), bag, extra, np.zeros(len(bag), np.int64), "attention")
    corners = extra.grid.coords_l0
    np.testing.assert_allclose(made.values[:, 0], corners[:, 0] + corners[:, 1] / 1000)


def test_scores_in_another_order_than_the_patches_are_refused() -> None:
    with pytest.raises(ModelError, match="does not return scores in the order of the patches: 6 patches in reverse"):
        infer(CustomModel(Sorted(), "Sorted"), features())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lab_models", "must read package.module:Class"),
        ("lab_models:", "must read package.module:Class"),
        ("__import__('os'):Class", "is not the name of a Python module"),
        (
            "no_such_package.models:Net",
            r"cannot import no_such_package.models \(ModuleNotFoundError.*PYTHONPATH",
        ),
        ("missing.py:Net", "there is no Python file missing.py"),
        ("lab_models:Absent", "has no class 'Absent'; it has Short, Broken"),
        ("lab_models:Nothing", "neither forward nor patch_scores"),
        ("lab_models:Needs", r"failed with TypeError.*init_args: \(depth\)"),
        ("lab_models:BadKind", "score_kind is 'wishes'; choose from"),
        ("lab_models:Width", "in_dim is 'wide'; a whole number is needed, or leave it out"),
    ],
)
def test_a_class_that_cannot_be_had_says_why(module: str, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_custom_model(name)


def test_a_checkpoint_that_does_not_fit_lists_the_keys(module: str, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="unexpected: weight"):
        load_custom_model(f"{module}:Milly", None, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="give it the checkpoint's path in init_args"):
        load_custom_model(f"{module}:Plain", None, tmp_path / "w.pt")


def test_a_subclass_of_milmodel_is_taken_as_it_is() -> None:
    model = load_custom_model("mil_heatmaps.models.abmil:ABMIL", {"in_dim": 4, "embed_dim": 3, "attn_dim": 2})
    prediction, scores = infer(model, features(), scores="class_contribution")
    assert prediction is not None
    assert scores["class_contribution"].values.shape == (6, 2)


class Measured(nn.Module):
    def forward(self, h: torch.Tensor, coords_um: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(1, 2), coords_um[:, :1].float()


def test_coords_um_are_micrometres_and_a_slide_without_a_resolution_is_refused() -> None:
    model, bag = CustomModel(Measured(), "Measured"), bag_of_six()
    with pytest.raises(ModelError, match=r"Measured takes the places of patches in micrometres.*mpp.*slide_mpp"):
        model.explain(bag)
    seen = model.explain(replace(bag, coords_um=bag.grid.coords_l0 * 0.5))
    np.testing.assert_array_equal(seen.scores["attention"].values[:, 0], bag.grid.coords_l0[:, 0] * 0.5)
    bare = model.explain(bag.features, coords_l0=bag.grid.coords_l0, mpp=0.5)
    np.testing.assert_array_equal(bare.scores["attention"].values, seen.scores["attention"].values)


def test_patches_in_the_place_of_others_bring_their_own_micrometres() -> None:
    bag = bag_of_six()
    bag = replace(bag, coords_um=bag.grid.coords_l0 * 0.5)
    corners = bag.grid.coords_l0
    extra = replace(bag, grid=replace(bag.grid, coords_l0=corners + 3), coords_um=corners * 0.5 + 1)
    made = score_in_place(CustomModel(Measured(), "M"), bag, extra, np.zeros(len(bag), np.int64), "attention")
    np.testing.assert_array_equal(made.values[:, 0], corners[:, 0] * 0.5 + 1)
