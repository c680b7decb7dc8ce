"""The features of one slide, as a model's pass takes them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mil_heatmaps.explain.rows import Places

CHUNK_ROWS = 4096
"""Patches taken at a time: 24 MiB of 1536-wide float32, large enough for full matrix-product speed."""


class Bag:
    """The features of one slide, handed to a model in slices of its own dtype on its own device.

    Features stay where they are (float16 as stored, on the CPU or memory-mapped); only a slice is widened and
    moved. `places` say where the patches lie, where that is known.
    """

    def __init__(
        self,
        features: npt.NDArray[Any] | Tensor,
        *,
        device: torch.device,
        dtype: torch.dtype,
        places: Places | None = None,
    ) -> None:
        self._features = features
        self.device = device
        self.dtype = dtype
        self.places = places

    def __len__(self) -> int:
        return len(self._features)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return patches `start` up to `stop` as a (stop - start, D) tensor, not to be written to.

        It may be the caller's own features: at 1536 numbers a patch copying costs a tenth of what ABMIL does with them.
        """
        return self._part(start, stop, copy=False)

    def _part(self, start: int, stop: int, *, copy: bool) -> Tensor:
        part = self._features[start:stop]
        if not isinstance(part, Tensor):
            part = torch.from_numpy(part if part.flags.writeable else np.array(part))  # torch asks for writable ones
        return part.to(device=self.device, dtype=self.dtype, copy=copy)

    def chunks(self, rows: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows covered, their features), `CHUNK_ROWS` at a time unless `rows` says otherwise."""
        rows = rows or CHUNK_ROWS
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield slice(start, stop), self.rows(start, stop)

    def all(self) -> Tensor:
        """Return the whole bag as one (N, D) tensor of its own, for models that need every patch at once."""
        return self._part(0, len(self), copy=True)


class MappedBag(Bag):
    """A bag whose rows have gone through `function`, which treats rows alone; nothing is kept."""

    def __init__(self, bag: Bag, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(bag._features, device=bag.device, dtype=bag.dtype, places=bag.places)
        self._bag, self._function = bag, function

    def _part(self, start: int, stop: int, *, copy: bool) -> Tensor:
        return self._function(self._bag.rows(start, stop))
