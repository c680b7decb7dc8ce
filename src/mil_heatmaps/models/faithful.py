"""How faithful maps of a bag are to a model: `MILModel.faithfulness`."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import TASKS_WITH_CHANCES
from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.evidence import AreaOf, area_mm2
from mil_heatmaps.explain.faithfulness import Faithfulness, measure
from mil_heatmaps.explain.faithfulness_plan import Plan
from mil_heatmaps.explain.outputs import choose_outputs
from mil_heatmaps.explain.scores import check_finite
from mil_heatmaps.explain.sentences import check_sentences
from mil_heatmaps.explain.settings import settings_from
from mil_heatmaps.explain.watch import SILENT, Watch
from mil_heatmaps.models.explaining import Explainable, outputs_of, places_of, question
from mil_heatmaps.models.explanation import Explanation, Features, grid_and_values
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.select import column_of_target
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.words import reason_of

_PLAN = ("steps", "random_orders", "seed", "max_minutes")
_WHAT = ("output", "task")


def faithfulness(
    model: Explainable,
    explain: Callable[[list[str], int | str], Explanation],
    features: Features,
    maps: Sequence[str] | Mapping[str, Any],
    class_names: Sequence[str] | None,
    *,
    target: str | int = "predicted",
    level: Any = "quick",
    settings: Mapping[str, Any] | None = None,
    drawn: str | None = None,
    mpp: float | None = None,
    coords_l0: Any = None,
    remarks: Mapping[str, list[str]] | None = None,
    watch: Watch | None = None,
) -> Faithfulness:
    """Return the measurement; see `MILModel.faithfulness`.

    Parameters
    ----------
    explain : (names, target) -> Explanation
        Makes the maps that are given by name.
    """
    given = dict(settings or {})
    if unknown := [key for key in given if key not in (*_PLAN, *_WHAT)]:
        raise ModelError(f"unknown setting {unknown[0]!r} of faithfulness; choose from {[*_PLAN, *_WHAT]}")
    plan = Plan(level, **{key: given[key] for key in _PLAN if key in given})
    chosen = settings_from({key: given[key] for key in _WHAT if key in given})
    grid, values = grid_and_values(features)
    with question(model, values, places_of(features, coords_l0, mpp)) as asked:
        start = time.perf_counter()
        logits = asked.answers.full()
        seconds = time.perf_counter() - start if asked.seconds is None else asked.seconds
        check_finite(logits, model.title)
        outputs = outputs_of(model, logits, class_names, chosen, target)
        if len(outputs) != 1:
            raise ModelError(f"faithfulness is measured of one target, got {list(outputs.targets)}")
        every = outputs_of(model, logits, class_names, chosen, "all")
        index = every.targets.index(outputs.targets[0])
        probability = None
        if chosen.task in TASKS_WITH_CHANCES and model.chances_of_logits:
            probability = choose_outputs(
                logits, every.targets, task=every.task, output="probability", targets=index,
                independent=every.independent,
            )  # fmt: skip
        made, found = _maps(maps, explain, every.targets, index)
        return measure(
            asked.answers,
            made,
            outputs,
            probability,
            plan,
            drawn=drawn,
            target_index=index,
            area=area_function(grid, mpp),
            seconds_a_forward=seconds,
            remarks=found | dict(remarks or {}),
            watch=watch or SILENT,
        )


def area_function(grid: PatchGrid | None, mpp: float | None) -> AreaOf:
    """Return a function for the area of patches in mm²; it gives None without a grid or `mpp`."""
    if grid is None or mpp is None:
        return lambda patches: None
    return lambda patches: area_mm2(grid.coords_l0[patches], grid.size_l0, mpp)


def _maps(
    maps: Sequence[str] | Mapping[str, Any],
    explain: Callable[[list[str], int | str], Explanation],
    targets: Sequence[str],
    index: int,
) -> tuple[dict[str, npt.NDArray[np.floating]], dict[str, list[str]]]:
    """Return the numbers of each map, and the remarks on it."""
    if isinstance(maps, Mapping):
        numbers = {
            name: _numbers(name, column_of_target(v, targets, index) if isinstance(v, PatchScores) else v)
            for name, v in maps.items()
        }
        return {name: v[:, 0] if v.ndim == 2 and v.shape[1] == 1 else v for name, v in numbers.items()}, {}
    names = [maps] if isinstance(maps, str) else list(maps)
    found = explain(names, index)
    made = {name: column_of_target(found.scores[name], targets, index) for name in names}
    return made, {name: check_sentences(name, found.checks.get(name, {})) for name in names}


def _numbers(name: str, values: Any) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the map {name!r} holds no numbers, one per patch: {reason_of(error)}") from error
