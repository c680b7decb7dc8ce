"""Concepts: named vectors that patches are compared with, and the resulting scores.

``similarity_to`` is the cosine of a patch's features x and a concept v, x·v / (|x| |v|), one column per concept.
``concept_probability`` is softmax(cosine / temperature) over the concepts, as CLIP classifies without training
(Radford et al., 2021). ``concept_class`` is the number of the concept with the highest cosine.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import CONCEPT_SCORES
from mil_heatmaps.errors import FeatureError, ScoreError
from mil_heatmaps.files.arrays import read_arrays, read_npy, read_safetensors
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.words import first_of, repeated, said_by

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.slides.patch_grid import PatchGrid

TEMPERATURE = 0.01
"""CLIP's temperature at the end of its training."""

MOST_COLOURS = 20
"""Maximum number of concepts that the colours of a class map can tell apart."""

_CHUNK_ROWS = 8192
_ENCODER, _TEMPERATURE = "__encoder__", "__temperature__"


@dataclass(frozen=True, eq=False)
class Concepts:
    """Named vectors.

    Attributes
    ----------
    names : K str
    vectors : (K, D) float32, of length 1
    temperature : float or None
        For the softmax; None: `TEMPERATURE`.
    encoders : names of the encoders whose features share the vectors' space; empty where unknown
    source : origin of the vectors, for messages
    """

    names: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    temperature: float | None = None
    encoders: tuple[str, ...] = ()
    source: str = "concepts"

    @classmethod
    def of(cls, named: Mapping[str, Any], source: str, **more: Any) -> Concepts:
        """Return checked concepts; ScoreError for no concepts, unequal widths, zero vectors or non-finite numbers."""
        if not named:
            raise ScoreError(f"{source} holds no concept")
        names, rows = tuple(named), [np.asarray(vector, np.float64).reshape(-1) for vector in named.values()]
        for name, row in zip(names, rows, strict=True):
            if len(row) != len(rows[0]):
                raise ScoreError(f"{source}: {names[0]} has {len(rows[0])} numbers, {name} has {len(row)}")
            if not np.isfinite(row).all() or not row.any():
                raise ScoreError(f"{source}: the vector of {name} is zero, or not finite")
        lengths = np.array([np.linalg.norm(row) for row in rows])
        return cls(names, (np.stack(rows) / lengths[:, None]).astype(np.float32), source=source, **more)

    @property
    def digest(self) -> str:
        """SHA-256 over names and numbers."""
        told = repr((self.names, self.temperature, self.encoders)).encode()
        return hashlib.sha256(told + self.vectors.tobytes()).hexdigest()

    def check(self, features: PatchFeatures) -> list[Notice]:
        """Return notices about features that are compared with these concepts.

        Raises
        ------
        FeatureError
            The features have another width, or come from another encoder than the vectors.
        """
        width = int(features.features.shape[1])
        if width != self.vectors.shape[1]:
            raise FeatureError(
                f"{features.source}: features are {width} wide, the concepts of {self.source} {self.vectors.shape[1]}; "
                "both must come from one encoder"
            )
        if not self.encoders:
            return []
        meant = " or ".join(self.encoders)
        if features.encoder is None:
            words = f"the features do not say which encoder made them; the concepts are of {meant}"
            return [Notice("concept_encoder", words)]
        if plain(features.encoder) not in map(plain, self.encoders):
            raise FeatureError(
                f"{features.source}: features are of {features.encoder}, the concepts of {meant}: cosines between two "
                f"spaces mean nothing{why_not(features.encoder)}"
            )
        return []

    def scores(self, values: Any, grid: PatchGrid | None = None) -> dict[str, PatchScores]:
        """Return the scores of features (N, D) by name; with one concept, only the cosines.

        Patches whose features are all zero have no direction; their scores are NaN.
        """
        cosines = np.empty((len(values), len(self.names)), np.float32)
        for start in range(0, len(values), _CHUNK_ROWS):
            part = np.asarray(values[start : start + _CHUNK_ROWS], np.float32)
            lengths = np.sqrt(np.einsum("nd,nd->n", part, part))
            with np.errstate(invalid="ignore", divide="ignore"):
                cosines[start : start + len(part)] = (part @ self.vectors.T) / lengths[:, None]
        found = {"similarity_to": PatchScores(grid, cosines, self.names, "similarity", "similarity_to")}
        if len(self.names) > 1:
            logits = cosines.astype(np.float64) / (self.temperature or TEMPERATURE)
            logits -= logits.max(axis=1, keepdims=True)
            shares = np.exp(logits)
            shares = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
            name = "concept_probability"
            found[name] = PatchScores(grid, shares, self.names, "instance_probability", name)
        if 1 < len(self.names) <= MOST_COLOURS:
            best = cosines.argmax(axis=1).astype(np.float32)
            best[np.isnan(cosines).any(axis=1)] = np.nan
            found["concept_class"] = PatchScores(grid, best[:, None], ("concept_class",), "cluster", "concept_class")
        return found

    def check_drawn(self, score: str | None) -> None:
        """Raise a ScoreError for a score that this number of concepts does not have."""
        if score in CONCEPT_SCORES[1:] and len(self.names) < 2:
            raise ScoreError(f"{score} compares concepts, but {self.source} has only {self.names[0]}: similarity_to")
        if score == "concept_class" and len(self.names) > MOST_COLOURS:
            raise ScoreError(f"concept_class has {MOST_COLOURS} colours, {self.source} has {len(self.names)} concepts")


