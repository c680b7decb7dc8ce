"""The score file: all data of one slide that a picture, an export or the viewer needs, in one HDF5 file.

It is CLAM's ``<slide>_blockmap.h5`` (``attention_scores`` and ``coords`` as CLAM writes them, so its tools
read it) with an added dataset ``scores``, whose attributes say what the numbers are. Any program may write one;
docs/reference/score_file.md describes the minimum. Names ending ``_l0`` are level-0 pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.case_share import CaseShare
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.words import repeated

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class ScoreFile:
    """The scores of one slide and their origin.

    Attributes
    ----------
    grid : PatchGrid
    scores : PatchScores
        The scores to draw, one column per class or head; its grid becomes `grid`.
    attention : (N,) float32
        The dataset ``attention_scores`` for CLAM's tools. If empty, it is `clam_column` of the scores.
    extra : tuple of PatchScores
        Further scores of the same patches, each with its own name in `PatchScores.score`.
    prediction : Prediction or None
    slide_id : str or None
    slide_size_l0 : (width, height) or None
    level0_mpp : float or None
        Micrometres per level-0 pixel, where the slide states a plausible value.
    model, checkpoint_sha256 : str or None
        The model and checkpoint that made the scores.
    features_file, features_fingerprint, encoder : optional
        The features behind the scores; the fingerprint is plain JSON data.
    program_version : str or None
        Version of the program that wrote the file.
    scored_as : str or None
        How the patches were scored, where this needs words: a fine map by a model that depends on the whole bag.
    case : CaseShare or None
        The bag of several slides in which the scores were computed.
    notices : tuple of Notice
        Notices about the scores from the program that made them; stored in the file.
    notes : tuple of Notice
        Guesses by the reader, and the notices; not stored in the file.
    """

    grid: PatchGrid
    scores: PatchScores
    attention: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    extra: tuple[PatchScores, ...] = ()
    prediction: Prediction | None = None
    slide_id: str | None = None
    slide_size_l0: tuple[int, int] | None = None
    level0_mpp: float | None = None
    model: str | None = None
    checkpoint_sha256: str | None = None
    features_file: str | None = None
    features_fingerprint: Mapping[str, Any] | None = None
    encoder: str | None = None
    program_version: str | None = None
    scored_as: str | None = None
    case: CaseShare | None = None
    notices: tuple[Notice, ...] = ()
    notes: tuple[Notice, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", self._on_grid(self.scores))
        object.__setattr__(self, "extra", tuple(self._on_grid(scores) for scores in self.extra))
        if not len(self.attention):
            object.__setattr__(self, "attention", clam_column(self.scores, self.prediction))
        if self.attention.shape != (len(self.grid),):
            raise ValueError(f"attention must have shape ({len(self.grid)},), got {self.attention.shape}")
        names = [scores.score for scores in (self.scores, *self.extra)]
        if twice := repeated(names):
            raise ValueError(f"two scores are called {twice[0]!r}; each needs a name of its own")

    def _on_grid(self, scores: PatchScores) -> PatchScores:
        if len(scores) != len(self.grid):
            raise ValueError(f"{len(self.grid)} patches but {len(scores)} scores {scores.score!r}")
        same = scores.grid is None or scores.grid is self.grid
        if not same and not np.array_equal(scores.grid.coords_l0, self.grid.coords_l0):  # type: ignore[union-attr]
            raise ValueError(f"scores {scores.score!r} belong to other patches")
        return replace(scores, grid=self.grid)

    @property
    def all_scores(self) -> dict[str, PatchScores]:
        """Every score by its name, the one to draw first."""
        return {scores.score: scores for scores in (self.scores, *self.extra)}

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        return f"ScoreFile(slide_id={self.slide_id!r}, n={len(self)}, scores={list(self.all_scores)})"


def clam_column(scores: PatchScores, prediction: Prediction | None = None) -> Floats:
    """Return the one column that CLAM's tools expect, (N,): that of the predicted class or of a regression's first
    output, else the mean of all columns.

    A class score has the prediction's classes as column names; CLAM_MB is drawn by that column too.
    """
    values = scores.values
    if values.shape[1] == 1:
        return np.ascontiguousarray(values[:, 0])
    if prediction is not None and prediction.task != "survival" and scores.names == prediction.classes:
        column = prediction.predicted if prediction.task in ("classification", "multilabel") else 0
        return np.ascontiguousarray(values[:, column])
    return np.asarray(values.mean(axis=1, dtype=np.float32))
