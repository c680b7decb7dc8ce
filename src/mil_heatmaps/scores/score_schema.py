"""Read and write score files, HDF5. docs/reference/score_file.md describes the schema; change the two together."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import TASKS, Task
from mil_heatmaps.errors import ScoreError
from mil_heatmaps.features.geometry import slide_size
from mil_heatmaps.features.place_patches import place_patches
from mil_heatmaps.features.row_chunks import read_rows
from mil_heatmaps.files import hdf5
from mil_heatmaps.files.hdf5_writing import set_text, write_small_h5
from mil_heatmaps.files.json_files import parse_json
from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.scores.case_share import CaseShare
from mil_heatmaps.scores.patch_scores import EXPLANATION_KINDS, Explained, PatchScores, Prediction, ScoreKind
from mil_heatmaps.scores.score_file import Floats, ScoreFile
from mil_heatmaps.slides.frames import says_scanned_size
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import first_of, said_by

FORMAT = "mil-heatmaps scores"
FORMAT_VERSION = 1

_CLAM_ROWS = 32
"""Rows per chunk, as in both datasets that CLAM writes."""

_CASE_ROWS = 1 << 14
_ALSO = ("attention", "attentions", "attention_weights", "score", "probabilities", "probs")
"""Other programs' names for scores; read where no dataset has our name or CLAM's."""

_TEXTS = ("slide_id", "model", "checkpoint_sha256", "features_file", "encoder", "program_version", "scored_as")
"""Fields of `ScoreFile` stored under their own names, where they are not None."""


def write_scores(path: str | os.PathLike[str], scores: ScoreFile) -> None:
    """Write the file whole or not at all. The same `ScoreFile` always gives the same bytes."""
    with write_small_h5(path) as file:
        _fill(file, scores)


def read_scores(
    path: str | os.PathLike[str],
    *,
    patch_size_l0: float | tuple[float, float] | None = None,
    slide_size_l0: tuple[int, int] | None = None,
    space: SlideSpace | None = None,
) -> ScoreFile:
    """Return the content of a score file: this program's, CLAM's ``blockmap.h5``, or any minimal HDF5 file.

    A minimal file has ``coords`` (N, 2) and either ``scores`` (N,) or (N, K) or ``attention_scores`` (N, 1).

    Parameters
    ----------
    patch_size_l0 : float or (width, height), optional
        Used if the file does not state the size of its patches. By default, the size is the step of the
        coordinates.
    slide_size_l0 : (width, height), optional
        Size of the slide, to refuse scores of another slide.
    space : SlideSpace, optional
        What is known about the slide (`Slide.space`), in place of its size.

    Raises
    ------
    ScoreError
        Missing or damaged file, no scores or coordinates in it (the message lists its content), lengths that differ,
        coordinates that cannot belong to the slide, unknown kind or patch size.
    """
    try:
        return _parse(Path(path), patch_size_l0, space or SlideSpace(slide_size_l0))
    except ScoreError:
        raise
    except ValueError as cause:  # coordinates and grids are checked by the code that reads features
        text = said_by(cause, 1000)
        raise ScoreError(text if str(path) in text else f"{path}: {text}") from cause


def _fill(file: h5py.File, scores: ScoreFile) -> None:
    # No creation times anywhere (h5py's default), and names in alphabetical order, so that the bytes are the same each
    # time.
    whole = scores.case is not None and scores.case.number == 0  # of a case; CLAM's tools do not know cases
    rows = max(1, min(_CASE_ROWS, len(scores.grid))) if whole else _CLAM_ROWS
    _clam_dataset(file, "attention_scores", scores.attention.astype(np.float32)[:, None], rows)
    _clam_dataset(file, "coords", scores.grid.coords_l0, rows)
    main = _scores_dataset(file, "scores", scores.scores)
    set_text(main, "format", FORMAT)
    main.attrs["format_version"] = FORMAT_VERSION
    main.attrs["patch_size_level0"] = np.asarray(scores.grid.size_l0, dtype=np.int64)
    main.attrs["step_level0"] = np.asarray(scores.grid.step_l0, dtype=np.int64)
    for key in _TEXTS:
        if getattr(scores, key) is not None:
            set_text(main, key, getattr(scores, key))
    if scores.slide_size_l0 is not None:
        main.attrs["level0_width"], main.attrs["level0_height"] = scores.slide_size_l0
    if scores.level0_mpp is not None:
        main.attrs["level0_mpp"] = float(scores.level0_mpp)
    if scores.features_fingerprint is not None:
        set_text(main, "features_fingerprint", json.dumps(dict(scores.features_fingerprint), sort_keys=True))
    if scores.case is not None:
        set_text(main, "case", json.dumps(scores.case.plain(), sort_keys=True, ensure_ascii=False))
    if scores.notices:
        notices = [notice.plain() for notice in scores.notices]
        set_text(main, "notices", json.dumps(notices, ensure_ascii=False))
    if scores.prediction is not None:
        _write_prediction(main, scores.prediction)
    for extra in sorted(scores.extra, key=lambda item: item.score):
        _scores_dataset(file.require_group("extra"), extra.score.replace("/", "_"), extra)


def _clam_dataset(file: h5py.File, name: str, values: npt.NDArray[Any], rows: int) -> None:
    width = values.shape[1]
    made = file.create_dataset(name, data=values, chunks=(rows, width), maxshape=(None, width))
    # HDF5 places chunks when the dataset is closed. Anything that still holds the dataset delays this, such as a
    # profiler of this thread (Dask has one in every worker). Chunks placed now give the same bytes every time.
    made.flush()


def _scores_dataset(home: h5py.Group, name: str, scores: PatchScores) -> h5py.Dataset:
    made = home.create_dataset(name, data=np.ascontiguousarray(scores.values, dtype=np.float32))
    set_text(made, "kind", scores.kind)
    set_text(made, "score", scores.score)
    set_text(made, "names", scores.names)
    if scores.explained is not None:
        _write_explained(made, scores.explained)
    return made


def _write_explained(made: h5py.Dataset, explained: Explained) -> None:
    set_text(made, "output", explained.output)
    set_text(made, "task", explained.task)
    made.attrs["full"] = np.asarray(explained.full, np.float64)
    for key, told in (("settings", explained.settings), ("checks", explained.checks)):
        set_text(made, key, json.dumps(_without_nan(told), sort_keys=True))


def _without_nan(value: Any) -> Any:
    """Return JSON values with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _explained(attributes: dict[str, Any], kind: str) -> Explained | None:
    """Return the explanation in the attributes of a dataset; None where there is none."""
    output = hdf5.text_attribute(attributes, "output")
    task = hdf5.text_attribute(attributes, "task") or "classification"
    if kind not in EXPLANATION_KINDS or output is None or task not in TASKS:
        return None
    full = tuple(_floats(attributes.get("full")).astype(np.float64).tolist())
    settings, checks = (_json(attributes.get(key)) or {} for key in ("settings", "checks"))
    return Explained(output, cast("Task", task), settings, checks, full)


