"""The consensus of several experiments: one score file per slide, and a table of how far the models agree."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.errors import HeatmapError, ScoreError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.insight.consensus import TOP, Consensus, consensus
from mil_heatmaps.insight.matching import on_grid, same_patches
from mil_heatmaps.insight.runs import StudyRun, common_slides, slide_of
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.patch_scores import Prediction
from mil_heatmaps.scores.quick_read import QuickScores, read_quickly
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.scores.select import select_columns
from mil_heatmaps.version import __version__
from mil_heatmaps.words import first_of, reason_of

if TYPE_CHECKING:
    import pandas as pd

_VERSION = 1


@dataclass(frozen=True)
class ConsensusSlide:
    """The outcome for one slide.

    Attributes
    ----------
    rows : one mapping per pair of models
        ``model_a``, ``model_b``, ``patches``, ``spearman``, ``jaccard``, ``matched``.
    error : why there is no consensus, empty when there is one
    """

    slide_id: str
    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    reused: bool = False


def make_consensus(
    runs: Mapping[str, StudyRun], out: Path, *, top: float = TOP, at_least: int | None = None
) -> Iterator[ConsensusSlide]:
    """Yield every slide that all experiments have; write its ``S.h5`` to `out`, unless it exists and is up to date.

    Parameters
    ----------
    top : float
        Share of its patches that is a model's top.
    at_least : int, optional
        How many models must have a patch in their top; by default, more than half.
    """
    least = len(runs) // 2 + 1 if at_least is None else at_least
    if not 1 <= least <= len(runs):
        raise ScoreError(f"at_least is {least}, but there are {len(runs)} models: 1 to {len(runs)}")
    for slide_id in common_slides(runs):
        files = {}
        for name, run in runs.items():
            slide = slide_of(run, slide_id)
            assert slide is not None
            files[name] = slide.scores
        path = out / f"{slide_id}.h5"
        try:
            yield _one(slide_id, files, path, top, least)
        except (HeatmapError, OSError) as error:
            yield ConsensusSlide(slide_id, path, error=reason_of(error))


def left_out(runs: Mapping[str, StudyRun]) -> dict[str, str]:
    """Return the slides that some experiment has no scores for, with the names of those experiments."""
    common = set(common_slides(runs))
    found = {}
    for slide_id in dict.fromkeys(name for run in runs.values() for name in run.slides):
        if slide_id not in common:
            missing = [name for name, run in runs.items() if slide_of(run, slide_id) is None]
            if missing:
                found[slide_id] = f"no scores in {first_of(missing, 5)}"
    return found


def _one(slide_id: str, files: Mapping[str, Path], path: Path, top: float, least: int) -> ConsensusSlide:
    """Read, rank and write the consensus; or take the existing one."""
    stats = {name: file.stat() for name, file in files.items()}
    inputs: dict[str, Any] = {
        "version": _VERSION, "top": top, "at_least": least,
        "files": {name: [str(files[name]), stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }  # fmt: skip
    known, sidecar = None, path.with_name(f".{path.stem}.json")  # hidden, because a visible .json may be scores
    try:
        known = json.loads(sidecar.read_bytes())
        written = path.stat()
        if known["inputs"] == inputs and known["output"] == [written.st_size, written.st_mtime_ns]:
            return ConsensusSlide(slide_id, path, known["rows"], reused=True)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    read = {name: read_quickly(file) for name, file in files.items()}
    result, rows, notices = consensus_of_slide(read, top)
    first = next(iter(read.values()))
    scores = result.scores(first.grid, least)
    write_scores(path, ScoreFile(
        grid=first.grid,
        scores=scores,
        attention=np.ascontiguousarray(scores.values[:, 0]),
        prediction=mean_prediction([one.prediction for one in read.values()]),
        slide_id=slide_id,
        slide_size_l0=first.slide_size_l0,
        level0_mpp=first.level0_mpp,
        model=f"consensus of {', '.join(read)}",
        program_version=__version__,
        notices=tuple(notices),
    ))  # fmt: skip
    written = path.stat()
    plain = {"inputs": inputs, "output": [written.st_size, written.st_mtime_ns], "rows": rows}
    write_text(sidecar, json.dumps(plain))
    return ConsensusSlide(slide_id, path, rows)


def consensus_of_slide(
    read: Mapping[str, QuickScores], top: float = TOP
) -> tuple[Consensus, list[dict[str, Any]], list[Notice]]:
    """Return the consensus on the patches of the first model, one row per pair of models, and notices.

    Raises
    ------
    ScoreError
        Models of different tasks or classes, slides of different sizes, or no patch that all models score.
    """
    names, notices = list(read), list[Notice]()
    _refuse_different(read)
    wanted, said = _class(read)
    notices += said
    first = next(iter(read.values()))
    columns, by_area = [], set()
    for name, one in read.items():
        classes = wanted if len(one.scores.names) > 1 else "predicted"  # a single column serves every class
        column = select_columns(one.scores, one.prediction, classes=classes)[0].scores
        if not same_patches(one.grid, first.grid):
            values, weighed = on_grid(column, one.grid, first.grid)
            columns.append(values.astype(np.float32))
            by_area |= {name} if weighed else set()
        else:
            columns.append(column)
    found = consensus(columns, top)
    if not found.patches:
        raise ScoreError(f"no patch has a score in all of {', '.join(names)}")
    if by_area:
        sizes = ", ".join(f"{name} {one.grid.size_l0[0]} px" for name, one in read.items())
        text = f"patches of {first_of(sorted(by_area), 5)} were matched to those of {names[0]} by area ({sizes})"
        notices.append(Notice("consensus_grids", text))
    if missing := len(first.grid) - found.patches:
        text = f"{missing} of {len(first.grid)} patches are not scored by all models and have no consensus"
        notices.append(Notice("consensus_patches", text, missing=missing, patches=len(first.grid)))
    rows = []
    for (a, b), agreed in found.agreement().items():
        matched = "area" if {names[a], names[b]} & by_area else "corner"
        rows.append({"model_a": names[a], "model_b": names[b], **asdict(agreed), "matched": matched})
    return found, rows, notices


def _refuse_different(read: Mapping[str, QuickScores]) -> None:
    told = {name: one for name, one in read.items() if one.prediction is not None}
    for kind, of in (("tasks", lambda p: p.task), ("classes", lambda p: "/".join(p.classes))):
        said = {name: str(of(one.prediction)) for name, one in told.items()}
        if len(set(said.values())) > 1:
            pairs = ", ".join(f"{name} {value}" for name, value in said.items())
            raise ScoreError(f"the models are of different {kind} ({pairs}): no consensus can be made of them")
    sizes = {name: one.slide_size_l0 for name, one in read.items() if one.slide_size_l0 is not None}
    if len(set(sizes.values())) > 1:
        pairs = ", ".join(f"{name} {size[0]} x {size[1]}" for name, size in sizes.items())
        raise ScoreError(f"the experiments say different sizes of the slide ({pairs}): are they of one slide?")


def _class(read: Mapping[str, QuickScores]) -> tuple[str | int, list[Notice]]:
    """Return the class whose scores are compared, which is the one that most models predict; and notices about it."""
    several = any(len(one.scores.names) > 1 for one in read.values())
    predictions = [one.prediction for one in read.values() if one.prediction is not None]
    if not several or not predictions or predictions[0].task not in ("classification", "multilabel"):
        return "predicted", []
    if all(one.scores.names[0].endswith("head 0") for one in read.values() if len(one.scores.names) > 1):
        return "predicted", []  # one column per head, which are averaged
    votes = Counter(prediction.predicted for prediction in predictions)
    mean = np.mean([prediction.probabilities for prediction in predictions], axis=0)
    chosen = max(votes, key=lambda number: (votes[number], mean[number]))
    if len(votes) == 1:
        return chosen, []
    name = predictions[0].classes[chosen]
    text = f"the models predict different classes; compared are their scores for {name}, which {votes[chosen]} of " \
           f"{len(predictions)} predict"  # fmt: skip
    return chosen, [Notice("consensus_class", text)]


def mean_prediction(predictions: Sequence[Prediction | None]) -> Prediction | None:
    """Return the mean of the models' predictions; None where a model has none, or for survival models."""
    known = [prediction for prediction in predictions if prediction is not None]
    if len(known) < len(predictions) or not known or known[0].task == "survival":
        return None
    mean = np.asarray(np.mean([prediction.probabilities for prediction in known], axis=0, dtype=np.float64))
    with np.errstate(divide="ignore"):
        logits = {"classification": np.log(mean), "multilabel": np.log(mean) - np.log1p(-mean)}.get(known[0].task, mean)
    chances, outputs = np.asarray(mean, np.float32), np.asarray(logits, np.float32)
    return Prediction(known[0].classes, chances, outputs, known[0].task)


def agreement_table(slides: Sequence[ConsensusSlide]) -> pd.DataFrame:
    """Return one row per slide and pair of models: numbers, how patches were matched, or why there are none."""
    import pandas as pd

    columns = ["slide_id", "model_a", "model_b", "patches", "spearman", "jaccard", "matched", "error"]
    rows = [
        {"slide_id": slide.slide_id, **row, "error": ""} for slide in slides for row in slide.rows
    ] + [{"slide_id": slide.slide_id, "error": slide.error} for slide in slides if slide.error]
    return pd.DataFrame(rows, columns=columns).astype({"patches": "Int64"})
