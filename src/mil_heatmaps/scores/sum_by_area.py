"""The maps of several bags of a slide as one map: their sum on the level-0 plane, by area.

Each patch's score is spread evenly over its area; each cell gets from every bag the part that lies in it. So the sum
over the cells is the sum over the patches of all bags. Names ending ``_l0`` are level-0 pixels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.patch_grid import PatchGrid

Floats = npt.NDArray[np.float64]

SUMMED_KINDS = frozenset(
    {
        "leave_one_out", "gradient_x_input", "integrated_gradients", "occlusion", "mask_regression",
        "class_contribution", "attention_softmax", "attention_mean",
    }
)  # fmt: skip
"""Kinds whose sum has a meaning: parts of an output, or shares of one."""


def sum_by_area(maps: Sequence[tuple[PatchGrid, npt.NDArray[np.floating]]]) -> tuple[PatchGrid, Floats]:
    """Return cells of the smallest step among the bags, and the sum (M, K) of all maps in them.

    Parameters
    ----------
    maps : (grid, (N, K) scores) of each bag
        NaN counts as zero. Cells without patches are left out; cells that only patches without a score reach
        are NaN.

    Raises
    ------
    ValueError
        There is no map, or the maps have different numbers of columns.
    """
    if not maps or len({values.shape[1] for _, values in maps}) != 1:
        raise ValueError("maps of the same columns are needed to be summed")
    finest = min((grid for grid, _ in maps), key=lambda grid: grid.step_l0[0] * grid.step_l0[1])
    step = np.array(finest.step_l0, np.int64)
    origin = finest.coords_l0.min(axis=0)
    numbers: list[npt.NDArray[np.int64]] = []
    parts: list[Floats] = []
    for grid, values in maps:
        size = np.array(grid.size_l0, np.int64)
        first = (grid.coords_l0 - origin) // step
        across, down = (-(-size // step) + 1).tolist()
        for dx in range(across):
            for dy in range(down):
                cell = first + np.array([dx, dy])
                low = np.maximum(cell * step + origin, grid.coords_l0)
                high = np.minimum((cell + 1) * step + origin, grid.coords_l0 + size)
                share = (high - low).clip(0).prod(axis=1) / size.prod()
                inside = share > 0
                numbers.append(cell[inside])
                parts.append(values[inside].astype(np.float64) * share[inside, None])
    cells, where = np.unique(np.concatenate(numbers)[:, ::-1], axis=0, return_inverse=True)  # row by row
    added = np.concatenate(parts)
    where = where.reshape(-1)
    total = np.zeros((len(cells), added.shape[1]))
    known = np.zeros_like(total)
    np.add.at(total, where, np.nan_to_num(added, nan=0.0))
    np.add.at(known, where, np.isfinite(added))
    total[known == 0] = np.nan
    coords_l0 = (cells[:, ::-1] * step + origin).astype(np.int64)
    return PatchGrid(np.ascontiguousarray(coords_l0), finest.step_l0, finest.step_l0), total


def common_share(first: PatchGrid, second: PatchGrid) -> float:
    """Return the share of the smaller of two covered areas that lies in the other, in cells of the coarser grid.
    """
    step = np.maximum(first.step_l0, second.step_l0)
    one, two = ({tuple(cell) for cell in _centres(grid, step).tolist()} for grid in (first, second))
    return len(one & two) / min(len(one), len(two)) if one and two else 0.0


def _centres(grid: PatchGrid, step: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.asarray((grid.coords_l0 + np.array(grid.size_l0) // 2) // step, np.int64)
