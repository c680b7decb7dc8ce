"""Models without a closed form: each part of the bag takes a forward, each derivative a backward pass."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mil_heatmaps.devices import lost_gpu
from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Sets, kept_rows, others
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.rows import Bools, Floats, Ints, Rows, wide
from mil_heatmaps.explain.watch import SILENT, Watch

Forward: TypeAlias = Callable[[Rows], Tensor]
"""A bag -> its logits (C,)."""


@dataclass
class ByForwards:
    """Evaluates a model part by part; see `Answers`.

    Attributes
    ----------
    rows : Rows
    forward : Forward
    """

    rows: Rows
    forward: Forward
    forwards: int = field(default=0, init=False)

    exact, passes = False, None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _full(self) -> Floats:
        return wide(self.forward(self.rows))

    def full(self) -> Floats:
        """Return the logits (C,) of the bag."""
        return self._full

    def of(self, index: Ints) -> Floats:
        """Return the logits (C,) of some patches."""
        self.forwards += 1
        return wide(self.forward(self.rows.choose(index)))

    def alone(self, watch: Watch = SILENT) -> Floats:
        """Return the logits (N, C) of each patch."""
        return self._each(len(self), lambda i: np.array([i]), watch)

    def without(self, sets: Sets, watch: Watch = SILENT) -> Floats:
        """Return the logits (S, C) of the bag without each set."""
        return self._each(len(sets), lambda s: others(len(self), sets[s]), watch)

    def kept(self, labels: Ints, keep: Bools, watch: Watch = SILENT) -> Floats:
        """Return the logits (M, S, C) of parts made of groups."""
        parts = len(keep)
        made = self._each(
            len(labels) * parts, lambda i: kept_rows(labels[i // parts], keep[i % parts]), watch
        )
        return made.reshape(len(labels), parts, -1)

    def _each(self, count: int, part: Callable[[int], Ints], watch: Watch) -> Floats:
        """Return the logits (count, C) of parts, resuming where an earlier call was stopped."""
        made = np.full((count, len(self._full)), np.nan)
        first = 0
        if (earlier := watch.load(watch.what)) is not None and earlier["logits"].shape == made.shape:
            made, first = np.array(earlier["logits"]), int(earlier["done"])
        at = [first]
        keeper = watch.keep(count, lambda: {"logits": made, "done": np.array(at[0])})
        for number in range(first, count):
            index = part(number)
            made[number] = self.of(index) if len(index) else np.nan
            at[0] = number + 1
            keeper.done(number + 1)
        return made


@dataclass(frozen=True)
class WholeSlopes:
    """Derivatives by a backward pass through the whole model, which keeps all its intermediate results.

    Attributes
    ----------
    forward : Forward
        Runs without gradients.
    differentiable : (N, D) tensor -> (C,) tensor
        Runs with gradients.
    title : str
        The model's name, for messages.
    """

    forward: Forward
    differentiable: Callable[[Tensor], Tensor]
    title: str = "the model"

    def value(self, path: Path, alpha: float) -> Floats:
        """Return the logits (C,) at `alpha` on the path."""
        return wide(self.forward(path.at(alpha)))

    def along(self, path: Path, alpha: float, outputs: Outputs) -> Floats:
        """Return (N, K) derivatives along the path: one forward, and one backward pass per target."""
        here = path.at(alpha)
        n = len(here)
        x = here.part(0, n).clone().requires_grad_()
        with torch.enable_grad():
            try:
                logits = self.differentiable(x)
                f = outputs(logits.to(torch.float64))
                slopes = [torch.autograd.grad(one, x, retain_graph=i + 1 < len(f))[0] for i, one in enumerate(f)]
            except (RuntimeError, TypeError, NotImplementedError) as error:  # the user's own code may run here
                if lost_gpu(error):
                    raise
                raise ModelError(
                    f"{self.title} gives no gradients ({str(error).splitlines()[0]}); choose leave_one_out, single, "
                    "occlusion or mask_regression, which need none"
                ) from error
        direction = path.direction(0, n)
        return np.stack([wide((slope * direction).sum(dim=1, dtype=torch.float64)) for slope in slopes], axis=1)


def saved_bytes(differentiable: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Return the bytes that a forward of `x` keeps for its backward pass, each piece of memory counted once."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = differentiable(x.clone().requires_grad_())
        total = sum(seen.values())
        del logits
    return total


def grown(sizes: tuple[int, int, int], bytes_at: tuple[int, int, int], n: int) -> int:
    """Return the bytes predicted from three sizes for `n` patches: by a straight line, or the parabola through them.

    Padding makes the line uneven, so an increase of less than a quarter per patch at the larger sizes is no curvature.
    """
    a, b, c = sizes
    fa, fb, fc = bytes_at
    first, second = (fb - fa) / (b - a), (fc - fb) / (c - b)
    bend = (second - first) / (c - a) if second > 1.25 * first else 0.0
    return int(fc + second * (n - c) + bend * (n - c) * (n - b))
