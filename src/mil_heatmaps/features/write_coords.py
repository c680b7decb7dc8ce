"""Write patch coordinates in the form that TRIDENT and CLAM read."""

import os

import numpy as np

from mil_heatmaps.files.hdf5_writing import set_text, write_small_h5
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import Slide

_ROWS = 1024
"""Rows per chunk; TRIDENT's single rows take four times the space and time."""


def write_coords(path: str | os.PathLike[str], grid: PatchGrid, slide: Slide) -> None:
    """Write ``coords`` (N, 2) int64 with TRIDENT's attributes, whole or not at all; same input gives same bytes."""
    width, height = slide.dimensions_l0
    with write_small_h5(path) as file:
        rows = min(_ROWS, max(len(grid), 1))
        coords = file.create_dataset("coords", data=grid.coords_l0, chunks=(rows, 2), maxshape=(None, 2))
        square = grid.size_l0[0] == grid.size_l0[1]
        coords.attrs["patch_size_level0"] = grid.size_l0[0] if square else np.array(grid.size_l0, np.int64)
        coords.attrs["step_level0"] = np.array(grid.step_l0, np.int64)
        coords.attrs["level0_width"] = width
        coords.attrs["level0_height"] = height
        set_text(coords, "name", slide.slide_id)
