"""The six explanations of a bag, each after a look at what it costs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Answers, Slopes
from mil_heatmaps.explain.estimates import check_cost, check_window, choose_window, cost_of
from mil_heatmaps.explain.gradients import gradient_x_input, integrated_gradients
from mil_heatmaps.explain.lattice import Lattice
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.removal import Score, leave_one_out, mask_regression, occlusion, patch_groups, single
from mil_heatmaps.explain.rows import Floats, Rows
from mil_heatmaps.explain.settings import Settings, baseline_numbers
from mil_heatmaps.explain.watch import SILENT, Watch


@dataclass(frozen=True)
class Asked:
    """A model and a bag, ready for questions.

    Attributes
    ----------
    rows : Rows
    answers : Answers
    slopes : () -> Slopes
        Raises a `ModelError` where the model gives no gradients, or they do not fit the memory.
    title : str
        The model's name, for messages.
    seconds : float or None
        What one forward of the bag took; None where the first question takes it.
    """

    rows: Rows
    answers: Answers
    slopes: Callable[[], Slopes]
    title: str = "the model"
    seconds: float | None = None


def explain_scores(
    asked: Asked,
    names: Sequence[str],
    outputs: Outputs,
    settings: Settings,
    lattice: Lattice | None = None,
    watch: Watch = SILENT,
) -> dict[str, Score]:
    """Return the explanations `names` of the bag.

    Parameters
    ----------
    lattice : Lattice, optional
        Needed by occlusion; mask_regression makes groups of squares with it, of runs without.

    Raises
    ------
    ModelError
        What a score needs is not there, or it takes more forwards than allowed: before any is begun.
    """
    with torch.no_grad():
        seconds = _one_forward(asked)
        if "occlusion" in names and lattice is None:
            raise ModelError("occlusion needs coordinates: give PatchFeatures, or coords_l0 and step_l0")
        window, stride = _window(settings, lattice, asked.answers.exact) if "occlusion" in names else (1, 1)
        passes = asked.answers.passes
        windows = lattice.count_windows(window, stride) if lattice and "occlusion" in names else None
        costs = [cost_of(name, len(asked.rows), settings, passes=passes, windows=windows) for name in names]
        for cost in costs:
            check_cost(cost, settings, seconds)
        watch.foresee(costs, seconds)
        slopes = asked.slopes() if {"gradient_x_input", "integrated_gradients"} & set(names) else None
        path = Path(asked.rows, _baseline(asked.rows, settings)) if slopes else None
        made: dict[str, Score] = {}
        for name in names:
            here = watch.named(name)
            if name == "leave_one_out":
                made[name] = leave_one_out(asked.answers, outputs, here)
            elif name == "single":
                made[name] = single(asked.answers, outputs, here)
            elif name == "occlusion" and lattice:
                made[name] = occlusion(asked.answers, outputs, lattice, window, stride, here)
            elif name == "mask_regression":
                labels = patch_groups(len(asked.rows), settings.groups, lattice)
                made[name] = mask_regression(
                    asked.answers,
                    outputs,
                    labels,
                    masks=settings.masks,
                    ridge=settings.ridge,
                    seed=settings.seed,
                    watch=here,
                )
            elif name == "gradient_x_input" and slopes:
                made[name] = gradient_x_input(slopes, asked.rows, outputs, here)
            elif slopes and path:
                made[name] = integrated_gradients(
                    slopes, path, outputs, steps=settings.steps, max_steps=settings.max_steps, watch=here
                )
    return made


def _window(settings: Settings, lattice: Lattice | None, exact: bool) -> tuple[int, int]:
    if lattice is None:
        return 1, 1
    window, stride = choose_window(lattice, settings, exact=exact)
    check_window(window, stride)
    return window, stride


def _baseline(rows: Rows, settings: Settings) -> torch.Tensor | None:
    numbers = baseline_numbers(settings.baseline, rows.width)
    if numbers is not None:
        return torch.from_numpy(numbers).to(device=rows.device, dtype=rows.dtype)
    return rows.mean() if settings.baseline == "mean" else None


def _one_forward(asked: Asked) -> float:
    """Return the seconds of one forward, after checking what it says."""
    start = time.perf_counter()
    first = asked.answers.full()
    seconds = time.perf_counter() - start
    check_finite(first, asked.title)
    return seconds if asked.seconds is None else asked.seconds


def check_finite(logits: Floats, title: str) -> None:
    """Raise a `ModelError` if there are NaN or infinite numbers among the logits."""
    if bad := int((~np.isfinite(logits)).sum()):
        raise ModelError(
            f"the model {title} gave {bad} NaN or infinite values of {logits.size} in its logits; "
            "check the checkpoint's weights and the features"
        )


def check_steady(first: Floats, second: Floats, title: str) -> None:
    """Raise a `ModelError` for a model whose forward changes from call to call, beyond rounding."""
    off = float(np.abs(first - second).max())
    if off > 1e-4 * max(1.0, float(np.abs(first).max())):
        raise ModelError(
            f"two forward passes of {title} on the same patches differ by {off:.2g} (dropout left on, or random "
            "groups), so differences between them mean nothing; make it give the same answer each time"
        )
