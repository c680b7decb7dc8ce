"""The patches of one bag, handed out in chunks, or some of them, in the network's dtype and on its device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import forward_ad

CHUNK_ROWS = 4096
"""Patches taken at a time: 24 MiB of 1536-wide float32."""

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class ChosenRows:
    """Some rows of features, which are copied only when a slice is asked for."""

    def __init__(self, features: Any, index: Ints) -> None:
        self._features, self._index = features, index
        self.shape = (len(index), *features.shape[1:])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, where: slice) -> Any:
        chosen = self._index[where]
        return self._features[torch.from_numpy(chosen) if isinstance(self._features, Tensor) else chosen]


@dataclass(frozen=True)
class Rows:
    """The features (N, D) of a bag as a network sees them.

    Attributes
    ----------
    features : array, tensor or `ChosenRows` of shape (N, D)
        As stored; a slice is widened and moved at a time.
    device, dtype
        Of the network.
    """

    features: Any
    device: torch.device
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.features)

    @property
    def width(self) -> int:
        """Numbers in a patch's feature vector."""
        return int(self.features.shape[1])

    def part(self, start: int, stop: int) -> Tensor:
        """Return patches `start` up to `stop`, (stop - start, D), not to be written to."""
        part = self.features[start:stop]
        if not isinstance(part, Tensor):
            part = torch.from_numpy(part if part.flags.writeable else np.array(part))
        return part.to(device=self.device, dtype=self.dtype)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield (where, features) of at most `CHUNK_ROWS` patches at a time."""
        for start in range(0, len(self), CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, len(self))
            yield slice(start, stop), self.part(start, stop)

    def choose(self, index: Ints) -> "Rows":
        """Return the bag of the patches `index`, in that order."""
        return replace(self, features=ChosenRows(self.features, index))

    def mean(self) -> Tensor:
        """Return the mean feature, (D,), summed in float64."""
        total = np.zeros(self.width)
        for _, x in self.chunks():
            total += wide(x).sum(axis=0)
        return torch.from_numpy(total / len(self)).to(device=self.device, dtype=self.dtype)


@dataclass(frozen=True)
class ShiftedRows(Rows):
    """Rows part of the way from a baseline x' to the features x: x' + alpha (x - x'), all at the same `alpha`."""

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
    """The straight way of all rows at once from a baseline to the bag.

    Attributes
    ----------
    rows : Rows
    baseline : (D,) tensor or None
        What every row is at the start of the way; None for zeros.
    """

    rows: Rows
    baseline: Tensor | None = None

    def at(self, alpha: float) -> Rows:
        """Return the bag at `alpha` of the way."""
        return ShiftedRows(self.rows.features, self.rows.device, self.rows.dtype, self.baseline, alpha)

    def direction(self, start: int, stop: int) -> Tensor:
        """Return x - x' of some rows."""
        x = self.rows.part(start, stop)
        return x if self.baseline is None else x - self.baseline

    def chunks(self, alpha: float) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield (where, rows at `alpha`, their direction)."""
        for where, x in self.at(alpha).chunks():
            yield where, x, self.direction(where.start, where.stop)


def push(
    function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, direction: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Return each result of ``function(x)`` with its derivative along `direction`, row by row, without a tape."""
    dual: Any = forward_ad  # torch does not type it
    with torch.no_grad(), dual.dual_level():
        pairs = [dual.unpack_dual(made) for made in function(dual.make_dual(x, direction))]
    return [
        (pair.primal, torch.zeros_like(pair.primal) if pair.tangent is None else pair.tangent) for pair in pairs
    ]


def wide(values: Tensor) -> Floats:
    """Return a tensor as a float64 array of its own shape."""
    return values.detach().to("cpu", torch.float64).numpy()


def sum_dtype(device: torch.device) -> torch.dtype:
    """Return what sums over a bag are kept in: float64, which Apple's GPUs lack."""
    return torch.float32 if device.type == "mps" else torch.float64
