"""The features of one slide's patches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid


@dataclass(frozen=True, repr=False)
class PatchFeatures:
    """One feature vector a patch, in the order of `grid.coords_l0`.

    Attributes
    ----------
    grid : PatchGrid
    features : (N, D) float32 or float16
        As stored; models widen float16 slice by slice. All finite.
    encoder : str or None
        What the file says made them.
    source : Path
        The file they came from.
    notes : Notice
        What the reader had to guess or wants known, one sentence each.
    """

    grid: PatchGrid
    features: npt.NDArray[Any]
    encoder: str | None
    source: Path
    notes: tuple[Notice, ...] = ()

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.grid):
            raise ValueError(f"features must have shape ({len(self.grid)}, D), got {self.features.shape}")

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        width = self.features.shape[1]
        source = self.source.name
        return f"PatchFeatures(n={len(self)}, width={width}, encoder={self.encoder!r}, source={source!r})"
