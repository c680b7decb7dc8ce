"""The patches of one bag, all or some, returned in chunks in the network's dtype and on its device."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mil_heatmaps.errors import ModelError

CHUNK_ROWS = 4096
"""Patches per chunk: 24 MiB of float32 with 1536 columns."""

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class ChosenRows:
    """Some rows of features, copied only when a slice is read."""

    def __init__(self, features: Any, index: Ints) -> None:
        self._features, self._index = features, index
        self.shape = (len(index), *features.shape[1:])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, where: slice) -> Any:
        chosen = self._index[where]
        return self._features[torch.from_numpy(chosen) if isinstance(self._features, Tensor) else chosen]


@dataclass(frozen=True)
class Places:
    """The positions of the patches of a bag.

    Attributes
    ----------
    coords_l0 : (N, 2) int64
        Corners in level-0 pixels.
    coords_um : (N, 2) float64 or None
        Corners in micrometres; None where the slide's resolution is unknown.
    """

    coords_l0: Ints
    coords_um: Floats | None = None

    def choose(self, index: Ints | slice) -> "Places":
        """Return the positions of the patches `index`, in that order."""
        return Places(self.coords_l0[index], None if self.coords_um is None else self.coords_um[index])

    def in_um(self, title: str) -> Floats:
        """Return corners (N, 2) in micrometres, which the model `title` needs; ModelError without a resolution."""
        if self.coords_um is None:
            raise ModelError(
                f"{title} takes the places of patches in micrometres, and the slide's resolution (mpp) is not known: "
                "give it in the column mpp of the process list, or as data_arguments.slide_mpp"
            )
        return self.coords_um


@dataclass(frozen=True)
class Rows:
    """The features (N, D) of a bag as a network receives them.

    Attributes
    ----------
    features : array, tensor or `ChosenRows` of shape (N, D)
        As stored; converted and moved one slice at a time.
    device, dtype
        Of the network.
    places : Places, optional
        For networks that use patch positions.
    """

    features: Any
    device: torch.device
    dtype: torch.dtype
    places: Places | None = None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def width(self) -> int:
        """Number of columns of the features."""
        return int(self.features.shape[1])

    def part(self, start: int, stop: int) -> Tensor:
        """Return patches `start` up to `stop`, (stop - start, D); do not write to them."""
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
        places = None if self.places is None else self.places.choose(index)
        return replace(self, features=ChosenRows(self.features, index), places=places)

    def mean(self) -> Tensor:
        """Return the mean feature, (D,), summed in float64."""
        total = np.zeros(self.width)
        for _, x in self.chunks():
            total += wide(x).sum(axis=0)
        return torch.from_numpy(total / len(self)).to(device=self.device, dtype=self.dtype)


def collect(n: int, pieces: Iterable[tuple[slice, Sequence[Tensor | Floats]]]) -> list[Floats]:
    """Return arrays (n, ...) joined from chunks of rows.

    They are allocated at the first chunk: small pieces kept between large temporaries would block freed memory.
    """
    made: list[Floats] = []
    for where, parts in pieces:
        made = made or [np.empty((n, *part.shape[1:])) for part in parts]
        for whole, part in zip(made, parts, strict=True):
            whole[where] = wide(part) if isinstance(part, Tensor) else part
    return made


def wide(values: Tensor) -> Floats:
    """Return a tensor as a float64 array of the same shape."""
    return values.detach().to("cpu", torch.float64).numpy()
