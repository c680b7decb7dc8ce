"""Whether a model looks where a pathologist drew: a slide's scores compared with one annotated class.

A patch is inside if at least half of its area is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.insight.annotations import Annotations
from mil_heatmaps.insight.packages import needed
from mil_heatmaps.scores.mass import mass_shares, top_patches
from mil_heatmaps.scores.patch_scores import ScoreKind
from mil_heatmaps.slides.patch_grid import PatchGrid

INSIDE = 0.5
"""Share of a patch that must be annotated for the patch to be inside."""

MEASURES = ("auroc", "average_precision", "pointing", "dice", "enrichment")


@dataclass(frozen=True)
class Agreement:
    """Scores of one slide compared with one class. Numbers that need patches on both sides are NaN without them.

    Attributes
    ----------
    patches, inside, outside : int
        Number of patches with a score, and how many of these are annotated and not.
    auroc, average_precision : float
        Of the scores, for inside against outside.
    pointing : float
        Whether the highest patch is inside, 0 or 1; the share of those inside where several tie for highest.
    dice : float
        2 |top and inside| / (|top| + |inside|) of the top `q` patches.
    mass_inside, area_inside : float
        Share of the attention, and of the patches' area (the tissue), that is annotated.
    enrichment : float
        mass_inside / area_inside: 1 is no better than chance.
    """

    patches: int
    inside: int
    outside: int
    auroc: float
    average_precision: float
    pointing: float
    dice: float
    mass_inside: float
    area_inside: float
    enrichment: float


def agreement(
    values: npt.ArrayLike, shares: npt.ArrayLike, kind: ScoreKind = "external", top: float = 0.05
) -> Agreement:
    """Return how scores agree with an annotation.

    Parameters
    ----------
    values : (N,)
        NaN values are left out.
    shares : (N,)
        The annotated share of each patch, 0 to 1; booleans work as well.
    kind : ScoreKind
        Says how scores become mass; see `mass_shares`.
    top : float
        Share of the patches that is the top.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    scored = np.isfinite(numbers)
    numbers, area = numbers[scored], np.asarray(shares, dtype=np.float64).ravel()[scored]
    inside = area >= INSIDE
    count, some = len(numbers), int(inside.sum())
    auroc = precision = pointing = dice = math.nan
    if 0 < some < count:
        metrics = needed("sklearn.metrics", "agreement with annotations")
        auroc = float(metrics.roc_auc_score(inside, numbers))
        precision = float(metrics.average_precision_score(inside, numbers))
    if some:
        pointing = float(inside[numbers == numbers.max()].mean())
        chosen = top_patches(numbers, top)
        dice = 2 * float(inside[chosen].sum()) / (len(chosen) + some)
    mass = float(mass_shares(numbers, kind) @ area) if count else math.nan
    mean = float(area.mean()) if count else math.nan
    enrichment = mass / mean if mean > 0 else math.nan
    return Agreement(count, some, count - some, auroc, precision, pointing, dice, mass, mean, enrichment)


def annotated_shares(annotations: Annotations, name: str, grid: PatchGrid) -> npt.NDArray[np.float64]:
    """Return the share of each patch that is annotated as a class, (N,), 0 to 1."""
    if annotations.mask is not None:
        labels = tuple(number for number, own in annotations.mask_names.items() if own == name)
        return annotations.mask.shares(grid, labels)
    return polygon_shares(annotations.polygons[name], grid)


def polygon_shares(shape: Any, grid: PatchGrid) -> npt.NDArray[np.float64]:
    """Return the share of each patch that lies in a shapely geometry, (N,)."""
    shapely = needed("shapely", "agreement with annotations")
    x0, y0 = grid.coords_l0.T.astype(np.float64)
    boxes = shapely.box(x0, y0, x0 + grid.size_l0[0], y0 + grid.size_l0[1])
    shapely.prepare(shape)
    shares = np.zeros(len(grid))
    within = shapely.contains(shape, boxes)
    shares[within] = 1.0
    partly = np.flatnonzero(shapely.intersects(shape, boxes) & ~within)
    area = grid.size_l0[0] * grid.size_l0[1]
    shares[partly] = shapely.area(shapely.intersection(boxes[partly], shape)) / area
    return np.clip(shares, 0, 1)


def agreement_rows(
    annotations: Annotations, columns: Mapping[str, npt.NDArray[Any]], usual: str, kind: ScoreKind, grid: PatchGrid,
    top: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return one row per class, with the score of the class's own name if there is one, else the usual score.

    A class that lies on no patch has a row with the reason.
    """
    rows = []
    for name in annotations.classes:
        column = name if name in columns else usual
        found = agreement(columns[column], annotated_shares(annotations, name, grid), kind, top)
        note = "no patch is inside: the annotation misses the scored tissue, or is smaller than half a patch"
        rows.append({"class": name, "score": column, **asdict(found), "error": "" if found.inside else note})
    return rows