_UNFIT = {
    "conchv1": "CONCH's patch features as TRIDENT writes them are those before the projection into the space of text "
    "(with_proj=False)",
    "conchv15": "CONCH v1.5 has no text encoder of patches: TITAN aligned whole slides with reports",
}


def why_not(encoder: str) -> str:
    """Return why features of an encoder match no text, where the reason is known."""
    reason = _UNFIT.get(plain(encoder))
    return "" if reason is None else f" ({reason})"


def plain(name: str) -> str:
    """Return an encoder's name for comparison: ``conch_v15`` and ``conch_v1_5`` become equal."""
    return "".join(character for character in name.lower() if character.isalnum())


def mean_direction(vectors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the mean (D,) of vectors (n, D), each scaled to length 1; zero vectors stay zero."""
    rows = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray((rows / np.where(lengths > 0, lengths, 1)).mean(axis=0))


def read_concepts(path: Path, *, encoder: str | None = None, temperature: float | None = None) -> Concepts:
    """Return the concepts of a file: CSV (name, then D numbers), ``.npz``, ``.safetensors``, or ``.npy`` of K rows.

    The encoder and temperature in the file are used where the arguments are None.

    Raises
    ------
    ScoreError
        The file cannot be read as one of these, or its vectors are invalid.
    """
    read = {".csv": _csv, ".npz": _npz, ".npy": _npy, ".safetensors": _safetensors}.get(path.suffix.lower())
    if read is None:
        raise ScoreError(f"{path}: concepts are read from .csv, .npz, .npy and .safetensors")
    try:
        named, told = read(path)
    except ScoreError:
        raise
    except Exception as error:  # safetensors and csv raise their own classes
        raise ScoreError(f"cannot read concepts from {path}: {said_by(error)}") from error
    said = encoder or told.get(_ENCODER)
    own = temperature or _temperature(told.get(_TEMPERATURE), path)
    return Concepts.of(named, str(path), temperature=own, encoders=() if said is None else (str(said),))


def _temperature(told: Any, path: Path) -> float | None:
    try:
        value = None if told is None else float(told)
    except (TypeError, ValueError, OverflowError):
        value = 0.0
    if value is not None and not 0 < value < float("inf"):
        raise ScoreError(f"{path}: the temperature must be a number above 0, it is {str(told)[:60]!r}")
    return value


def write_concepts(path: Path, concepts: Concepts) -> None:
    """Write concepts as ``.npz``, whole or not at all."""
    from mil_heatmaps.files.atomic import atomic_path

    arrays: dict[str, Any] = dict(zip(concepts.names, concepts.vectors, strict=True))
    if concepts.encoders:
        arrays[_ENCODER] = np.array(concepts.encoders[0])
    if concepts.temperature is not None:
        arrays[_TEMPERATURE] = np.array(concepts.temperature)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def _spread(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return vectors by name; an array of several rows (prototypes) becomes several vectors, numbered."""
    found: dict[str, Any] = {}
    for name, value in named.items():
        rows = np.asarray(value)
        if rows.dtype.kind not in "fiu":
            raise ScoreError(f"{name} holds {rows.dtype}; numbers are needed")
        rows = rows[0] if rows.ndim == 3 and len(rows) == 1 else rows
        if rows.ndim > 2:
            raise ScoreError(f"{name} has shape {rows.shape}; a vector (D,) or prototypes (K, D) are needed")
        if rows.ndim == 2 and len(rows) > 1:
            found |= {f"{name} {number}": row for number, row in enumerate(rows)}
        else:
            found[name] = rows.reshape(-1)
    return found


def _csv(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        sample = file.readline()
        file.seek(0)
        sign = next((sign for sign in ",;\t" if sign in sample), ",")
        rows = [row for row in csv.reader(file, delimiter=sign) if any(cell.strip() for cell in row)]
    if rows and not _is_number(rows[0][1] if len(rows[0]) > 1 else ""):
        rows = rows[1:]  # a header
    names = [row[0].strip() for row in rows]
    if "" in names or len(set(names)) < len(names):
        twice = first_of([name or "(blank)" for name in repeated([*names, *[""] * ("" in names)])], 3)
        raise ScoreError(f"{path}: every concept needs a name of its own; there are several of {twice}")
    return {name: [float(cell) for cell in row[1:]] for name, row in zip(names, rows, strict=True)}, {}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _npz(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = read_arrays(path, ScoreError)
    told = {name: arrays.pop(name).item() for name in (_ENCODER, _TEMPERATURE) if name in arrays}
    return _spread(arrays), told


def _npy(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return _spread({"prototype": read_npy(path, ScoreError)}), {}


def _safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays, told = read_safetensors(path, ScoreError)
    return _spread(arrays), {_ENCODER: told.get("encoder"), _TEMPERATURE: told.get("temperature")}
