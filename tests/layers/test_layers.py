"""Bags, neighbours and shapes: what the passes over a long bag are made of."""

import numpy as np
import pytest
import torch

from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.layers.neighbours import top_neighbours
from mil_heatmaps.layers.shapes import classes_of, count_layers, mlp_layers


def test_a_model_that_writes_into_its_input_leaves_the_features_alone() -> None:
    features = np.ones((5, 3), np.float32)
    for given in (features, torch.from_numpy(features)):
        bag = Bag(given, device=torch.device("cpu"), dtype=torch.float32)
        bag.all().mul_(0)
        assert np.array_equal(features, np.ones((5, 3)))


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 300, 5000])
def test_neighbours_are_those_of_a_full_top_k(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    heads, tails = torch.randn(40, 8, generator=generator), torch.randn(n, 8, generator=generator)
    k = min(6, n)
    expected = torch.topk(heads.double() @ tails.double().T, k).indices
    assert torch.equal(top_neighbours(heads.double(), tails.double(), k), expected)


def test_layers_are_counted_up_to_the_first_gap() -> None:
    shapes = {"blocks.0.w": (2,), "blocks.1.w": (2,), "blocks.3.w": (2,), "patch_embed.0.weight": (1, 2)}
    assert count_layers(shapes, "blocks.{}.w") == 2
    assert count_layers(shapes, "layers.{}.w") == 0
    assert mlp_layers(shapes | {"patch_embed.3.weight": (1, 1), "patch_embed.4.weight": (1, 1)}) == 2
    assert classes_of(shapes) == 0
    assert classes_of({"classifier.weight": (3, 8)}) == 3
