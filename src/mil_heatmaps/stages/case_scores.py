"""Scores of a case: the model is asked once about the patches of all its slides, and each slide cuts out its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.digests import fingerprint, sha256_file
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.case_share import CaseShare, CaseSlide, shares_of
from mil_heatmaps.stages.base import SlideWork, Stopped
from mil_heatmaps.stages.case_bag import CaseBag, read_case
from mil_heatmaps.stages.slide_facts import check_case, told_of

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
    from mil_heatmaps.scores.score_file import ScoreFile

Infer = Callable[[SlideWork, "PatchFeatures", "dict[str, Any]", "list[Notice]"], "ScoreFile"]

_OF_SLIDE = ("slide", "qc", "features", "features_sha256", "coords_file", "coords_sha256")
"""Inputs of the attention stage that are the slide's own; the others are those of the whole case."""


def has_case_bag(work: SlideWork) -> bool:
    """Whether the model is asked about a case, of which the slide is a part."""
    return work.job.case is not None and work.config.data_arguments.bag == "case"


def of_case(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a stage's inputs the scores of the whole case depend on."""
    return {key: value for key, value in inputs.items() if key not in _OF_SLIDE}


def slide_of_case(work: SlideWork, inputs: dict[str, Any], infer: Infer) -> ScoreFile:
    """Return the slide's rows of the case's scores; whichever slide comes first has them computed.

    Raises
    ------
    HeatmapError
        A slide of the case that cannot be read, or a model that cannot take several slides.
    """
    whole = _scores_of_case(work, of_case(inputs), infer)
    assert whole.case is not None
    number = [slide.slide_id for slide in whole.case.slides].index(work.job.slide_id) + 1
    return _cut(whole, work, number)


def _scores_of_case(work: SlideWork, inputs: dict[str, Any], infer: Infer) -> ScoreFile:
    """Return the case's scores: those of the file where they hold, else new ones, which are written."""
    assert work.job.case is not None
    path = work.job.case.paths.scores_h5
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_beside(path, ".lock")):
        if not _holds(path, inputs, work):
            _write(path, _computed(work, inputs, infer), inputs, work)
        return case_file(path)


def _beside(path: Path, suffix: str) -> Path:
    """Return the hidden file that goes with the scores: what they are of (.json), who makes them (.lock)."""
    return path.with_name(f".{path.stem}{suffix}")


def _holds(path: Path, inputs: dict[str, Any], work: SlideWork) -> bool:
    """Whether the file is of these inputs; of a run that was asked to do everything again, only if it is its own."""
    try:
        told = json.loads(_beside(path, ".json").read_bytes())
        if told["inputs"] != fingerprint(inputs) or (work.forced and told["run"] != work.settings.token):
            return False
        whole = not work.config.bags or (work.job.case is not None and work.job.case.paths.inputs_csv.is_file())
        return whole and bool(told["sha256"] == sha256_file(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(path: Path, scores: ScoreFile, inputs: dict[str, Any], work: SlideWork) -> None:
    from mil_heatmaps.scores.score_schema import write_scores

    write_scores(path, scores)
    told = {"inputs": fingerprint(inputs), "run": work.settings.token, "sha256": sha256_file(path)}
    write_text(_beside(path, ".json"), json.dumps(told) + "\n")


def case_file(path: Path) -> ScoreFile:
    """Return the scores of a case; the last one read is kept, as its slides come one after the other."""
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, mtime_ns: int, size: int) -> ScoreFile:
    from mil_heatmaps.scores.score_schema import read_scores

    return read_scores(path)


def _computed(work: SlideWork, inputs: dict[str, Any], infer: Infer) -> ScoreFile:
    bag = read_case(work)
    model = work.settings.model.load(work.settings.device) if work.settings.model.has_model else None
    if model is not None:
        check_case(model, bag)
    notes: list[Notice] = []
    scores = infer(work, bag.features, inputs, notes)
    if bag.lacking:
        words = f"the case's bag lacks {'; '.join(bag.lacking)}"
        notes.append(Notice("partial_case", words, slides=len(bag.lacking)))
    case = _shared(work, bag, scores)
    if model is not None and scores.prediction is not None and "leave_one_out" in scores.all_scores:
        case = _without_each(work, model, bag, case, scores.prediction)
    assert work.job.case is not None
    return replace(
        scores, slide_id=work.job.case.case_id, case=case, notices=tuple(notes), slide_size_l0=None, level0_mpp=None,
        features_file=None, features_fingerprint=None,
    )  # fmt: skip


def _shared(work: SlideWork, bag: CaseBag, scores: ScoreFile) -> CaseShare:
    assert work.job.case is not None
    shares = shares_of(list(scores.all_scores.values()), bag.patches)
    slides = [CaseSlide(*each) for each in zip(bag.slides, bag.patches, shares, strict=True)]
    return CaseShare(work.job.case.case_id, tuple(slides), lacking=bag.lacking)


def _without_each(
    work: SlideWork, model: MILModel, bag: CaseBag, case: CaseShare, prediction: Prediction
) -> CaseShare:
    """Return the case with what the model says of it without each of its slides."""
    from mil_heatmaps.models.inference import infer

    if len(bag.slides) < 2:
        return case
    source, task = work.settings.model, work.config.model_arguments.task
    name, of = _headline(prediction)
    slides = []
    for number, slide in enumerate(case.slides, 1):
        if work.should_stop():
            raise Stopped
        others = bag.without(number)
        with told_of(work, model, others):
            rest, _ = infer(model, others, scores=[], class_names=source.output_names, task=task)
        slides.append(slide if rest is None else replace(slide, without=of(rest)))
    return replace(case, slides=tuple(slides), output=name, full=of(prediction))


def _headline(prediction: Prediction) -> tuple[str, Callable[[Prediction], float]]:
    """Return the number that is told of a prediction: of the predicted class or label, the risk, or the first value."""
    if prediction.task in ("classification", "multilabel"):
        index = prediction.predicted
        return f"p({prediction.classes[index]})", lambda found: float(found.probabilities[index])
    name = next(iter(prediction.numbers))
    return name, lambda found: found.numbers[name]


def _cut(whole: ScoreFile, work: SlideWork, number: int) -> ScoreFile:
    """Return the scores of one slide of the case."""
    from mil_heatmaps.features.read import read_coords

    assert whole.case is not None
    job, rows = work.job, whole.case.rows(number)
    grid = read_coords(job.paths.features_h5 if job.features_path is None else job.paths.coords_h5)
    if len(grid) != rows.stop - rows.start:
        raise FeatureError(f"{job.slide_id} has {len(grid)} patches, but {rows.stop - rows.start} rows in its case")

    def part(scores: PatchScores) -> PatchScores:
        return replace(scores, grid=None, values=np.ascontiguousarray(scores.values[rows]))

    return replace(
        whole,
        grid=grid,
        scores=part(whole.scores),
        extra=tuple(map(part, whole.extra)),
        attention=np.ascontiguousarray(whole.attention[rows]),
        slide_id=job.slide_id,
        slide_size_l0=work.slide.dimensions_l0,
        level0_mpp=work.slide.mpp,
        features_file=work.features_path.name,
        features_fingerprint=work.fingerprint(work.features_path),
        case=replace(whole.case, number=number),
    )
