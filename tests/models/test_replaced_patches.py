"""Extra patches scored in the places of the bag's own, by models whose scores depend on the whole bag."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.dsmil import DSMIL
from mil_heatmaps.models.ilra import ILRA
from mil_heatmaps.models.replaced_patches import places_in_bag, score_in_place
from mil_heatmaps.models.rrt import RRT
from mil_heatmaps.models.transformer import Transformer
from mil_heatmaps.models.transmil import TransMIL
from mil_heatmaps.models.wikg import WiKG
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.refined_grid import RefinedGrid, refine_grid
from mil_heatmaps.stages.fine import phase_numbers

WIDTH = 8
SIDE = 64


def training_grid() -> PatchGrid:
    """Two pieces of tissue with grids of their own, in an order that is nobody's."""
    one = [(x * SIDE, y * SIDE) for x in range(6) for y in range(5)]
    two = [(1000 + x * SIDE, 13 + y * SIDE) for x in range(3) for y in range(4)]
    coords = np.random.default_rng(3).permutation(np.array(one + two, np.int64))
    return PatchGrid(coords, (SIDE, SIDE), (SIDE, SIDE))


def features_at(grid: PatchGrid) -> PatchFeatures:
    """Features that are a smooth function of the place, so that neighbours are alike."""
    x, y = (grid.coords_l0 / 200).T
    waves = [np.sin(x * (1 + i)) * np.cos(y * (2 + i)) + 0.1 * i for i in range(WIDTH)]
    return PatchFeatures(grid, np.stack(waves, 1).astype(np.float32), "stub", Path("stub.h5"))


def models() -> dict[str, tuple[MILModel, str]]:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"in_dim": WIDTH, "num_classes": 2}
    made: list[tuple[str, MILModel, str]] = [
        ("abmil", ABMIL(**sizes, embed_dim=8, attn_dim=8), "attention_softmax"),
        ("dsmil", DSMIL(**sizes, embed_dim=8), "attention"),
        ("ilra", ILRA(**sizes, embed_dim=8, num_heads=2), "attention"),
        ("rrt", RRT(**sizes, embed_dim=64, mlp_dim=64), "attention"),
        ("transformer", Transformer(**sizes, embed_dim=8, num_heads=2), "attention"),
        ("transmil", TransMIL(**sizes, embed_dim=16), "attention"),
        ("wikg", WiKG(**sizes, embed_dim=8), ""),
    ]
    return {name: (model.eval(), score or model.default_score) for name, model, score in made}


MODELS = models()


def refined(overlap: float = 0.5) -> tuple[PatchFeatures, RefinedGrid]:
    bag = training_grid()
    return features_at(bag), refine_grid(bag, overlap)


def take(features: PatchFeatures, rows: npt.NDArray[Any]) -> PatchFeatures:
    grid = features.grid
    part = PatchGrid(grid.coords_l0[rows], grid.size_l0, grid.step_l0)
    return PatchFeatures(part, features.features[rows], features.encoder, features.source)


def by_corner(scores: npt.NDArray[np.float32], grid: PatchGrid) -> dict[tuple[int, ...], npt.NDArray[np.float32]]:
    return {tuple(corner): row for corner, row in zip(grid.coords_l0.tolist(), scores, strict=True)}


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.7, 0.75])
def test_each_phase_leaves_the_bag_as_large_as_it_was(overlap: float) -> None:
    bag, fine = refined(overlap)
    place, replaces = places_in_bag(bag.grid, fine.grid)
    assert replaces.all()
    for phase in range(fine.parts**2):
        taken = place[fine.phases == phase]
        assert len(np.unique(taken)) == len(taken)


@pytest.mark.parametrize("name", MODELS)
def test_the_training_patches_keep_the_scores_of_the_bag(name: str) -> None:
    model, score = MODELS[name]
    bag, fine = refined()
    in_bag = by_corner(model.patch_scores(bag, score).values, bag.grid)
    in_map = by_corner(score_in_place(model, bag, features_at(fine.grid), fine.phases, score).values, fine.grid)
    for corner, values in in_bag.items():
        np.testing.assert_array_equal(in_map[corner], values)


@pytest.mark.parametrize("name", MODELS)
def test_a_region_is_scored_with_the_rest_of_the_slide_around_it(name: str) -> None:
    """The training patches of the region have the slide's scores, which a bag of the region alone does not give."""
    model, score = MODELS[name]
    bag, fine = refined()
    region = np.flatnonzero((fine.grid.coords_l0 < 150).all(axis=1))
    extra = take(features_at(fine.grid), region)
    in_map = by_corner(score_in_place(model, bag, extra, fine.phases[region], score).values, extra.grid)
    in_bag = by_corner(model.patch_scores(bag, score).values, bag.grid)
    shared = [corner for corner in in_bag if corner in in_map]
    assert len(shared) == 9
    np.testing.assert_array_equal([in_map[c] for c in shared], [in_bag[c] for c in shared])
    alone = model.patch_scores(take(bag, np.flatnonzero((bag.grid.coords_l0 < 150).all(axis=1))), score).values
    assert not np.allclose(np.sort(alone, axis=0), np.sort([in_bag[c] for c in shared], axis=0), rtol=1e-3)


def test_shares_are_on_the_scale_of_the_bag_although_a_phase_has_fewer_patches() -> None:
    """Equal patches everywhere: each has 1 / N of the attention, in the bag as in every phase of the map."""
    model, score = MODELS["abmil"]
    grid = training_grid()
    flat = PatchFeatures(grid, np.ones((len(grid), WIDTH), np.float32), None, Path("flat.h5"))
    fine = refine_grid(grid, 0.5)
    extra = PatchFeatures(fine.grid, np.ones((len(fine), WIDTH), np.float32), None, Path("flat.h5"))
    assert np.bincount(fine.phases).min() < len(grid)
    values = score_in_place(model, flat, extra, fine.phases, score).values
    np.testing.assert_allclose(values, 1 / len(grid), rtol=1e-5)


def test_patches_of_tissue_the_bag_lacks_are_added_and_shares_scaled() -> None:
    model, score = MODELS["abmil"]
    grid = training_grid()
    flat = PatchFeatures(grid, np.ones((len(grid), WIDTH), np.float32), None, Path("flat.h5"))
    far = PatchGrid(np.array([[3000, 3000], [3064, 3000]], np.int64), (SIDE, SIDE), (32, 32))
    assert not places_in_bag(grid, far)[1].any()
    extra = PatchFeatures(far, np.ones((2, WIDTH), np.float32), None, Path("flat.h5"))
    values = score_in_place(model, flat, extra, np.zeros(2, np.int64), score).values
    np.testing.assert_allclose(values, 1 / len(grid), rtol=1e-5)


@pytest.mark.parametrize(("step", "phases_a_side"), [(32, 2), (48, 2), (22, 3), (21, 3), (16, 4), (64, 1)])
def test_phases_of_clams_own_grid_have_no_overlap_but_by_rounding(step: int, phases_a_side: int) -> None:
    """Also from a piece's own corner, and where the step does not divide the patch."""
    corners = [(x, y) for x in range(37, 900, step) for y in range(101, 700, step)]
    grid = PatchGrid(np.array(corners, np.int64), (SIDE, SIDE), (step, step))
    phases = phase_numbers(grid)
    assert len(np.unique(phases)) == phases_a_side**2
    for phase in np.unique(phases):
        coords = grid.coords_l0[phases == phase]
        for axis in (0, 1):
            assert np.diff(np.unique(coords[:, axis])).min() >= SIDE - 1
