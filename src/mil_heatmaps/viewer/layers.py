"""Score files as the page wants them: one description a score, its numbers as raw little-endian arrays.

The page gets the exact float32 scores once, not pictures of them: ranks, percentiles, thresholds, other
normalisations and the value under the pointer then need no further request, and half a million patches are
six megabytes.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.concentration import concentration
from mil_heatmaps.scores.normalize import default_method
from mil_heatmaps.scores.patch_scores import (
    FIXED_RANGES,
    FOR_AND_AGAINST,
    MIDDLES,
    SIGNED_KINDS,
    PatchScores,
    Prediction,
)
from mil_heatmaps.viewer.catalog import Defaults, NamedFile
from mil_heatmaps.viewer.stamps import fresh_stamp, stamp_of
from mil_heatmaps.visualization.colour_words import Centre, centre_of, meaning_of
from mil_heatmaps.visualization.palette import own_cmap

if TYPE_CHECKING:
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.slides.slide_space import SlideSpace

MOST_FILES = 4
"""Score files held in memory."""


@dataclass(frozen=True)
class ScoreLayer:
    """One score of one file: one column per class or head."""

    named: NamedFile
    file: int
    scores: PatchScores
    source: "ScoreFile"
    stamp: str = ""

    @property
    def is_signed(self) -> bool:
        """Whether its map has a middle."""
        return self.scores.kind in SIGNED_KINDS

    def describe(self) -> dict[str, Any]:
        """Return all but the numbers, as JSON values."""
        grid, source = self.source.grid, self.source
        return {
            "type": "scores",
            "title": self.named.title,
            "run": self.named.run,
            "stamp": self.stamp,
            "file": self.file,
            "source": self.named.source,
            "bag": self.named.bag,
            "usual": default_method(self.scores.kind),
            "score": self.scores.score,
            "kind": self.scores.kind,
            "signed": self.is_signed,
            "fixed": FIXED_RANGES.get(self.scores.kind),
            "spread": [None if told is None else {"words": told.words, "even": told.nearly_even}
                       for told in (concentration(column, self.scores.kind) for column in self.scores.values.T)],
            "names": list(self.scores.names),
            "count": len(grid),
            "patch": list(grid.size_l0),
            "step": list(grid.step_l0),
            "model": source.model or "",
            "checkpoint": (source.checkpoint_sha256 or "")[:12],
            "encoder": source.encoder or "",
            "slideSize": None if source.slide_size_l0 is None else list(source.slide_size_l0),
            "prediction": None if source.prediction is None else _prediction(source.prediction),
        }

    def colours(self, defaults: Defaults, medians: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Return how a run colours the score, as JSON values: colormap, and the middle of each column and its words.

        `medians` are the cohort's, by column, of the score that the run draws: the main one of its file.
        """
        scores, prediction = self.scores, self.source.prediction
        own = own_cmap(scores.kind)
        asked = defaults.center if self.is_signed else "auto"
        known = medians if medians and scores is self.source.scores else {}
        usual = Centre(MIDDLES[scores.kind]) if scores.kind in MIDDLES and scores.kind not in SIGNED_KINDS else None
        centres = [centre_of(scores, name, asked, prediction, known.get(name)) or usual for name in scores.names]
        said = [
            meaning_of(scores, name, prediction).said("{down}", "{up}", centre)
            for name, centre in zip(scores.names, centres, strict=True)
        ]
        return {
            "cmap": own or (defaults.cmap_signed if scores.kind in FOR_AND_AGAINST else None),
            "cmapOfRanks": own is not None or defaults.cmap is None,  # ranks have no middle: the run's own
            "centers": [None if centre is None else [centre.value, centre.name] for centre in centres],
            "meanings": said,
        }

    def coords(self) -> bytes:
        """Return x, y of every patch as int32."""
        grid = self.source.grid
        limits = np.iinfo(np.int32)
        if len(grid) and (grid.coords_l0.min() < limits.min or grid.coords_l0.max() > limits.max):
            raise ScoreError("coordinates beyond 2 147 483 647 pixels cannot be shown")
        return grid.coords_l0.astype("<i4").tobytes()

    def column(self, index: int) -> bytes:
        """Return one score per patch as float32."""
        return np.ascontiguousarray(self.scores.values[:, index]).astype("<f4").tobytes()


def _prediction(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON values; only a classification has a class that is predicted."""
    told: dict[str, Any] = {"task": prediction.task, "classes": list(prediction.classes)}
    if prediction.task != "classification":
        return {**told, "predicted": None, "summary": prediction.summary, "details": prediction.details}
    values = [_finite(p) for p in prediction.probabilities.tolist()]
    told |= {"predicted": prediction.predicted, "values": values}
    return {**told, "details": prediction.details} if prediction.independent else told


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def layers_of(source: "ScoreFile", named: NamedFile, file: int, stamp: str) -> list[ScoreLayer]:
    """Return the scores of a file as layers, its main one first."""
    return [ScoreLayer(named, file, scores, source, stamp) for scores in (source.scores, *source.extra)]


class ScoreFiles:
    """Reads score files when asked for, and keeps those used last; safe to share between threads."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[Path, str], tuple[str, ScoreFile]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, slide_id: str, space: "SlideSpace | None" = None) -> "tuple[str, ScoreFile]":
        """Return the stamp of `path` and the scores in it: a score file, CLAM's own, or a table.

        ScoreError when it has none. A file that was rewritten is read again. `slide_id` picks the rows of a table that
        holds several slides; `space` is what coordinates mean on the slide.
        """
        from mil_heatmaps.scores.external_scores import read_external_scores

        key, stamp = (path, slide_id), stamp_of(path)
        with self._lock:
            held = self._files.get(key)
            if held is not None and held[0] == stamp:
                self._files.move_to_end(key)
                return held
        read = fresh_stamp(path), read_external_scores(path, slide_id=slide_id, space=space)
        with self._lock:
            self._files[key] = read
            while len(self._files) > MOST_FILES:
                self._files.popitem(last=False)
        return read
