"""Outlines of a slide with their properties, for all export formats: high-score regions, evidence set, tissue."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.regions import Region, merge_patches
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.slides.tissue_files import closed_ring

_TISSUE_COLOUR = [0, 160, 0]
_REGION_COLOUR = [200, 0, 0]
_EVIDENCE_COLOUR = [0, 0, 0]

Ring = list[list[int]]


@dataclass(frozen=True)
class DrawnMap:
    """One column of the scores as drawn.

    Attributes
    ----------
    name : str
        Name of the column, such as ``attention LSCC``.
    scores : (N,) float
        Scores as returned by the model.
    shades : (N,) float64
        The scores on the colour scale, 0 to 1; NaN for patches that are not drawn.
    table : (n, 3) uint8
        The colours of the scale.
    """

    name: str
    scores: npt.NDArray[Any]
    shades: npt.NDArray[np.float64]
    table: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """A polygon in level-0 pixels with its properties.

    Attributes
    ----------
    rings_l0 : closed rings of x, y; the first is the outline, the others its holes
    kind : str
        Class of the outline, such as ``Tissue``.
    colour : [red, green, blue]
    name : str
        Empty for tissue.
    measurements : name -> number
    """

    rings_l0: list[Ring]
    kind: str
    colour: list[int]
    name: str = ""
    measurements: dict[str, float] | None = None


def polygon_wkb(rings: Sequence[Ring]) -> bytes:
    """Return a polygon as well-known binary (ISO 19125): byte order, 3 for a polygon, rings of points."""
    parts = [struct.pack("<BII", 1, 3, len(rings))]
    for ring in rings:
        parts.append(struct.pack("<I", len(ring)) + np.asarray(ring, "<f8").tobytes())
    return b"".join(parts)


def hot_regions(scores: ScoreFile, drawn: DrawnMap, threshold: float) -> list[Region]:
    """Return the patches at or above `threshold` on the colour scale, merged where they touch; the largest first."""
    with np.errstate(invalid="ignore"):
        return merge_patches(scores.grid, drawn.shades >= threshold)


def region_outline(region: Region, number: int, scores: ScoreFile, drawn: DrawnMap) -> Outline:
    """Return a high-score region with its number, mean and highest score, and area."""
    values = drawn.scores[region.patches].astype(np.float64)
    measurements = {
        "Patches": len(region.patches),
        "Area px^2": region.area_px,
        f"{drawn.name} mean": float(values.mean()),
        f"{drawn.name} max": float(values.max()),
        **_areas(region, scores),
    }
    return Outline(_rings(region), "High-score region", _REGION_COLOUR, f"{drawn.name} {number}", measurements)


def evidence_outlines(evidence: Sequence[Region], scores: ScoreFile) -> Iterator[Outline]:
    """Yield the patches that are sufficient for the model on their own."""
    for region in evidence:
        measurements = {"Patches": len(region.patches), **_areas(region, scores)}
        name = "Evidence set: sufficient for this model"
        yield Outline(_rings(region), "Evidence set", _EVIDENCE_COLOUR, name, measurements)


def tissue_outlines(mask: TissueMask | None) -> Iterator[Outline]:
    """Yield the pieces of tissue with their holes."""
    for contour, holes in () if mask is None else zip(mask.contours_l0, mask.holes_l0, strict=True):
        yield Outline([closed_ring(part) for part in (contour, *holes)], "Tissue", _TISSUE_COLOUR)


def _rings(region: Region) -> list[Ring]:
    return [ring.tolist() for ring in region.rings_l0]


def _areas(region: Region, scores: ScoreFile) -> dict[str, float]:
    mpp = scores.level0_mpp
    return {"Area px^2": region.area_px} | ({} if mpp is None else {"Area µm^2": region.area_px * mpp**2})
