"""The features of one slide's patches."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid


@dataclass(frozen=True, repr=False)
class PatchFeatures:
    """One feature vector per patch, in the order of `grid.coords_l0`.

    Attributes
    ----------
    grid : PatchGrid
    features : (N, D) float32 or float16
        As stored, all finite; models convert float16 to float32 slice by slice.
    encoder : str or None
        The encoder named in the file.
    source : Path
        The file that they were read from.
    notes : Notice
        Guesses and other notices of the reader, one sentence each.
    coords_um : (N, 2) float64 or None
        Corners in micrometres, for models that use patch positions: from the file where it has a unit of length, else
        level-0 pixels times the slide's resolution; None where the resolution is unknown.
    """

    grid: PatchGrid
    features: npt.NDArray[Any]
    encoder: str | None
    source: Path
    notes: tuple[Notice, ...] = ()
    coords_um: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.grid):
            raise ValueError(f"features must have shape ({len(self.grid)}, D), got {self.features.shape}")
        if self.coords_um is not None and self.coords_um.shape != (len(self.grid), 2):
            raise ValueError(f"coords_um must have shape ({len(self.grid)}, 2), got {self.coords_um.shape}")

    def take(self, patches: npt.NDArray[np.bool_]) -> "PatchFeatures":
        """Return the features of the patches selected by a mask."""
        um = None if self.coords_um is None else self.coords_um[patches]
        return replace(self, grid=self.grid.take(patches), features=self.features[patches], coords_um=um)

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        width = self.features.shape[1]
        source = self.source.name
        return f"PatchFeatures(n={len(self)}, width={width}, encoder={self.encoder!r}, source={source!r})"
