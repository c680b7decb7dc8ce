"""The features of one slide, in the form that a model's pass takes."""

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
    """The features of one slide, given to a model in slices of the model's dtype on the model's device.

    Features stay where they are (float16 as stored, on the CPU or memory-mapped); only a slice is widened and
    moved. `places` hold the coordinates of the patches, if known.
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

        It may be the caller's own features: at 1536 numbers per patch, copying would cost a tenth of ABMIL's own work.
        """
        return self._part(start, stop, copy=False)

    def _part(self, start: int, stop: int, *, copy: bool) -> Tensor:
        part = self._features[start:stop]
        if not isinstance(part, Tensor):
            part = torch.from_numpy(part if part.flags.writeable else np.array(part))  # torch needs a writable array
        return part.to(device=self.device, dtype=self.dtype, copy=copy)

    def chunks(self, rows: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows covered, their features), `CHUNK_ROWS` at a time unless `rows` says otherwise."""
        rows = rows or CHUNK_ROWS
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield slice(start, stop), self.rows(start, stop)

    def all(self) -> Tensor:
        """Return a copy of the whole bag as one (N, D) tensor, for models that need every patch at once."""
        return self._part(0, len(self), copy=True)


class MappedBag(Bag):
    """A bag whose rows go through `function`, which treats each row alone; results are not stored."""

    def __init__(self, bag: Bag, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(bag._features, device=bag.device, dtype=bag.dtype, places=bag.places)
        self._bag, self._function = bag, function

    def _part(self, start: int, stop: int, *, copy: bool) -> Tensor:
        return self._function(self._bag.rows(start, stop))
