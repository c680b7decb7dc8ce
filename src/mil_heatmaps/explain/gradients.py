"""Scores by derivatives: gradient_x_input, integrated_gradients and whether it adds up."""

from typing import Any

import numpy as np

from mil_heatmaps.explain.answers import Slopes
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.removal import Score
from mil_heatmaps.explain.rows import Floats, Rows
from mil_heatmaps.explain.watch import SILENT, Watch

TOLERANCE = 0.01
"""Largest allowed gap, as a share, between the sum over a map and the difference it explains."""


def gradient_x_input(slopes: Slopes, rows: Rows, outputs: Outputs, watch: Watch = SILENT) -> Score:
    """Return sum_d x_id df/dx_id at the bag, with respect to the stored features."""
    made = Score(slopes.along(Path(rows), 1.0, outputs))
    watch.tell(watch.what, 1, 1)
    return made


def integrated_gradients(
    slopes: Slopes, path: Path, outputs: Outputs, *, steps: int = 32, max_steps: int = 512, watch: Watch = SILENT
) -> Score:
    """Return the gradients along the path from the baseline, by a Gauss-Legendre rule, times each patch's displacement.

    Steps are doubled up to `max_steps` until the map adds up to the difference it explains for every target.
    """
    logits = np.stack([slopes.value(path, 1.0), slopes.value(path, 0.0)])
    difference = np.subtract(*outputs.of(logits))
    while True:
        values = _rule(slopes, path, outputs, steps, watch.named(f"{steps} steps"))
        residual = incompleteness(values, difference)
        if (residual <= TOLERANCE).all() or steps >= max_steps:
            break
        steps = min(2 * steps, max_steps)
    checks: dict[str, Any] = {
        "steps": steps,
        "residual": residual.tolist(),
        "complete": (residual <= TOLERANCE).tolist(),
        "difference": difference.tolist(),
    }
    return Score(values, checks)


def incompleteness(values: Floats, difference: Floats) -> Floats:
    """Return how far the sum of each column (N, K) is from its difference (K,), as a share.

    The share is of the difference, or of a tenth of the sum of absolute values if that is larger.
    """
    off = np.abs(values.sum(axis=0) - difference)
    scale = np.maximum(np.abs(difference), 0.1 * np.abs(values).sum(axis=0))
    return np.asarray(off / np.where(scale > 0, scale, 1))


def steps_at_most(steps: int, max_steps: int) -> int:
    """Return how many nodes are evaluated if doubling never suffices."""
    total = steps
    while steps < max_steps:
        steps = min(2 * steps, max_steps)
        total += steps
    return total


def _rule(slopes: Slopes, path: Path, outputs: Outputs, steps: int, watch: Watch) -> Floats:
    """Return the sum over the nodes, resuming where an earlier call was stopped."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    values = np.zeros((len(path.rows), len(outputs)))
    first = 0
    if (earlier := watch.load(watch.what)) is not None and earlier["values"].shape == values.shape:
        values, first = np.array(earlier["values"]), int(earlier["done"])
    at = [first]
    keeper = watch.keep(steps, lambda: {"values": values, "done": np.array(at[0])})
    for m in range(first, steps):
        values += weights[m] / 2 * slopes.along(path, (nodes[m] + 1) / 2, outputs)
        at[0] = m + 1
        keeper.done(m + 1)
    return values
