"""The settings of explanations with their defaults; `explanation_arguments` of a config, and `task`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final, Literal

from mil_heatmaps.choices import TASKS, Task
from mil_heatmaps.errors import ModelError
from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import near

if TYPE_CHECKING:
    import numpy.typing as npt

EXPLANATIONS: Final[dict[str, str]] = {
    "leave_one_out": "what the prediction loses without the patch (perturbation_drop)",
    "single": "what the model says of the patch as a whole slide (perturbation_keep)",
    "gradient_x_input": "gradient times features (G x I): what the patch adds, as far as the model is linear here",
    "integrated_gradients": "gradients summed along the way from a baseline (IG); they add up to what is explained",
    "occlusion": "what the prediction loses without a square of patches, mean over the squares that hold the patch",
    "mask_regression": "the patch's weight in a linear model of random halves of the slide",
}
"""Name of each score -> a phrase that describes it."""


OutputName = Literal["log_odds", "logit", "probability", "value", "risk"]

ALLOWED_OUTPUTS: Final[dict[Task, tuple[OutputName, ...]]] = {
    "classification": ("log_odds", "logit", "probability"),
    "multilabel": ("log_odds", "logit", "probability"),
    "regression": ("value", "logit"),
    "survival": ("risk", "logit"),
}
"""Outputs that can be explained for each task, the default first."""

_USED: Final[dict[str, tuple[str, ...]]] = {
    "integrated_gradients": ("baseline", "steps", "max_steps"),
    "occlusion": ("window", "stride", "max_forwards"),
    "mask_regression": ("groups", "masks", "ridge", "seed"),
}
"""The settings a score depends on besides task and output; occlusion chooses its window by `max_forwards`."""


def default_output(task: Task) -> OutputName:
    """Return the output that ``output: auto`` stands for."""
    return ALLOWED_OUTPUTS[task][0]


def check_output(output: str, task: Task) -> None:
    """Raise a `ModelError` for an output that models of the task do not have."""
    allowed = ALLOWED_OUTPUTS[task]
    if output != "auto" and output not in allowed:
        raise ModelError(f"output {output!r} cannot be explained of a {task} model; choose from {['auto', *allowed]}")


def used_settings(score: str) -> tuple[str, ...]:
    """Return the names of the settings that a score depends on."""
    return ("output", *_USED.get(score, ()))


@dataclass(frozen=True)
class Settings:
    """See docs; each key is as in the config.

    Attributes
    ----------
    output : str
        ``auto``, ``log_odds``, ``logit``, ``probability``, ``value`` or ``risk``.
    baseline : "zero", "mean", or D numbers
        Start of integrated gradients.
    steps, max_steps : int
        Nodes of the Gauss-Legendre rule; doubled from the first up to the second until the map adds up.
    window, stride : int, cells of the lattice
        For occlusion; ``auto`` and None are chosen by the program.
    groups, masks, ridge, seed
        For mask regression.
    max_forwards : int
        A score that needs more is refused before it starts.
    """

    output: str = "auto"
    baseline: Any = "zero"
    steps: int = 32
    max_steps: int = 512
    window: Any = "auto"
    stride: int | None = None
    groups: int = 64
    masks: int = 512
    ridge: float = 0.01
    seed: int = 0
    max_forwards: int = 2000
    task: Task = "classification"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ModelError(f"unknown task {self.task!r}; choose from {list(TASKS)}")
        for key in ("steps", "max_steps", "groups", "masks", "max_forwards"):
            _check_whole_number(key, getattr(self, key), 1)
        _check_whole_number("seed", self.seed, 0)
        if self.max_steps < self.steps:
            raise ModelError(f"max_steps {self.max_steps} is below steps {self.steps}; make it {self.steps} or more")
        if self.masks % 2:
            raise ModelError(f"masks must be even, as each half comes with its complement; got {self.masks}")
        if isinstance(self.ridge, bool) or not isinstance(self.ridge, int | float) or not 0 <= self.ridge < math.inf:
            raise ModelError(f"ridge must be a number of at least 0, got {self.ridge!r}")
        if self.window != "auto":
            _check_whole_number("window", self.window, 1)
        if self.stride is not None:
            _check_whole_number("stride", self.stride, 1)
            if self.window == "auto" and self.stride & (self.stride - 1):
                raise ModelError(
                    f"stride {self.stride} divides none of the 4, 8, 16, ... cells that window: auto chooses from; "
                    "choose a window too, or a stride of 1, 2, 4, 8"
                )
            if self.window != "auto" and self.window % self.stride:
                raise ModelError(
                    f"window {self.window} is no multiple of stride {self.stride}; "
                    f"choose a stride of {_divisors(self.window)}"
                )
        if isinstance(self.baseline, str) and self.baseline not in ("zero", "mean"):
            raise ModelError(f"baseline must be zero, mean, or D numbers (a .npy file), got {self.baseline!r}")


def settings_from(given: Mapping[str, Any] | None) -> Settings:
    """Return the settings for a mapping of some of them; a `ModelError` lists the valid ones."""
    known = [field.name for field in fields(Settings)]
    for key in given or {}:
        if key not in known:
            close = near(str(key), known)
            meant = f", did you mean {close!r}?" if close else ""
            raise ModelError(f"unknown setting {key!r} of explanations{meant}; choose from {known}")
    return Settings(**dict(given or {}))


def baseline_numbers(baseline: Any, width: int) -> npt.NDArray[np.float64] | None:
    """Return the D numbers of a baseline; None for ``zero`` and ``mean``."""
    if isinstance(baseline, str):
        return None
    numbers = np.asarray(baseline, np.float64)
    if numbers.shape != (width,):
        raise ModelError(
            f"the baseline has shape {numbers.shape}, the features are {width} wide: it must hold {width} numbers"
        )
    if not np.isfinite(numbers).all():
        raise ModelError("the baseline holds NaN or infinite numbers")
    return numbers


def plain_setting(value: Any) -> Any:
    """Return a setting as a JSON value; the numbers of a baseline as their SHA-256."""
    if isinstance(value, np.ndarray | list | tuple):
        return hashlib.sha256(np.ascontiguousarray(value, np.float64).tobytes()).hexdigest()
    return value.item() if isinstance(value, np.generic) else value


def _check_whole_number(key: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ModelError(f"{key} must be a whole number of at least {least}, got {value!r}")


def _divisors(window: int) -> str:
    return ", ".join(str(d) for d in range(1, window + 1) if window % d == 0)
