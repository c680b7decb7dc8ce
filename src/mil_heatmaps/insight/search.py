"""Similar patches in a cohort: those whose features have the highest exact cosine to one patch's, slide by slide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.words import reason_of

MOST, A_SLIDE = 50, 3
_BLOCK = 16_384


@dataclass(frozen=True, order=True)
class Found:
    """A patch similar to the query: its cosine, slide, and row among the slide's patches."""

    cosine: float
    slide_id: str
    row: int


def similarities(features: npt.NDArray[Any], query: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the cosine of each row (N, D), as stored, with a vector (D,), in blocks of 16,384 rows.

    FeatureError for another width, or a vector of zeros.
    """
    if features.shape[1] != len(query):
        raise FeatureError(f"features are {features.shape[1]} wide, the patch's are {len(query)}")
    vector = np.asarray(query, np.float32)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or not length:
        raise FeatureError("the patch's features are all zero or not finite: nothing is like it")
    out = np.empty(len(features), np.float32)
    for start in range(0, len(features), _BLOCK):
        block = features[start : start + _BLOCK].astype(np.float32)
        lengths = np.maximum(np.linalg.norm(block, axis=1), np.finfo(np.float32).tiny)
        out[start : start + _BLOCK] = block @ (vector / length) / lengths
    return out


def where_else(
    query: npt.NDArray[Any],
    slides: Iterator[tuple[str, Callable[[], npt.NDArray[Any]]]],
    *,
    most: int = MOST,
    a_slide: int = A_SLIDE,
    but: tuple[str, int] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Found]:
    """Return the patches most similar to `query`, highest cosine first.

    Parameters
    ----------
    slides : pairs of slide_id and a function that reads its features
    Read one after the other; a slide that cannot be read, or has another width, is reported and left out.
    most, a_slide : int
        Maximum number of patches in all, and per slide.
    but : (slide_id, row), optional
        The query patch itself, which is left out.
    """
    best: list[Found] = []
    for slide_id, read in slides:
        try:
            cosine = similarities(read(), query)
        except (HeatmapError, OSError) as error:
            say(f"{slide_id}: left out, {reason_of(error)}")
            continue
        if but is not None and but[0] == slide_id:
            cosine[but[1]] = -np.inf
        top = np.argsort(-cosine, kind="stable")[:a_slide]
        best += [Found(float(cosine[row]), slide_id, int(row)) for row in top if np.isfinite(cosine[row])]
        best = sorted(best, key=lambda found: (-found.cosine, found.slide_id, found.row))[:most]
    return best
