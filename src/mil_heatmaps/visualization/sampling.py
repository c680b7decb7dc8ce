"""Choose the patches worth looking at, and cut them from the slide.

Percentiles run from 0 to 100 within the slide. Choosing is deterministic: ties keep the order of the patches,
and random sampling depends on the seed alone.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ConfigError, SlideError
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.visualization.patch_arguments import PatchSize, as_grid, as_scores, inside_region
from mil_heatmaps.visualization.wsi_object import WholeSlideImage

Mode = Literal["topk", "reverse_topk", "range_sample"]
Unit = Literal["auto", "percent", "fraction"]
MODES = ("topk", "reverse_topk", "range_sample")


@dataclass(frozen=True, repr=False, eq=False)
class SampledPatch:
    """One patch that was chosen.

    Attributes
    ----------
    coords_l0 : (x, y)
        Top-left corner.
    score : float
        As given.
    percentile : float
        Within the slide, 0 to 100; before any region is applied.
    rank : int
        1 is the highest score of the slide.
    index : int
        Position among the scores.
    image : (h, w, 3) uint8
    """

    coords_l0: tuple[int, int]
    score: float
    percentile: float
    rank: int
    index: int
    image: UInt8Array

    def __repr__(self) -> str:
        return f"SampledPatch(rank={self.rank}, coords_l0={self.coords_l0}, percentile={self.percentile:.3f})"


def choose_patches(
    percentiles: npt.NDArray[np.float64],
    candidates: npt.NDArray[np.intp] | None = None,
    *,
    k: int = 15,
    mode: Mode = "topk",
    seed: int = 1,
    score_start: float = 0,
    score_end: float = 1,
    unit: Unit = "auto",
) -> npt.NDArray[np.intp]:
    """Return the indices of the chosen patches, at most `k`, in the order CLAM lists them.

    Parameters
    ----------
    percentiles : (N,)
        0 to 100; NaN is never chosen.
    candidates : (M,), optional
        Indices to choose from; all when left out.
    mode
        ``topk`` the highest, best first; ``reverse_topk`` the lowest, worst first; ``range_sample`` a random
        sample without replacement among those with `score_start` <= percentile <= `score_end`, drawn as
        NumPy's legacy generator draws it, so that CLAM's samples come again.
    unit
        Of the window. ``auto`` reads one that ends at 1 or below as shares, so (0, 1) is everything and
        (0.45, 0.55) the middle; ``percent`` and ``fraction`` say it. CLAM knows percent only, though its
        defaults are shares.

    Raises
    ------
    ConfigError
        For an unknown mode or unit, a negative `k`, or a window that is upside down or beyond 100.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown sampling mode {mode!r}; choose from {list(MODES)}")
    if k < 0:
        raise ConfigError(f"k must be at least 0, got {k}")
    pool = np.arange(len(percentiles)) if candidates is None else np.asarray(candidates, np.intp)
    pool = pool[np.isfinite(percentiles[pool])]
    if mode == "topk":
        return pool[np.argsort(-percentiles[pool], kind="stable")[:k]]
    if mode == "reverse_topk":
        return pool[np.argsort(percentiles[pool], kind="stable")[:k]]
    low, high = _window(score_start, score_end, unit)
    pool = pool[(percentiles[pool] >= low) & (percentiles[pool] <= high)]
    if not len(pool):
        return pool
    # The legacy generator on purpose: NumPy promises that its stream never changes.
    return np.random.RandomState(seed).choice(pool, min(k, len(pool)), replace=False)


def _window(start: float, end: float, unit: Unit) -> tuple[float, float]:
    if unit not in ("auto", "percent", "fraction"):
        raise ConfigError(f"unknown unit {unit!r}; choose from 'auto', 'percent', 'fraction'")
    factor = 100 if unit == "fraction" or (unit == "auto" and end <= 1) else 1
    low, high = start * factor, end * factor
    if not 0 <= low <= high <= 100:
        raise ConfigError(
            f"the window {start:g} to {end:g} holds no percentile; score_start and score_end rise, "
            "from 0 to 1 or from 0 to 100"
        )
    return low, high


def sample_top_patches(
    scores: npt.ArrayLike,
    coords: npt.ArrayLike | PatchGrid,
    slide_path: str | os.PathLike[str] | None = None,
    wsi_object: WholeSlideImage | Slide | None = None,
    *,
    k: int = 15,
    mode: Mode = "topk",
    seed: int = 1,
    score_start: float = 0,
    score_end: float = 1,
    unit: Unit = "auto",
    patch_size: PatchSize = (256, 256),
    patch_level: int = 0,
    top_left: Sequence[int] | None = None,
    bot_right: Sequence[int] | None = None,
) -> list[SampledPatch]:
    """Return the patches that matter, with their pictures; fewer than `k` when there are no more.

    Parameters
    ----------
    scores : (N,), (N, 1) or (1, N)
        NaN and infinite ones are left out.
    coords : (N, 2)
        Level-0 corners.
    k, mode, seed, score_start, score_end, unit
        See `choose_patches`.
    patch_size : int or (width, height)
        Of the pictures, in pixels of `patch_level`.
    top_left, bot_right : (x, y)
        Choose only patches that begin in this region; percentiles stay those of the whole slide.
    """
    grid = as_grid(coords, patch_size)
    values = as_scores(scores, len(grid))
    percentiles = rank_percentiles(values)
    candidates = None
    if (top_left is None) != (bot_right is None):
        raise ConfigError("a region needs both corners, top_left and bot_right")
    if top_left is not None and bot_right is not None:
        candidates = np.flatnonzero(inside_region(grid, top_left, bot_right))
    chosen = choose_patches(
        percentiles,
        candidates,
        k=k,
        mode=mode,
        seed=seed,
        score_start=score_start,
        score_end=score_end,
        unit=unit,
    )
    ranks = _ranks(values)
    with ExitStack() as stack:
        slide = _slide(stack, slide_path, wsi_object)
        level, _ = slide.clamp_level(patch_level)
        return [
            SampledPatch(
                coords_l0=(int(x), int(y)),
                score=float(values[index]),
                percentile=float(percentiles[index]),
                rank=int(ranks[index]),
                index=int(index),
                image=slide.read_region((int(x), int(y)), level, grid.size_l0),
            )
            for index, (x, y) in zip(chosen, grid.coords_l0[chosen], strict=True)
        ]


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return 1 for the highest score, 2 for the next; ties in patch order, NaN and infinite last."""
    order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")
    ranks = np.empty(len(values), np.intp)
    ranks[order] = np.arange(1, len(values) + 1)
    return ranks


def _slide(
    stack: ExitStack, slide_path: str | os.PathLike[str] | None, wsi_object: WholeSlideImage | Slide | None
) -> Slide:
    if isinstance(wsi_object, WholeSlideImage):
        return wsi_object.slide
    if wsi_object is not None:
        return wsi_object
    if slide_path is None:
        raise SlideError("sampling patches needs a slide: give slide_path or wsi_object")
    return stack.enter_context(open_slide(slide_path))
