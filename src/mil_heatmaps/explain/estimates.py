"""What a score would cost, said before it is begun."""

from dataclasses import dataclass

import numpy as np

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.gradients import steps_at_most
from mil_heatmaps.explain.lattice import Lattice
from mil_heatmaps.explain.settings import Settings
from mil_heatmaps.words import time_words


@dataclass(frozen=True)
class Cost:
    """What one score takes.

    Attributes
    ----------
    score : str
    forwards : int
        Forwards of (parts of) the bag at most, derivatives included; 0 where sums over the bag do.
    passes : int
        Of what sums over the bag do: as long as about so many forwards.
    least : int or None
        Of a score whose steps are doubled until it adds up: those it takes at least.
    """

    score: str
    forwards: int
    passes: int = 1
    least: int | None = None

    @property
    def words(self) -> str:
        """The cost in words."""
        if self.least is not None:
            span = f"{self.least:,}" if self.least == self.forwards else f"{self.least:,} to {self.forwards:,}"
            return f"{span} forward and backward passes"
        if self.score == "gradient_x_input":
            return "1 forward and backward pass"
        if not self.forwards:
            return f"exact, about {'one forward pass' if self.passes == 1 else f'{self.passes} forward passes'}"
        return f"{self.forwards:,} forward pass{'es' * (self.forwards > 1)}"

    def with_time(self, seconds_each: float) -> str:
        """Return the cost in words, with the time of so many forwards of the bag."""
        if not self.forwards:
            return self.words
        if self.score == "single":  # whose time a forward of the slide does not tell
            return f"{self.words}, of one patch each"
        least = "" if self.least in (None, self.forwards) else f"{time_words((self.least or 0) * seconds_each)} to "
        return f"{self.words}, about {least}{time_words(self.forwards * seconds_each)}"


def cost_of(score: str, n: int, settings: Settings, *, passes: int | None, windows: int | None = None) -> Cost:
    """Return the cost of a score of `n` patches.

    Parameters
    ----------
    passes : int or None
        See `Answers`.
    windows : int, optional
        Of occlusion; guessed from `n` when None.
    """
    if score == "gradient_x_input":
        return Cost(score, 1)
    if score == "integrated_gradients":
        return Cost(score, steps_at_most(settings.steps, settings.max_steps), least=settings.steps)
    if passes is not None:
        return Cost(score, 0, passes)
    if score == "occlusion" and windows is None:
        stride = settings.stride or (2 if settings.window == "auto" else max(1, settings.window // 2))
        while settings.window == "auto" and settings.stride is None and n > settings.max_forwards * stride**2:
            stride *= 2
        windows = -(-n // stride**2)
    return Cost(score, {"mask_regression": settings.masks, "occlusion": windows or 0}.get(score, n))


def check_cost(cost: Cost, settings: Settings, seconds_each: float | None) -> None:
    """Raise a `ModelError` for a score that takes more forwards than allowed; `single` always may.

    Parameters
    ----------
    seconds_each : float or None
        What one forward of the bag took; None where none was run.
    """
    if cost.score == "single" or cost.forwards <= settings.max_forwards:
        return
    instead = {
        "occlusion": "a larger window (window: auto finds one), mask_regression or single",
        "mask_regression": f"at most {settings.max_forwards} masks, or single",
        "integrated_gradients": "fewer max_steps",
    }.get(cost.score, "occlusion with a larger window, mask_regression or single")
    took = "" if seconds_each is None else (
        f": about {time_words(cost.forwards * seconds_each)} (one took {time_words(seconds_each)})"
    )  # fmt: skip
    raise ModelError(
        f"{cost.score} needs {cost.forwards:,} forward passes here, more than max_forwards "
        f"{settings.max_forwards:,}{took}; choose {instead}, or max_forwards {cost.forwards}"
    )


def choose_window(lattice: Lattice, settings: Settings, *, exact: bool) -> tuple[int, int]:
    """Return (window, stride) of occlusion: as given, or the smallest of 4, 8, 16, ... whose windows are allowed."""
    if settings.window != "auto":
        return settings.window, settings.stride or max(1, settings.window // 2)
    widest = 2 * int(max(lattice.columns.max(), lattice.rows.max())) + 4
    window = 4
    while True:
        stride = settings.stride or window // 2
        fits = window % stride == 0
        if fits and (exact or window > widest or lattice.count_windows(window, stride) <= settings.max_forwards):
            return window, stride
        if not fits and window > max(widest, 2 * stride):
            raise ModelError(f"no window of 4, 8, 16, ... cells is a multiple of stride {stride}; choose a window too")
        window *= 2


def check_window(window: int, stride: int) -> None:
    """Raise a `ModelError` for a window that is no multiple of its stride."""
    if window % stride:
        choices = ", ".join(map(str, np.flatnonzero([d and window % d == 0 for d in range(window + 1)])))
        raise ModelError(f"window {window} is no multiple of stride {stride}; choose a stride of {choices}")
