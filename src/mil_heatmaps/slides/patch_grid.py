"""Where the patches of a slide lie.

Names ending ``_l0`` are level-0 pixels; coordinates are (x, y) of a patch's top-left corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mil_heatmaps.numpy_later import np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, repr=False)
class PatchGrid:
    """The patches of one slide: corners, one common size, one step.

    Attributes
    ----------
    coords_l0 : (N, 2) int64
        Top-left corners, x then y. The array may be empty, and patches may lie partly outside the slide.
    size_l0 : (width, height)
        Size of every patch; width and height are at least 1.
    step_l0 : (x, y)
        Distance between neighbours; equal to `size_l0` without overlap.
    """

    coords_l0: npt.NDArray[np.int64]
    size_l0: tuple[int, int]
    step_l0: tuple[int, int]

    def __post_init__(self) -> None:
        if self.coords_l0.ndim != 2 or self.coords_l0.shape[1] != 2 or self.coords_l0.dtype != np.int64:
            raise ValueError(
                f"coords_l0 must be int64 of shape (N, 2), got {self.coords_l0.dtype} {self.coords_l0.shape}"
            )
        if min(self.size_l0) < 1 or min(self.step_l0) < 1:
            raise ValueError(f"size_l0 and step_l0 must be at least 1, got {self.size_l0} and {self.step_l0}")

    def __len__(self) -> int:
        return len(self.coords_l0)

    @property
    def overlap(self) -> float:
        """Share of a patch's width that overlaps its neighbour, from 0 to below 1."""
        return max(0.0, 1 - self.step_l0[0] / self.size_l0[0])

    def take(self, patches: npt.NDArray[np.bool_ | np.intp]) -> PatchGrid:
        """Return the grid of some of the patches, by a mask or by indices."""
        return PatchGrid(self.coords_l0[patches], self.size_l0, self.step_l0)

    def __repr__(self) -> str:
        return f"PatchGrid(n={len(self)}, size_l0={self.size_l0}, step_l0={self.step_l0})"
