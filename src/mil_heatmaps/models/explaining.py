"""The six explanations of any model: by its closed form if it has one, otherwise by forwards of parts of the bag."""

import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mil_heatmaps.errors import FeatureError, HeatmapError, ModelError
from mil_heatmaps.explain.answers import Form, Slopes
from mil_heatmaps.explain.by_forwards import ByForwards, WholeSlopes, grown, saved_bytes
from mil_heatmaps.explain.lattice import Lattice
from mil_heatmaps.explain.outputs import Outputs, choose_outputs, output_names
from mil_heatmaps.explain.removal import Score
from mil_heatmaps.explain.rows import ChosenRows, Floats, Ints, Places, Rows, wide
from mil_heatmaps.explain.scores import Asked, check_finite, check_steady, explain_scores
from mil_heatmaps.explain.settings import EXPLANATIONS, Settings, plain_setting, settings_from, used_settings
from mil_heatmaps.explain.watch import SILENT, Watch
from mil_heatmaps.features.grid_step import infer_step
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.files.arrays import read_npy
from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.models.explanation import Explanation, Features, grid_and_values
from mil_heatmaps.models.memory import require_memory
from mil_heatmaps.scores.patch_scores import Explained, PatchScores
from mil_heatmaps.slides.patch_grid import PatchGrid

NO_CLASSIFIER = "the checkpoint has no classifier"

_MEASURED = (512, 1024, 2048)
"""Numbers of patches for which the memory of a backward pass is measured."""


