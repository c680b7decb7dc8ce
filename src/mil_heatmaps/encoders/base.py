"""The interface of patch encoders, and the encoder made of a torch module and its preprocessing."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mil_heatmaps.encoders.preprocessing import Preprocessing
from mil_heatmaps.errors import ModelError


@runtime_checkable
class PatchEncoder(Protocol):
    """Anything that turns patches into features; a ``module:factory`` must return one.

    It may have further attributes: `device`; ``parallel = True`` if `encode` may run in several threads at once;
    ``identity()``, which returns plain values that its features depend on.

    Attributes
    ----------
    name : str
        Name written into feature files.
    width : int
        Length of a feature vector.
    """

    name: str
    width: int

    def preprocess(self, batch: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return the input of `encode` for (B, H, W, 3) uint8 RGB patches."""
        ...

    def encode(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return (B, width) float32 features of a preprocessed batch."""
        ...


class ModuleEncoder:
    """A torch module with its preprocessing.

    Attributes
    ----------
    name, width
        As in `PatchEncoder`.
    preprocessing : Preprocessing
    device : torch.device
    weights : str
        Identity of the weights, for cache keys: a SHA-256, or another unique name.
    mixed_precision : bool
        Whether `encode` runs in half precision on CUDA, where that is faster.
    parallel : bool
        Whether `encode` may run in several threads at once; a module that keeps something between calls may not.
    """

    parallel = True

    def __init__(
        self,
        name: str,
        module: nn.Module,
        width: int,
        preprocessing: Preprocessing,
        *,
        device: str | torch.device = "cpu",
        weights: str = "",
        pool: Callable[[Any], torch.Tensor] | None = None,
        mixed_precision: bool = True,
    ) -> None:
        """`pool` turns the module's output into (B, width) features; by default the output is the features."""
        self.name = name
        self.width = width
        self.preprocessing = preprocessing
        self.device = torch.device(device)
        self.weights = weights
        self.mixed_precision = mixed_precision
        module = module.eval().requires_grad_(False).to(self.device)
        self._module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._pool = pool

    def __repr__(self) -> str:
        return f"ModuleEncoder({self.name!r}, width={self.width}, device={str(self.device)!r})"

    def preprocess(self, batch: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return (B, 3, h, w) float32, equal to torchvision's transforms."""
        return self.preprocessing(batch)

    def shrink(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Do the uint8 half of `preprocess`; `encode` also takes this result and does the other half itself."""
        return self.preprocessing.shrink(batch)

    def encode(self, tensor: torch.Tensor, *, exact: bool = False) -> torch.Tensor:
        """Return (B, width) float32 features, on the encoder's device.

        Parameters
        ----------
        tensor
            The result of `preprocess`, or that of `shrink`, which is uint8 (B, h, w, 3).
        exact
            Compute in float32 even where `mixed_precision` would use half precision.
        """
        tensor = tensor.to(self.device, non_blocking=True)
        half = self.mixed_precision and not exact and self.device.type == "cuda"
        with torch.inference_mode():
            pixels = self.preprocessing.normalise(tensor) if tensor.dtype == torch.uint8 else tensor
            with torch.autocast("cuda", torch.float16) if half else nullcontext():
                returned = self._module(pixels)
                features = returned if self._pool is None else self._pool(returned)
        if not isinstance(features, torch.Tensor) or features.shape != (len(tensor), self.width):
            shape = tuple(getattr(features, "shape", ())) or type(features).__name__
            raise ModelError(
                f"encoder {self.name} returned {shape} for {len(tensor)} patches, "
                f"expected ({len(tensor)}, {self.width})"
            )
        return features.float()

    def identity(self) -> dict[str, Any]:
        """Return everything its features depend on, as plain values."""
        return {
            "name": self.name,
            "width": self.width,
            "weights": self.weights,
            "preprocessing": self.preprocessing.identity(),
        }
