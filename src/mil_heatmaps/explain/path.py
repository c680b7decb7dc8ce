"""The path from a baseline to a bag, and derivatives along it, forward and row by row, for all targets at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from mil_heatmaps.explain.rows import Rows

RowFunctions: TypeAlias = Callable[[Tensor], tuple[Tensor, ...]]
"""Rows in, several results per row out; each row is processed alone."""
Pushed: TypeAlias = list[tuple[Tensor, Tensor]]
"""Each result with its derivative along the path."""

_DUAL: Any = forward_ad  # torch has no types for it


@dataclass(frozen=True)
class ShiftedRows(Rows):
    """Rows part of the way from a baseline x' to the features x: x' + alpha (x - x'), with one `alpha` for all."""

    baseline: Tensor | None = None
    alpha: float = 1.0

    def part(self, start: int, stop: int) -> Tensor:
        """Return shifted patches."""
        x = super().part(start, stop)
        if self.alpha == 1:
            return x
        return x * self.alpha if self.baseline is None else self.baseline + self.alpha * (x - self.baseline)


@dataclass(frozen=True)
class Path:
    """The straight path of all rows at once from a baseline to the bag.

    Attributes
    ----------
    rows : Rows
    baseline : (D,) tensor or None
        The value of every row at the start of the path; None for zeros.
    """

    rows: Rows
    baseline: Tensor | None = None

    def at(self, alpha: float) -> Rows:
        """Return the bag at `alpha` on the path."""
        rows = self.rows
        return ShiftedRows(rows.features, rows.device, rows.dtype, rows.places, self.baseline, alpha)

    def direction(self, start: int, stop: int) -> Tensor:
        """Return x - x' of some rows."""
        x = self.rows.part(start, stop)
        return x if self.baseline is None else x - self.baseline

    def push(self, function: RowFunctions, alpha: float) -> Iterator[tuple[slice, Pushed]]:
        """Yield (where, results and derivatives) of `function` at `alpha`, one chunk of rows at a time."""
        for where, x in self.at(alpha).chunks():
            yield where, self._pushed(function, x, where.start, alpha)

    def push_one(self, function: RowFunctions, row: int, alpha: float) -> Pushed:
        """Return results (1, ...) and derivatives of a single row."""
        return self._pushed(function, self.at(alpha).part(row, row + 1), row, alpha)

    def _pushed(self, function: RowFunctions, x: Tensor, start: int, alpha: float) -> Pushed:
        direction = self.direction(start, start + len(x))
        with torch.no_grad(), _DUAL.dual_level():
            moving = _DUAL.make_dual(x, direction)
            with _Linear(moving, direction, alpha, self.baseline):
                made = function(moving)
            pairs = [_DUAL.unpack_dual(one) for one in made]
        return [(one, torch.zeros_like(one) if slope is None else slope) for one, slope in pairs]


class _Linear(TorchFunctionMode):
    """Linear layers of moving rows, at the cost of one product where torch's forward mode takes three.

    In the first layer, the products of x' + alpha (x - x') and of x - x' are one product; later layers take two.
    """

    def __init__(self, moving: Tensor, direction: Tensor, alpha: float, baseline: Tensor | None) -> None:
        super().__init__()
        self._moving, self._alpha = moving, alpha
        self._start = torch.zeros_like(direction[0]) if baseline is None else baseline

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.linear or kwargs:
            return func(*args, **(kwargs or {}))
        rows, weight, *bias = args
        pair = _DUAL.unpack_dual(rows)
        if pair.tangent is None:
            return func(*args)
        slope = F.linear(pair.tangent, weight)
        if rows is self._moving:
            return _DUAL.make_dual(self._alpha * slope + F.linear(self._start, weight, *bias), slope)
        return _DUAL.make_dual(F.linear(pair.primal, weight, *bias), slope)
