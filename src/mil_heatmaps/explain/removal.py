"""Scores by removing patches, or all others: leave_one_out, single, occlusion, mask_regression."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Answers, Sets
from mil_heatmaps.explain.lattice import Lattice
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.rows import Bools, Floats, Ints
from mil_heatmaps.explain.watch import SILENT, Watch


@dataclass(frozen=True)
class Score:
    """A score of each patch and target, with the checks stored beside it.

    Attributes
    ----------
    values : (N, K) float64
    checks : dict
        Plain numbers and lists that JSON can hold.
    """

    values: Floats
    checks: dict[str, Any] = field(default_factory=dict)


def leave_one_out(answers: Answers, outputs: Outputs, watch: Watch = SILENT) -> Score:
    """Return f(X) - f(X without i): what the prediction loses without the patch; NaN for a bag of one patch."""
    n = len(answers)
    if n == 1:
        return Score(np.full((1, len(outputs)), np.nan))
    left = answers.without(Sets.singles(n), watch)
    return Score(outputs.of(answers.full()) - outputs.of(left))


def single(answers: Answers, outputs: Outputs, watch: Watch = SILENT) -> Score:
    """Return f({x_i}): the model's output for the patch as a whole slide."""
    return Score(outputs.of(answers.alone(watch)))


def occlusion(
    answers: Answers, outputs: Outputs, lattice: Lattice, window: int, stride: int, watch: Watch = SILENT
) -> Score:
    """Return the mean of f(X) - f(X without W) over the windows W that contain the patch.

    A window that holds the whole bag is skipped; a patch in no other window is NaN.
    """
    n = len(answers)
    every = lattice.windows(window, stride)
    sizes = np.diff(every.starts)
    used = np.flatnonzero(sizes < n)
    sets = _chosen(every, sizes, used)
    total, times = np.zeros((n, len(outputs))), np.zeros(n)
    if len(sets):
        lost = outputs.of(answers.full()) - outputs.of(answers.without(sets, watch))
        owner = np.repeat(np.arange(len(sets)), np.diff(sets.starts))
        times = np.bincount(sets.rows, minlength=n).astype(np.float64)
        for k, column in enumerate(lost.T):
            total[:, k] = np.bincount(sets.rows, column[owner], n)
    with np.errstate(invalid="ignore"):
        values = total / times[:, None]
    return Score(values, {"windows": len(every), "window": window, "stride": stride})


def _chosen(sets: Sets, sizes: Ints, used: Ints) -> Sets:
    if len(used) == len(sets):
        return sets
    stays = np.repeat(np.isin(np.arange(len(sets)), used), sizes)
    return Sets(np.concatenate([[0], np.cumsum(sizes[used])]).astype(np.int64), sets.rows[stays])


def patch_groups(n: int, most: int, lattice: Lattice | None) -> Ints:
    """Return the group (N,) of each patch: one group per patch, per square of the lattice, or per run in file order."""
    if n <= most:
        return np.arange(n)
    return np.arange(n) * most // n if lattice is None else lattice.squares(most)


def random_masks(masks: int, groups: int, seed: int) -> Bools:
    """Return (masks, G) random halves of the groups; the second half of the masks are the complements of the first.

    Raises
    ------
    ModelError
        The number is odd, or below 2 G.
    """
    if masks % 2 or masks < 2 * groups:
        raise ModelError(
            f"masks must be even and at least twice the {groups} groups, got {masks}; "
            f"choose {2 * groups} or more, or fewer groups"
        )
    half = np.random.default_rng(seed).random((masks // 2, groups)) < 0.5
    return np.concatenate([half, ~half])


def mask_regression(
    answers: Answers,
    outputs: Outputs,
    labels: Ints,
    *,
    masks: int = 512,
    ridge: float = 0.01,
    seed: int = 0,
    watch: Watch = SILENT,
) -> Score:
    """Return each patch's share of its group's weight in a linear surrogate over random halves of the bag.

    Parameters
    ----------
    labels : (N,) ints
        The group of each patch; all of 0 ... G - 1 occur.
    """
    groups = int(labels.max()) + 1
    keep = random_masks(masks, groups, seed)
    checks: dict[str, Any] = {"masks": 0, "groups": groups, "seed": seed, "r2": [float("nan")] * len(outputs)}
    if len(answers) == 1:
        return Score(np.full((1, len(outputs)), np.nan), checks)
    keep = keep[keep.any(axis=1)]
    y = outputs.of(answers.kept(labels[None], keep, watch)[0])
    weights, r2 = ridge_weights(keep, y, ridge)
    values = weights[labels] / np.bincount(labels)[labels][:, None]
    return Score(values, checks | {"masks": len(keep), "r2": r2.tolist()})


def ridge_weights(keep: Bools, y: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Return weights (G, K) of a ridge regression of `y` (M, K) on masks (M, G) written as +-1/2, and r2 (K,)."""
    z = keep - 0.5
    z, y = z - z.mean(axis=0), y - y.mean(axis=0)
    weights = np.linalg.lstsq(z.T @ z + ridge * len(z) / 4 * np.eye(z.shape[1]), z.T @ y, rcond=None)[0]
    spread = (y**2).sum(axis=0)
    left = ((y - z @ weights) ** 2).sum(axis=0)
    return weights, np.where(spread > 0, 1 - left / np.where(spread > 0, spread, 1), 1.0)
