"""How much of a slide's attention lies on artefacts, by the masks of GrandQC and HistoQC.

A mask's scale comes from its own size and the slide's, never from a stated resolution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import ARTEFACTS
from mil_heatmaps.errors import TissueError
from mil_heatmaps.insight.label_masks import LabelMask, read_label_mask
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.mass import TOP, mass_shares, top_patches
from mil_heatmaps.scores.patch_scores import ScoreKind
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import share_in_words

TISSUE = 1
_GRAND_QC = {2: "fold", 3: "dark", 4: "pen", 5: "edge", 6: "blur"}
"""GrandQC's numbers; 1 is tissue, everything else glass."""

_HISTO_QC = {
    "pen_markings": "pen", "coverslip_edge": "edge", "bubble": "edge", "blurry": "blur", "dark": "dark",
    "folds": "fold", "tissue_folds": "fold",
}  # fmt: skip
"""HistoQC's masks of artefacts beside ``S.svs_mask_use.png``, by the end of their names."""

WORDS = {"fold": "folds", "dark": "dark spots", "pen": "pen marks", "edge": "edges or bubbles", "blur": "blur"}

MOSTLY = 0.5
"""Share of a patch that must be artefact for the patch to be left out."""

_NOTED = 0.01
"""How far an artefact's share of attention or top patches must exceed its share of the tissue for a notice."""


class QcMask(LabelMask):
    """A quality-control mask on its slide: 1 for tissue, 2 to 6 in the order of `ARTEFACTS`, 0 for glass."""

    @property
    def tissue_shares(self) -> dict[str, float]:
        """The share of the tissue, artefacts included, that each artefact covers."""
        counts = np.bincount(self.values.ravel(), minlength=2 + len(ARTEFACTS))
        everything = int(counts[TISSUE:].sum())
        return {name: float(counts[2 + k]) / everything if everything else 0.0 for k, name in enumerate(ARTEFACTS)}

    def patch_shares(self, grid: PatchGrid) -> dict[str, npt.NDArray[np.float64]]:
        """Return the share of each patch that each artefact covers, (N,)."""
        return {
            name: self.shares(grid, (2 + k,)) for k, name in enumerate(ARTEFACTS) if (self.values == 2 + k).any()
        }


@dataclass(frozen=True)
class OnArtefact:
    """Attention on one artefact: its share of the tissue, of the attention, and of the top 5 % of the patches."""

    tissue: float
    attention: float
    top: float


def qc_files(path: Path) -> list[Path]:
    """Return the files of a mask: HistoQC writes one per artefact."""
    stem = _histo_stem(path)
    if stem is None:
        return [path]
    beside = [path.with_name(f"{stem}_{end}.png") for end in _HISTO_QC]
    return [path, *(mask for mask in beside if mask.is_file())]


def read_qc_mask(path: Path, space: SlideSpace) -> QcMask:
    """Return the mask of a slide: GrandQC's, or HistoQC's where the name ends in ``_mask_use.png``.

    TissueError if the file is not a mask, has another shape than the slide, or has numbers that GrandQC does not use.
    """
    mask = read_label_mask(path, space)
    values, place = mask.values, (mask.downsample, mask.corner_l0)
    if (stem := _histo_stem(path)) is None:
        if len(strange := np.setdiff1d(np.unique(values), np.arange(8))):
            held = ", ".join(map(str, strange[:5].tolist()))
            raise TissueError(f"{path} is not a mask of GrandQC, whose numbers are 0 to 7: it holds {held}")
        labels = np.zeros(values.shape, np.uint8)
        labels[values == TISSUE] = TISSUE
        for number, name in _GRAND_QC.items():
            labels[values == number] = 2 + ARTEFACTS.index(name)
        return QcMask(labels, *place)
    labels = (values > 0).astype(np.uint8) * np.uint8(TISSUE)
    for end, name in _HISTO_QC.items():
        beside = path.with_name(f"{stem}_{end}.png")
        if beside.is_file():
            own = read_label_mask(beside, space).values
            if own.shape != labels.shape:
                raise TissueError(f"{beside} has {own.shape[1]} x {own.shape[0]} pixels, {path.name} has another size")
            labels[own > 0] = 2 + ARTEFACTS.index(name)
    return QcMask(labels, *place)


def _histo_stem(path: Path) -> str | None:
    match = re.fullmatch(r"(?s)(.+)_mask_use\.png", path.name, re.IGNORECASE)
    return match[1] if match else None


def on_artefacts(
    values: npt.ArrayLike, kind: ScoreKind, shares: Mapping[str, npt.NDArray[np.float64]], tissue: Mapping[str, float]
) -> dict[str, OnArtefact]:
    """Return how much of a slide's scores lies on each artefact present.

    Parameters
    ----------
    values : (N,)
    shares : artefact -> (N,)
        Share of each patch that the artefact covers.
    tissue : artefact -> share of the tissue
    """
    mass, top = mass_shares(values, kind), top_patches(values, TOP)
    return {
        name: OnArtefact(tissue[name], float(mass @ own), float(own[top].mean()) if len(top) else 0.0)
        for name, own in shares.items()
    }


def qc_columns(found: Mapping[str, OnArtefact], without: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return the columns for a run's lists."""
    columns = dict[str, float]()
    for name, on in found.items():
        columns |= {f"qc_{name}_tissue": on.tissue, f"qc_{name}_attention": on.attention, f"qc_{name}_top": on.top}
        if without and name in without:
            columns[f"qc_{name}_p_without"] = without[name]
    return columns


def qc_notices(found: Mapping[str, OnArtefact]) -> list[Notice]:
    """Return a notice for each artefact whose share of the attention, or top patches, exceeds its share of tissue."""
    notices = []
    for name, on in found.items():
        of_top = on.top - on.tissue >= on.attention - on.tissue
        share, what = (on.top, f"the top {TOP:.0%}") if of_top else (on.attention, "the attention")
        if share - on.tissue > _NOTED:
            of_tissue = f"which are {share_in_words(on.tissue)} of the tissue"
            text = f"{share_in_words(share)} of {what} lies on {WORDS[name]}, {of_tissue}"
            notices.append(Notice("artefacts", text.replace("blur, which are", "blur, which is")))
    return notices


def mostly(shares: Mapping[str, npt.NDArray[np.float64]], names: Any) -> npt.NDArray[np.bool_]:
    """Return (N,) true for patches of which the named artefacts together cover at least half."""
    chosen = [shares[name] for name in names if name in shares]
    size = len(next(iter(shares.values()))) if shares else 0
    return np.asarray(np.sum(chosen, axis=0) >= MOSTLY) if chosen else np.zeros(size, bool)
