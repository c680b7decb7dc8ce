"""How concentrated a slide's scores are: on three patches, or on half the slide.

Every number is computed from *shares*: non-negative, one per patch, summing to 1; see `mass_shares`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.patch_scores import SIGNED_KINDS, ScoreKind
from mil_heatmaps.scores.select import most_relevant_first
from mil_heatmaps.slides.patch_grid import PatchGrid

if TYPE_CHECKING:
    import numpy.typing as npt

Shares: TypeAlias = "npt.NDArray[np.float64]"

TOP = 0.05
"""Share of the patches whose clusters are counted."""

CLUSTERED = 0.8
"""Share of the top patches' mass in the counted clusters."""

_DOT = 10_000
"""NumPy multiplies longer vectors in threads: the last bit then depends on their number, and they spin afterwards."""

_MOST_CELLS = 1 << 24
"""Cells of the smallest rectangle around the patches, up to which clusters are found on an image of them."""

_TOUCHING = 1 + 1e-6
"""Neighbours, including diagonal ones, are at most this many steps apart; outlines may have separate lattices."""


def mass_shares(values: npt.ArrayLike, kind: ScoreKind) -> Shares:
    """Return each patch's share of the mass, (N,) float64.

    Attention logits go through the softmax; signed kinds count by their positive part; the others are divided by
    their sum. A patch without a score (NaN, or -inf for attention) has the share 0. If no patch has any mass, every
    share is NaN.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    scored = np.isfinite(numbers)
    if not scored.any():
        return np.full(len(numbers), np.nan)
    mass = np.zeros(len(numbers))
    if kind == "attention_logit":
        mass[scored] = np.exp(numbers[scored] - numbers[scored].max())
    elif kind in SIGNED_KINDS:
        mass[scored] = np.maximum(numbers[scored], 0)
    else:
        lowest = float(numbers[scored].min())
        mass[scored] = numbers[scored] - min(lowest, 0.0)
    total = float(mass.sum())
    return mass / total if total > 0 else np.full(len(numbers), np.nan)


def gini(shares: npt.ArrayLike) -> float:
    """Return the Gini coefficient: 0 where all patches are equal, (N - 1) / N where one patch has everything.

    G = sum_i (2 i - N - 1) x_i / (N sum x), x ascending, i from 1.
    """
    ascending = np.sort(np.asarray(shares, dtype=np.float64).ravel())
    count = len(ascending)
    if not count or not ascending.sum() > 0:
        return math.nan
    ranks = 2 * np.arange(1, count + 1) - count - 1
    starts = range(0, count, _DOT)
    weighted = sum(float(ranks[start : start + _DOT] @ ascending[start : start + _DOT]) for start in starts)
    return weighted / (count * float(ascending.sum()))


def entropy(shares: npt.ArrayLike) -> float:
    """Return the entropy of the shares in nats, -sum x log x."""
    numbers = np.asarray(shares, dtype=np.float64).ravel()
    some = numbers[numbers > 0]
    return float(-(some * np.log(some)).sum()) if len(some) else math.nan


def top_count(patches: int, part: float) -> int:
    """Return the number of patches in the top `part`: rounded up, at least one if there are any."""
    return min(patches, max(1, math.ceil(part * patches - 1e-9)))


def top_patches(values: npt.ArrayLike, part: float) -> npt.NDArray[np.intp]:
    """Return the indices of the top `part` of the scored patches, highest first; ties keep their order."""
    return _top(most_relevant_first(np.asarray(values, dtype=np.float64).ravel()), part)


def _top(order: npt.NDArray[np.intp], part: float) -> npt.NDArray[np.intp]:
    return order[: top_count(len(order), part)]


def top_share(shares: npt.ArrayLike, part: float, order: npt.NDArray[np.intp] | None = None) -> float:
    """Return the share of the mass in the top `part` of the patches, such as 0.1 for the top tenth.

    `order` is `most_relevant_first` of the shares, where it is known.
    """
    numbers = np.asarray(shares, dtype=np.float64).ravel()
    if not len(numbers) or np.isnan(numbers[0]):
        return math.nan
    return float(numbers[_top(most_relevant_first(numbers) if order is None else order, part)].sum())


def highest_to_lowest(shares: npt.ArrayLike) -> float:
    """Return the highest share over the lowest; infinite where a patch has no mass."""
    numbers = np.asarray(shares, dtype=np.float64).ravel()
    if not len(numbers) or np.isnan(numbers).any():
        return math.nan
    lowest, highest = float(numbers.min()), float(numbers.max())
    return highest / lowest if lowest > 0 else math.inf


def spatial_clusters(grid: PatchGrid, patches: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """Return the cluster number of each of the `patches`, from 0 in their order: 8-connected neighbours on the grid."""
    if not len(patches):
        return np.zeros(0, np.int32)
    step_l0 = np.asarray(grid.step_l0)
    columns_rows, beside = np.divmod(grid.coords_l0[patches] - grid.coords_l0[patches].min(axis=0), step_l0)
    if not beside.any() and np.prod(columns_rows.max(axis=0) + 1, dtype=np.float64) <= _MOST_CELLS:
        return _clusters_of_cells(columns_rows)
    places = grid.coords_l0[patches] / step_l0.astype(np.float64)
    # The import takes half a second, and every run imports this module.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(places).query_pairs(_TOUCHING, p=np.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(patches), len(patches)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int32)


def _clusters_of_cells(columns_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return `spatial_clusters` of cells (N, 2) of one lattice; OpenCV is loaded anyway, unlike SciPy."""
    import cv2

    columns, rows = columns_rows.T
    taken = np.zeros((rows.max() + 1, columns.max() + 1), np.uint8)
    taken[rows, columns] = 1
    numbers = cv2.connectedComponents(taken, connectivity=8)[1][rows, columns]
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[which]