def _write_prediction(main: h5py.Dataset, prediction: Prediction) -> None:
    set_text(main, "prediction_classes", prediction.classes)
    main.attrs["prediction_probabilities"] = prediction.probabilities.astype(np.float32)
    main.attrs["prediction_logits"] = prediction.logits.astype(np.float32)
    set_text(main, "prediction_task", prediction.task)
    if prediction.independent:
        main.attrs["prediction_independent"] = True
    if prediction.task == "survival":
        main.attrs["prediction_risk"] = prediction.risk
    if prediction.train_median is not None:
        main.attrs["prediction_train_median"] = prediction.train_median


def _parse(path: Path, patch_size_l0: float | tuple[float, float] | None, space: SlideSpace) -> ScoreFile:
    """Return the content of the file; see `read_scores`."""
    with hdf5.open_h5(path, ScoreError) as file:
        coords = hdf5.dataset(file, "coords")
        if coords is None:
            raise ScoreError(f"{path}: no dataset 'coords'; it holds {hdf5.contents(file)}")
        attributes = hdf5.attributes(file, "coords", "attention_scores", "scores")
        _check_version(attributes, path)
        # A unit attribute on the scores is the unit of the scores.
        described = {**attributes, "unit": hdf5.attributes(file, "coords").get("unit")}
        grid, notes = place_patches(
            read_rows(coords), described, space, patch_size_l0=patch_size_l0, of_scores=True, where=str(path)
        )
        main, attention = _main_scores(file, grid, path)
        group = file.get("extra")
        homes = [hdf5.dataset(group, name) for name in sorted(group)] if isinstance(group, h5py.Group) else []
        extra = tuple(_scores(item, grid, path) for item in homes if item is not None)
        prediction = _prediction(attributes, path)
    mpp, said_size = attributes.get("level0_mpp"), slide_size(attributes)
    notices = _notices(attributes.get("notices"))
    texts = {key: hdf5.text_attribute(attributes, key) for key in _TEXTS}
    return ScoreFile(
        grid=grid,
        scores=main,
        attention=attention,
        extra=extra,
        prediction=prediction,
        slide_size_l0=space.size_l0 if says_scanned_size(said_size, space) else said_size,
        level0_mpp=float(mpp) if isinstance(mpp, float | int) and mpp > 0 else None,
        features_fingerprint=_json(attributes.get("features_fingerprint")),
        case=CaseShare.read(_json(attributes.get("case"))),
        notices=notices,
        notes=distinct((*notes, *notices)),
        **{**texts, "slide_id": texts["slide_id"] or hdf5.text_attribute(attributes, "name")},
    )


def _check_version(attributes: dict[str, Any], path: Path) -> None:
    version = attributes.get("format_version", FORMAT_VERSION)
    if attributes.get("format") == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
        raise ScoreError(
            f"{path}: score file of version {version}; this program reads up to {FORMAT_VERSION}: update it"
        )


