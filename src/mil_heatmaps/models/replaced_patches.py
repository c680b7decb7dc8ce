"""Score extra patches by a model whose scores depend on the whole bag: each extra patch replaces one of the bag.

Adding the patches of a finer grid to the bag would count the same tissue several times, and a few of them alone would
lack the rest of the slide. So the extra patches are scored phase by phase. The patches of a phase overlap no more than
the bag's own do. Each takes the place of the patch of the bag that it covers most. Where the phase has no patch, the
bag's own patch stays. The model then sees as many patches as before, of the same tissue, in the same order, and the
scores are on the scale of the bag's.

Names ending ``_l0`` are level-0 pixels.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.slides.patch_grid import PatchGrid

SHARED_KINDS = frozenset(
    {"attention_softmax", "attention_mean", "attention_rollout", "nystrom_attention", "class_contribution"}
)
"""Kinds whose sum over the patches is fixed, so that more patches mean smaller scores."""

_TIE_L0 = 0.25


def score_in_place(
    model: MILModel,
    bag: PatchFeatures,
    extra: PatchFeatures,
    phases: npt.NDArray[np.int64],
    score: str,
    class_names: Sequence[str] | None = None,
) -> PatchScores:
    """Return `score` of every patch of `extra`, on the scale it has in `bag`.

    Parameters
    ----------
    phases : (N,) int64
        Phase of each extra patch; the model runs once per phase.
    """
    place, replaces = places_in_bag(bag.grid, extra.grid)
    own = np.arange(len(bag))
    values: npt.NDArray[np.float32] | None = None
    for phase in np.unique(phases):
        rows = np.flatnonzero(phases == phase)
        stays = np.ones(len(bag), bool)
        stays[place[rows][replaces[rows]]] = False
        # Patches on tissue without patches of the bag come after the nearest patch.
        keys = np.concatenate([place[rows] + np.where(replaces[rows], 0.0, 0.5), own[stays]])
        order = np.argsort(keys, kind="stable")
        features = np.concatenate([extra.features[rows], bag.features[stays]])[order]
        coords_l0 = np.concatenate([extra.grid.coords_l0[rows], bag.grid.coords_l0[stays]])[order]
        coords_um = None
        if bag.coords_um is not None and extra.coords_um is not None:
            coords_um = np.concatenate([extra.coords_um[rows], bag.coords_um[stays]])[order]
        grid = replace(bag.grid, coords_l0=coords_l0)
        seen = replace(bag, grid=grid, features=features, coords_um=coords_um)
        scored = model.patch_scores(seen, score, class_names)
        back = np.argsort(order)[: len(rows)]
        if values is None:
            values = np.empty((len(extra), scored.values.shape[1]), np.float32)
        values[rows] = scored.values[back]
        if scored.kind in SHARED_KINDS:
            values[rows] *= np.float32(len(features) / len(bag))
    if values is None:
        raise ValueError("there are no extra patches to score")
    return replace(scored, grid=extra.grid, values=values)


def places_in_bag(bag: PatchGrid, extra: PatchGrid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return for each extra patch the index of the bag's nearest patch, (N,), and whether it takes its place, (N,).

    An extra patch does so if its centre lies in the cell, one step wide, around the nearest patch's centre.
    """
    from scipy.spatial import cKDTree

    step = np.array(bag.step_l0, np.float64)
    centres = (bag.coords_l0 + np.array(bag.size_l0) / 2) / step
    # An extra patch half way between two patches takes the place of the first: a small shift breaks the tie.
    wanted = (extra.coords_l0 + np.array(extra.size_l0) / 2 - _TIE_L0) / step
    distance, nearest = cKDTree(centres).query(wanted, p=np.inf)
    return np.asarray(nearest, np.int64), np.asarray(distance <= 0.5)