def clusters_of_top(
    grid: PatchGrid,
    shares: Shares,
    part: float = TOP,
    held: float = CLUSTERED,
    order: npt.NDArray[np.intp] | None = None,
) -> int:
    """Return how many spatial clusters, largest first, hold `held` of the mass of the top `part` of the patches.

    `order` is that of `top_share`.
    """
    if len(shares) != len(grid):
        raise ValueError(f"{len(grid)} patches but {len(shares)} shares")
    if not len(shares) or np.isnan(shares).any():
        return 0
    top = _top(most_relevant_first(shares) if order is None else order, part)
    masses = np.sort(np.bincount(spatial_clusters(grid, top), weights=shares[top]))[::-1]
    return int(np.searchsorted(np.cumsum(masses), held * masses.sum() * (1 - 1e-12))) + 1


@dataclass(frozen=True)
class Concentration:
    """How concentrated the scores of one slide are.

    Attributes
    ----------
    patches : int
        Patches with a score, N.
    gini : float
    entropy_share : float
        Entropy over log N: 1 where all patches are equal, 0 where one patch has everything.
    perplexity : float
        exp(entropy), 1 to N: this many equal patches have the same entropy. The tables' ``effective_patches`` is a
        different number, 1 / sum(w²) (`scores.concentration`), and never larger.
    top_1, top_5, top_10 : float
        Share of the mass in the top 1 %, 5 % and 10 % of the patches.
    clusters : int or None
        Spatial clusters that hold 80 % of the mass of the top 5 %; None without a grid.
    highest_to_lowest : float
    """

    patches: int
    gini: float
    entropy_share: float
    perplexity: float
    top_1: float
    top_5: float
    top_10: float
    clusters: int | None
    highest_to_lowest: float

    @property
    def columns(self) -> dict[str, float]:
        """The numbers in the lists of a run, by column; unknown numbers are left out."""
        told = {
            "attention_gini": self.gini,
            "attention_entropy": self.entropy_share,
            "attention_top_1_percent": self.top_1,
            "attention_top_5_percent": self.top_5,
            "attention_clusters": math.nan if self.clusters is None else float(self.clusters),
        }
        return {name: value for name, value in told.items() if math.isfinite(value)}


def concentration(values: npt.ArrayLike, kind: ScoreKind, grid: PatchGrid | None = None) -> Concentration:
    """Return how concentrated one column of scores is; patches without a score are left out."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    scored = np.isfinite(numbers)
    shares = mass_shares(numbers[scored], kind)
    count, nats, order = len(shares), entropy(shares), most_relevant_first(shares)
    return Concentration(
        patches=count,
        gini=gini(shares),
        entropy_share=nats / math.log(count) if count > 1 else math.nan,
        perplexity=math.exp(nats) if not math.isnan(nats) else math.nan,
        top_1=top_share(shares, 0.01, order),
        top_5=top_share(shares, 0.05, order),
        top_10=top_share(shares, 0.1, order),
        clusters=None if grid is None else clusters_of_top(grid.take(scored), shares, order=order),
        highest_to_lowest=highest_to_lowest(shares),
    )