class Explainable(Protocol):
    """The interface that a model needs to be explained; `MILModel` has it."""

    training: bool
    independent: ClassVar[bool]
    chances_of_logits: bool

    @property
    def title(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def eval(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def exact_form(self, rows: Rows) -> Form | None: ...
    def bag_logits(self, bag: Bag, places: Places | None = None) -> Tensor: ...
    def differentiable_logits(self, x: Tensor, places: Places | None = None) -> Tensor: ...


class RowsBag(Bag):
    """The rows of an explanation as the bag of a model's own pass."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows.features, device=rows.device, dtype=rows.dtype, places=rows.places)
        self._rows = rows

    def _part(self, start: int, stop: int, *, copy: bool) -> Tensor:
        part = self._rows.part(start, stop)
        own = isinstance(self._rows.features, ChosenRows)  # these rows were copied when they were chosen
        return part.clone() if copy and not own else part


@contextmanager
def question(model: Explainable, values: Any, places: Places | None = None) -> Any:
    """Yield the model, in eval mode, and a bag as `Asked`."""
    rows = Rows(values, model.device, model.dtype, places)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield _asked(model, rows)
    finally:
        model.train(was_training)


def _asked(model: Explainable, rows: Rows) -> Asked:
    form = model.exact_form(rows)
    if form is not None:
        return Asked(rows, form, lambda: form, model.title)

    def forward(part: Rows) -> Tensor:
        return model.bag_logits(RowsBag(part), part.places)

    answers = ByForwards(rows, forward)
    check_finite(answers.full(), model.title)
    start = time.perf_counter()
    again = wide(forward(rows))
    seconds = time.perf_counter() - start
    check_steady(answers.full(), again, model.title)

    def slopes() -> Slopes:
        _check_memory(model, rows)
        return WholeSlopes(forward, lambda x: model.differentiable_logits(x, rows.places), model.title)

    return Asked(rows, answers, slopes, model.title, seconds)


def exact_passes(model: Explainable, width: int) -> int | None:
    """Return how many forwards the closed form counts as, in place of many forwards; None for a model without one.

    `width` is the width of the features.
    """
    try:
        form = model.exact_form(Rows(np.zeros((2, max(width, 1)), np.float32), model.device, model.dtype))
    except (HeatmapError, RuntimeError):  # the user's model does not take such a bag: it is explained by forwards
        return None
    return None if form is None else form.passes


def _check_memory(model: Explainable, rows: Rows) -> None:
    """Raise a `ModelError` with the estimate if a backward pass through the model does not fit into memory."""
    n = len(rows)
    if n <= _MEASURED[-1]:
        return
    try:
        used = [_saved_bytes(model, rows, size) for size in _MEASURED]
    except (RuntimeError, TypeError, NotImplementedError):  # no gradients at all: the error comes when they are needed
        return
    first, second, third = used
    kept = grown(_MEASURED, (first, second, third), n)
    own = 4 * n * rows.width * torch.finfo(rows.dtype).bits // 8
    require_memory(int(1.5 * kept) + own, rows.device, f"a gradient of {model.title} on {n:,} patches")


def _saved_bytes(model: Explainable, rows: Rows, count: int) -> int:
    places = None if rows.places is None else rows.places.choose(slice(count))
    return saved_bytes(lambda x: model.differentiable_logits(x, places), rows.part(0, count))


def explain(
    model: Explainable,
    features: Features,
    names: Sequence[str],
    class_names: Sequence[str] | None,
    *,
    targets: Any = "all",
    settings: Mapping[str, Any] | None = None,
    coords_l0: Any = None,
    step_l0: Any = None,
    mpp: float | None = None,
    watch: Watch | None = None,
) -> Explanation:
    """Return the explanations `names`; see `MILModel.explain`."""
    chosen = chosen_settings(settings)
    grid, values = grid_and_values(features)
    with question(model, values, places_of(features, coords_l0, mpp)) as asked:
        logits = asked.answers.full()
        outputs = outputs_of(model, logits, class_names, chosen, targets)
        made = explain_scores(asked, names, outputs, chosen, lattice_of(grid, len(values), coords_l0, step_l0),
                              watch or SILENT)  # fmt: skip
    full = outputs.of(logits)
    return Explanation(
        logits.astype(np.float32),
        {name: _patch_scores(name, score, outputs, grid, full, chosen) for name, score in made.items()},
        checks={name: score.checks for name, score in made.items() if score.checks},
        outputs=outputs,
        full=full,
    )


def chosen_settings(settings: Mapping[str, Any] | None) -> Settings:
    """Return checked settings; a baseline that is the path of a ``.npy`` file is read."""
    given = dict(settings or {})
    baseline = given.get("baseline")
    if isinstance(baseline, str | Path) and str(baseline).endswith(".npy"):
        given["baseline"] = read_npy(Path(baseline), ModelError)
    return settings_from(given)


def outputs_of(
    model: Explainable, logits: Floats, class_names: Sequence[str] | None, settings: Settings, targets: Any
) -> Outputs:
    """Return the outputs that are explained, under the names given or their default names."""
    names = output_names(len(logits), settings.task) if class_names is None else tuple(map(str, class_names))
    if settings.task == "classification" and len(logits) == 1:
        names = names[-1:]  # one logit stands for the second of two classes
    if len(names) != len(logits):
        raise ModelError(f"{len(names)} names ({', '.join(names)}) for {len(logits)} outputs of {model.title}")
    if settings.output == "probability" and not model.chances_of_logits:
        raise ModelError(
            f"the probabilities of {model.title} as it is set do not follow from its logits, which are what is "
            "explained: use output: logit"
        )
    lonely = settings.task == "classification" and len(logits) > 1 and model.independent
    return choose_outputs(
        logits, names, task=settings.task, output=settings.output, targets=targets, independent=lonely
    )


def corners_of(grid: PatchGrid | None, n: int, coords_l0: Any) -> Ints | None:
    """Return the corners (N, 2) of a slide's grid or those given beside bare features, None without either."""
    if grid is not None:
        return grid.coords_l0
    if coords_l0 is None:
        return None
    coords: npt.NDArray[np.int64] = np.asarray(coords_l0)
    if coords.shape != (n, 2):
        raise FeatureError(f"coords_l0 must have shape ({n}, 2), one corner a patch; got {coords.shape}")
    return coords.astype(np.int64)


def places_of(features: Features, coords_l0: Any = None, mpp: float | None = None) -> Places | None:
    """Return where the patches of a slide lie, or those of bare features with corners given beside them, else None."""
    grid, values = grid_and_values(features)
    corners = corners_of(grid, len(values), coords_l0)
    if corners is None:
        return None
    if isinstance(features, PatchFeatures) and (features.coords_um is not None or mpp is None):
        return Places(corners, features.coords_um)
    return Places(corners, None if mpp is None else np.asarray(corners * mpp, np.float64))


def lattice_of(grid: PatchGrid | None, n: int, coords_l0: Any, step_l0: Any) -> Lattice | None:
    """Return the lattice of a slide's grid or of coordinates given beside bare features, None without either."""
    coords = corners_of(grid, n, coords_l0)
    if coords is None:
        return None
    if grid is not None:
        return Lattice.of(coords, grid.step_l0)
    if step_l0 is None:
        seen = infer_step(coords)
        if seen is None:
            raise FeatureError("the coordinates show no grid: give step_l0, the distance (x, y) of neighbours")
        step_l0 = seen.step_l0
    step = np.broadcast_to(np.asarray(step_l0, np.int64), (2,))
    if (step < 1).any():
        raise FeatureError(f"step_l0 must be at least 1, got {step_l0}")
    return Lattice.of(coords, (int(step[0]), int(step[1])))


def _patch_scores(
    name: str, score: Score, outputs: Outputs, grid: PatchGrid | None, full: Floats, settings: Settings
) -> PatchScores:
    told = {key: plain_setting(getattr(settings, key)) for key in used_settings(name) if key != "output"}
    explained = Explained(outputs.name, outputs.task, told, score.checks, tuple(full.tolist()))
    kind: Any = name
    return PatchScores(grid, score.values.astype(np.float32), outputs.targets, kind, name, explained)


def refused(headless: bool, reason: str | None) -> dict[str, str]:
    """Return the reason why a model cannot give each explanation, by name; empty if it can."""
    why = NO_CLASSIFIER if headless else reason
    return {} if why is None else dict.fromkeys(EXPLANATIONS, why)
