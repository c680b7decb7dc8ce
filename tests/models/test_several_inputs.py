"""Models with several bags and numbers beside them: each bag is explained while the others stay as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.explain.outputs import choose_outputs
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.custom import takes_bags
from mil_heatmaps.models.several_inputs import SeveralInputsModel, SlideInputs, effects_words
from mil_heatmaps.slides.patch_grid import PatchGrid

W = np.random.default_rng(9).normal(size=5).astype(np.float32)


class Two(nn.Module):
    """A value: the mean of one bag, twice that of the other, and the genes."""

    num_classes = 1
    in_dim = {"x20": 5, "x5": 5}  # noqa: RUF012  (as a user writes it)

    def forward(self, bags: Any, coords: Any, extra: Any) -> Any:
        w = torch.from_numpy(W)
        assert all(len(coords[name]) == bags[name].shape[1] for name in bags)
        value = (bags["x20"][0] @ w).mean() + 2 * (bags["x5"][0] @ w).mean() + extra["genes"].sum()
        return value.reshape(1, 1), {name: bag[0, :, 0].softmax(0) for name, bag in bags.items()}


def bag(columns: int, size: int, seed: int) -> PatchFeatures:
    cells = np.array([(x, y) for y in range(columns) for x in range(columns)], np.int64)
    values = np.random.default_rng(seed).normal(size=(len(cells), 5)).astype(np.float32)
    return PatchFeatures(PatchGrid(cells * size, (size, size), (size, size)), values, None, Path(f"{seed}.h5"))


INPUTS = SlideInputs({"x20": bag(8, 256, 1), "x5": bag(2, 1024, 2)}, {"genes": np.array([0.25, -1.5], np.float32)})


def test_each_bag_is_explained_with_the_others_fixed_and_by_its_closed_form() -> None:
    model, task = SeveralInputsModel(Two(), "lab:Two"), {"task": "regression"}
    for name, factor in (("x20", 1), ("x5", 2)):
        x = INPUTS.bags[name].features.astype(np.float64) @ W
        with model.on_slide(INPUTS, name):
            found = model.explain(INPUTS.bags[name], ["leave_one_out", "gradient_x_input"], settings=task)
            own = model.patch_scores(INPUTS.bags[name], "attention")
        expected = factor * (x - x.mean()) / (len(x) - 1)
        np.testing.assert_allclose(found.scores["leave_one_out"].values[:, 0], expected, atol=2e-6)
        np.testing.assert_allclose(found.scores["gradient_x_input"].values[:, 0], factor * x / len(x), atol=1e-6)
        np.testing.assert_allclose(own.values.sum(), 1, rtol=1e-5)


def test_what_each_input_adds_is_what_the_prediction_loses_without_it() -> None:
    model = SeveralInputsModel(Two(), "lab:Two")
    outputs = choose_outputs(np.zeros(1), ("score",), task="regression")
    with model.on_slide(INPUTS):
        effects = model.effects(outputs)
    means = {name: (one.features.astype(np.float64) @ W).mean() for name, one in INPUTS.bags.items()}
    assert list(effects) == ["x20", "x5", "genes"]
    np.testing.assert_allclose(
        [float(value[0]) for value in effects.values()], [means["x20"], 2 * means["x5"], -1.25], atol=1e-6
    )
    told = effects_words({"x20": np.array([0.12]), "genes": np.array([0.31]), "x5": np.array([-0.02])}, ["score"])
    assert told == "what each input adds to score: genes: +0.31, x20: +0.12, x5: -0.02"


def test_faithfulness_is_measured_of_the_asked_bag() -> None:
    model = SeveralInputsModel(Two(), "lab:Two")
    with model.on_slide(INPUTS, "x20"):
        measured = model.faithfulness(INPUTS.bags["x20"], ["leave_one_out"],
                                      settings={"task": "regression", "steps": 5, "random_orders": 10})  # fmt: skip
    assert measured.as_dict()["maps"]["leave_one_out"]["verdict"] == "better than random"


class Restless(Two):
    def forward(self, bags: Any, coords: Any, extra: Any) -> Any:
        return super().forward(bags, coords, extra)[0] + torch.rand(1)


def test_every_misuse_has_its_sentence() -> None:
    model = SeveralInputsModel(Two(), "lab:Two")
    with pytest.raises(ModelError, match="takes several bags of a slide: ask it within"):
        model.explain(INPUTS.bags["x20"], [])
    with pytest.raises(ModelError, match="is not given a bag 'x40'; choose from x20, x5"), \
            model.on_slide(INPUTS, "x40"):
        pass
    with pytest.raises(ModelError, match="needs a bag 'x5'; h5_dir gives x20"), \
            model.on_slide(SlideInputs({"x20": INPUTS.bags["x20"]})):
        pass
    narrow = PatchFeatures(INPUTS.bags["x5"].grid, np.zeros((4, 3), np.float32), None, Path("n.h5"))
    with pytest.raises(FeatureError, match="features of the bag x5 are 3 wide, lab:Two expects 5"), \
            model.on_slide(SlideInputs({**INPUTS.bags, "x5": narrow})):
        pass
    restless = SeveralInputsModel(Restless(), "lab:Restless")
    with restless.on_slide(INPUTS), pytest.raises(ModelError, match=r"two forward passes of lab:Restless .* differ"):
        restless.explain(INPUTS.bags["x20"], ["leave_one_out"], settings={"task": "regression"})
    with restless.on_slide(INPUTS), pytest.raises(ModelError, match=r"two forward passes of lab:Restless .* differ"):
        restless.effects(choose_outputs(np.zeros(1), ("score",), task="regression"))


class NoNumbers(nn.Module):
    def forward(self, bags: Any) -> Any:
        return bags["x20"].mean(1)[:, :2]


def test_numbers_that_the_class_has_no_argument_for_are_refused() -> None:
    model = SeveralInputsModel(NoNumbers(), "lab:NoNumbers")
    with pytest.raises(ModelError, match="is given genes, but its forward has no argument extra"), \
            model.on_slide(INPUTS):
        pass
    with model.on_slide(SlideInputs(INPUTS.bags)):
        found = model.explain(INPUTS.bags["x20"], ["leave_one_out"])
    assert found.scores["leave_one_out"].values.shape == (64, 2)


def test_a_class_that_takes_one_bag_is_told_from_one_that_takes_several() -> None:
    assert takes_bags(Two())
    assert not takes_bags(nn.Linear(2, 2))
