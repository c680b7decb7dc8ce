"""Choose the patches worth looking at, and cut them from the slide.

Percentiles run from 0 to 100 within the slide. Choosing is deterministic: ties keep the order of the patches,
and random sampling depends on the seed alone.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ConfigError, SlideError
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.roi import patches_in_box
from mil_heatmaps.visualization.frame import region_between
from mil_heatmaps.visualization.patch_arguments import PatchSize, as_grid, as_scores
from mil_heatmaps.visualization.tissue_slide import TissueSlide

Mode = Literal["topk", "reverse_topk", "range_sample"]
Unit = Literal["auto", "percent", "fraction"]


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

    def with_image(self, image: UInt8Array) -> "SampledPatch":
        """Return the patch with another picture of it."""
        return replace(self, image=image)

    def __repr__(self) -> str:
        return f"SampledPatch(rank={self.rank}, coords_l0={self.coords_l0}, percentile={self.percentile:.3f})"


@dataclass(frozen=True)
class Choice:
    """Which patches are taken, at most `k`.

    Attributes
    ----------
    mode
        ``topk`` the highest, best first; ``reverse_topk`` the lowest, worst first; ``range_sample`` a random
        sample without replacement among those with `score_start` <= percentile <= `score_end`, drawn as
        NumPy's legacy generator draws it, so that CLAM's samples come again.
    seed : int
        Of the random sample.
    unit
        Of the window. ``auto`` reads one that ends at 1 or below as shares, so (0, 1) is everything and
        (0.45, 0.55) the middle; ``percent`` and ``fraction`` say it. CLAM knows percent only, though its
        defaults are shares.

    Raises
    ------
    ConfigError
        For an unknown mode or unit, a negative `k`, or a window that is upside down or beyond 100.
    """

    k: int = 15
    mode: Mode = "topk"
    seed: int = 1
    score_start: float = 0
    score_end: float = 1
    unit: Unit = "auto"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(f"unknown sampling mode {self.mode!r}; choose from {list(get_args(Mode))}")
        if self.k < 0:
            raise ConfigError(f"k must be at least 0, got {self.k}")
        if self.unit not in get_args(Unit):
            raise ConfigError(f"unknown unit {self.unit!r}; choose from 'auto', 'percent', 'fraction'")
        low, high = self.window
        if self.mode == "range_sample" and not 0 <= low <= high <= 100:
            raise ConfigError(
                f"the window {self.score_start:g} to {self.score_end:g} holds no percentile; score_start and score_end "
                "rise, from 0 to 1 or from 0 to 100"
            )

    @property
    def window(self) -> tuple[float, float]:
        """Both ends as percentiles."""
        factor = 100 if self.unit == "fraction" or (self.unit == "auto" and self.score_end <= 1) else 1
        return self.score_start * factor, self.score_end * factor


def choose_patches(
    percentiles: npt.NDArray[np.float64], choice: Choice, candidates: npt.NDArray[np.intp] | None = None
) -> npt.NDArray[np.intp]:
    """Return the numbers of the chosen patches, in the order CLAM lists them.

    Parameters
    ----------
    percentiles : (N,)
        0 to 100; NaN is never chosen.
    candidates : (M,), optional
        Numbers to choose from; all when left out.
    """
    pool = np.arange(len(percentiles)) if candidates is None else np.asarray(candidates, np.intp)
    pool = pool[np.isfinite(percentiles[pool])]
    if choice.mode == "topk":
        return pool[np.argsort(-percentiles[pool], kind="stable")[: choice.k]]
    if choice.mode == "reverse_topk":
        return pool[np.argsort(percentiles[pool], kind="stable")[: choice.k]]
    low, high = choice.window
    pool = pool[(percentiles[pool] >= low) & (percentiles[pool] <= high)]
    if not len(pool):
        return pool
    # The legacy generator on purpose: NumPy promises that its stream never changes.
    return np.random.RandomState(choice.seed).choice(pool, min(choice.k, len(pool)), replace=False)


def sample_top_patches(
    scores: npt.ArrayLike,
    coords: npt.ArrayLike | PatchGrid,
    slide_path: str | os.PathLike[str] | None = None,
    wsi_object: TissueSlide | Slide | None = None,
    *,
    patch_size: PatchSize = (256, 256),
    patch_level: int = 0,
    top_left: Sequence[int] | None = None,
    bot_right: Sequence[int] | None = None,
    **choice: Any,
) -> list[SampledPatch]:
    """Return the patches with the highest scores (or another choice) and their pictures; at most `k`.

    Parameters
    ----------
    scores : (N,), (N, 1) or (1, N)
        NaN and infinite ones are left out.
    coords : (N, 2)
        Level-0 corners.
    patch_size : int or (width, height)
        Size of the pictures, in pixels of `patch_level`. A grid has its own.
    top_left, bot_right : (x, y)
        Choose only patches that begin in this region; percentiles stay those of the whole slide.
    k, mode, seed, score_start, score_end, unit
        The fields of `Choice`.
    """
    grid = as_grid(coords, patch_size)
    drawn, chosen, region = as_scores(scores, len(grid)), Choice(**choice), region_between(top_left, bot_right)
    candidates = None if region is None else np.flatnonzero(patches_in_box(grid, *region))
    with ExitStack() as stack:
        slide = _slide(stack, slide_path, wsi_object)
        return sample_patches(drawn, grid, slide, chosen, candidates, size_px=grid.size_l0, level=patch_level)


def sample_patches(
    scores: npt.NDArray[Any],
    grid: PatchGrid,
    slide: Slide,
    choice: Choice,
    candidates: npt.NDArray[np.intp] | None = None,
    *,
    size_px: tuple[int, int],
    level: int = 0,
) -> list[SampledPatch]:
    """Return the chosen patches, their pictures of `size_px` pixels of a level; see `choose_patches`."""
    chosen = choose_patches(rank_percentiles(scores), choice, candidates)
    return patches_at(chosen, scores, grid, slide, size_px=size_px, level=level)


def patches_at(
    chosen: npt.NDArray[Any], scores: npt.NDArray[Any], grid: PatchGrid, slide: Slide, *, size_px: tuple[int, int],
    level: int = 0,
) -> list[SampledPatch]:  # fmt: skip
    """Return patches by their numbers, with what their scores are among all, their pictures of `size_px` pixels."""
    percentiles, ranks = rank_percentiles(scores), _ranks(scores)
    level, _ = slide.clamp_level(level)
    return [
        SampledPatch(
            coords_l0=(int(x), int(y)),
            score=float(scores[index]),
            percentile=float(percentiles[index]),
            rank=int(ranks[index]),
            index=int(index),
            image=slide.read_region((int(x), int(y)), level, size_px),
        )
        for index, (x, y) in zip(chosen, grid.coords_l0[chosen], strict=True)
    ]


def _ranks(scores: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return 1 for the highest score, 2 for the next; ties in patch order, NaN and infinite last."""
    order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")
    ranks = np.empty(len(scores), np.intp)
    ranks[order] = np.arange(1, len(scores) + 1)
    return ranks


def _slide(
    stack: ExitStack, slide_path: str | os.PathLike[str] | None, wsi_object: TissueSlide | Slide | None
) -> Slide:
    if isinstance(wsi_object, TissueSlide):
        return wsi_object.slide
    if wsi_object is not None:
        return wsi_object
    if slide_path is None:
        raise SlideError("sampling patches needs a slide: give slide_path or wsi_object")
    return stack.enter_context(open_slide(slide_path))