def _main_scores(file: h5py.File, grid: PatchGrid, path: Path) -> tuple[PatchScores, Floats]:
    """Return the scores to draw and CLAM's column; the column is empty where the file does not have both."""
    main, clam = hdf5.dataset(file, "scores"), hdf5.dataset(file, "attention_scores")
    if main is None and clam is None:
        main = next((found for name in _ALSO if (found := hdf5.dataset(file, name)) is not None), None)
    if main is None and clam is None:
        raise ScoreError(f"{path}: neither 'scores' nor 'attention_scores'; it holds {hdf5.contents(file)}")
    if main is None:
        return _scores(clam, grid, path), np.empty(0, np.float32)
    scores = _scores(main, grid, path)
    if clam is None:
        return scores, np.empty(0, np.float32)
    column = _values(clam, grid, path)
    if column.shape[1] != 1:
        raise ScoreError(
            f"{path}: attention_scores have shape {clam.shape}; (N, 1) is needed beside 'scores'"
        )
    return scores, column[:, 0]


def _scores(item: h5py.Dataset, grid: PatchGrid, path: Path) -> PatchScores:
    """Return one dataset of scores. CLAM's dataset has no attributes: it is the attention before the softmax."""
    values = _values(item, grid, path)
    by_clam = item.name == "/attention_scores"
    attributes = hdf5.attributes(item.file, item.name)
    name = _as_utf8(
        hdf5.text_attribute(attributes, "score") or ("attention" if by_clam else item.name.rsplit("/", 1)[-1])
    )
    kind = hdf5.text_attribute(attributes, "kind") or ("attention_logit" if by_clam else "external")
    names = texts(item.attrs.get("names"))
    if names is None:
        count = values.shape[1]
        names = (name.removesuffix("s"),) if count == 1 else tuple(f"score {i}" for i in range(count))
    if len(names) != values.shape[1]:
        raise ScoreError(
            f"{path}: {item.name} has {values.shape[1]} columns but {len(names)} names: {first_of(names, 8)}"
        )
    try:
        return PatchScores(grid, values, names, cast("ScoreKind", kind), name, _explained(attributes, kind))
    except ValueError as cause:
        raise ScoreError(f"{path}: {said_by(cause)}") from cause


def _values(item: h5py.Dataset, grid: PatchGrid, path: Path) -> Floats:
    """Return (N, K) float32. One row of N numbers is turned into a column; any other mismatch is refused."""
    if item.dtype.kind not in "fiub":
        raise ScoreError(f"{path}: {item.name} holds {item.dtype}; numbers are needed")
    with np.errstate(over="ignore"):
        values = read_rows(item).astype(np.float32, copy=False)
    if values.ndim == 2 and values.shape[0] == 1 and values.shape[1] == len(grid) != 1:
        values = values.T
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[0] != len(grid) or values.shape[1] == 0:
        raise ScoreError(
            f"{path}: {len(grid)} patches but {item.name} has shape {item.shape}; ({len(grid)}, K) is needed"
        )
    return np.ascontiguousarray(values)


def _prediction(attributes: dict[str, Any], path: Path) -> Prediction | None:
    classes = texts(attributes.get("prediction_classes"))
    if not classes:
        return None
    logits, probabilities = (
        _floats(attributes.get(f"prediction_{key}")).astype(np.float32)
        for key in ("logits", "probabilities")
    )
    if not len(logits) == len(probabilities) == len(classes):
        raise ScoreError(
            f"{path}: {len(classes)} classes, {len(probabilities)} probabilities and {len(logits)} logits"
        )
    task = hdf5.text_attribute(attributes, "prediction_task") or "classification"
    median = _number(attributes, "prediction_train_median")
    try:
        independent = bool(attributes.get("prediction_independent", False))
        return Prediction(classes, probabilities, logits, cast("Task", task), independent, train_median=median)
    except ValueError as cause:
        raise ScoreError(f"{path}: prediction_task: {said_by(cause)}") from cause


def _floats(value: Any) -> npt.NDArray[Any]:
    """Return the real numbers in an attribute, (n,); none of anything else."""
    values = np.atleast_1d(np.asarray(() if value is None else value))
    return values.ravel() if values.dtype.kind in "fiub" else np.empty(0)


def _number(attributes: dict[str, Any], key: str) -> float | None:
    """Return a finite number from an attribute, None without the attribute."""
    value = attributes.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def texts(value: Any) -> tuple[str, ...] | None:
    """Return one or more texts from an attribute, None without the attribute."""
    if value is None:
        return None
    items = np.atleast_1d(np.asarray(value, dtype=object)).tolist()
    return tuple(_as_utf8(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)) for item in items)


def _as_utf8(text: str) -> str:
    """Return a text without bytes that are not UTF-8, which tables and JSON do not take."""
    return text.encode("utf-8", "replace").decode()


def _notices(value: Any) -> tuple[Notice, ...]:
    """Return the notices in an attribute; a text that does not parse becomes one notice as it is."""
    if value is None:
        return ()
    try:
        return tuple(map(Notice.read, parse_json(value)))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return tuple(map(Notice.read, texts(value) or ()))


def _json(value: Any) -> dict[str, Any] | None:
    try:
        read = parse_json(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return read if isinstance(read, dict) else None
