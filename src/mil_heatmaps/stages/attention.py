"""Scores of every patch and the prediction of the slide, from one pass over its features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores import concentration, mass
from mil_heatmaps.stages.bags import bag_inputs, inputs_of_case, write_other_bags
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.case_bag import case_inputs
from mil_heatmaps.stages.case_scores import has_case_bag, slide_of_case
from mil_heatmaps.stages.concept_scores import compared
from mil_heatmaps.stages.explanations import (
    explanation_inputs,
    forget_partial_sums,
    has_one_logit,
    settings_of,
    targets_of,
    watch_of,
)
from mil_heatmaps.stages.quality_control import controlled, qc_inputs
from mil_heatmaps.stages.slide_facts import compare_vector, told_of, vector_inputs
from mil_heatmaps.words import first_of

if TYPE_CHECKING:
    from pathlib import Path

    from mil_heatmaps.config.config import Config
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
    from mil_heatmaps.scores.score_file import ScoreFile


_OUTPUTS = 2
"""Version of the names and words of regression and survival outputs; classes follow the version of the stage."""


_COUNTED = ("uncoloured", "unreadable", "group", "faithfulness")
"""Summary keys that later stages write; those stages run again if their results change."""

_COMPARED = ("slide_vector",)
"""Summary keys that are written while scores are made."""


class AttentionStage:
    """Writes ``S_blockmap.h5``: CLAM's two datasets, and everything else that a picture or viewer needs."""

    name = "attention"
    version = 1
    uses_model = True

    def applies(self, work: SlideWork) -> bool:
        """Always."""
        return True

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The features and the model, or the scores that the user provides."""
        job = work.job
        inputs = {
            "version": self.version,
            "model": work.settings.model.identity,
            "slide": work.slide_inputs(),
            **qc_inputs(work),
        }
        if work.config.model_arguments.task != "classification":
            inputs["outputs"] = _OUTPUTS
        if job.scores_path is not None:
            size = work.config.data_arguments.patch_size_level0
            own = {"scores": work.fingerprint(job.scores_path), "patch_size_level0": size}
            return {**inputs, **own, **work.space_inputs()}
        inputs |= {**vector_inputs(work), **bag_inputs(work)}
        if explanations := explanation_inputs(work):
            inputs["explanations"] = explanations
        if has_case_bag(work):
            inputs["case"] = case_inputs(work)
        if job.features_path is None:
            return {**inputs, "features_sha256": work.artifact(job.paths.features_h5, "features")}
        return {
            **inputs,
            "features": work.fingerprint(job.features_path),
            "coords_file": work.coords_file,
            "coords_sha256": work.coords_sha256,
            **work.space_inputs(),
        }

    def run(self, work: SlideWork) -> StageResult:
        """Compute the scores or take those of the user, then write them."""
        from mil_heatmaps.files.hdf5_guard import ask_ahead
        from mil_heatmaps.scores.score_schema import write_scores

        notes: list[Notice] = []
        work.record.summary.pop("inputs", None)
        paths = [work.job.paths.blockmap_h5]
        others: list[Path] = []
        if work.job.scores_path is not None:
            checked = controlled(work, _external(work, notes))
        elif has_case_bag(work):
            of_case = slide_of_case(work, self.inputs(work), _infer)
            notes += of_case.notices
            checked = controlled(work, of_case)
            paths.append(work.job.case.paths.scores_h5)  # type: ignore[union-attr]
            others += inputs_of_case(work)
        else:
            features, inputs = work.bag_features(), self.inputs(work)
            notes += features.notes
            whole = _infer(work, features, inputs, notes, others)

            def infer_others(some: PatchFeatures) -> ScoreFile:
                # Partial sums of long explanations hold for these patches only.
                left = hashlib.sha256(some.grid.coords_l0.tobytes()).hexdigest()
                return _infer(work, some, {**inputs, "patches": left}, [], others)

            checked = controlled(work, whole, features, infer_others, partial(_predict, work))
        notes += checked.notices
        score_file = checked.scores
        of_patches = (notice for name in ("coords", "features") for notice in work.record.notices_of(name))
        write_scores(work.job.paths.blockmap_h5, replace(score_file, notices=distinct((*of_patches, *notes))))
        ask_ahead(work.job.paths.blockmap_h5)  # the next stages read it
        counted = {name: count for name, count in work.record.summary.items() if name in (*_COUNTED, *_COMPARED)}
        # A reused picture has been counted already.
        of_inputs = work.record.summary.get("inputs", {})
        work.record.summary = counted | _summary(score_file, checked.columns | of_inputs)
        work.note_resolution()
        forget_partial_sums(work)
        return StageResult([*paths, *dict.fromkeys(others)], notes)


def _summary(score_file: ScoreFile, beside: Mapping[str, float]) -> dict[str, Any]:
    """Return a slide's numbers for the tables: classes in descending order of probability, or those of another task."""
    summary: dict[str, Any] = {"bag_size": len(score_file.grid)}
    attention = score_file.attention[np.isfinite(score_file.attention)].astype(np.float64)
    if len(attention):
        summary |= {"attention_mean": float(attention.mean()), "attention_std": float(attention.std())}
    if score_file.case is not None:
        summary["case"] = score_file.case.plain()
    spread = concentration.concentration(score_file.attention, score_file.scores.kind)
    measured = mass.concentration(score_file.attention, score_file.scores.kind, score_file.grid)
    summary["measures"] = {**(spread.plain() if spread else {}), **measured.columns, **beside}
    prediction = score_file.prediction
    if prediction is not None and prediction.task != "classification":
        summary["prediction"] = {"task": prediction.task, "numbers": list(prediction.numbers.items())}
    elif prediction is not None:
        order = prediction.ranking
        summary["prediction"] = {
            "task": prediction.task,
            "classes": [prediction.classes[i] for i in order],
            "values": [float(prediction.probabilities[i]) for i in order],
            "class_numbers": [int(i) for i in order],
        }
    return summary


def _predict(work: SlideWork, features: PatchFeatures) -> Prediction | None:
    """Return the prediction for a slide, computing no more scores than it needs."""
    from mil_heatmaps.models.inference import infer

    source = work.settings.model
    model = source.load(work.settings.device)
    task = work.config.model_arguments.task
    with told_of(work, model, features):
        return infer(model, features, class_names=source.output_names, task=task)[0]


def _infer(
    work: SlideWork,
    features: PatchFeatures,
    inputs: dict[str, Any],
    notes: list[Notice],
    others: list[Path] | None = None,
) -> ScoreFile:
    """Return the scores of the slide's bag; write those of other bags and add their paths to `others`."""
    from mil_heatmaps.explain.remarks import remarks
    from mil_heatmaps.models.inference import infer

    config, source = work.config, work.settings.model
    drawn, of_concepts = compared(work, features, notes)
    if not source.has_model:
        first, *extra = (drawn | of_concepts).values()
        return _score_file(work, features, first, extra, None)
    model = source.load(work.settings.device)

    def ask(bag: PatchFeatures, name: str = "") -> tuple[Prediction | None, dict[str, PatchScores]]:
        prediction, scores = infer(
            model,
            bag,
            scores=source.scores_wanted(work.settings.device),
            class_names=source.output_names,
            task=config.model_arguments.task,
            settings=settings_of(work),
            targets=partial(targets_of, work),
            watch=watch_of(work, {**inputs, "bag": name} if name else inputs),
        )
        for score in scores.values():
            if score.explained is not None:
                said = remarks(score.score, score.names, score.explained.checks, score.values)
                notes.extend(one.of(f"bag {name}") if name else one for one in said)
        return prediction, scores

    with told_of(work, model, features):
        prediction, scores = ask(features)
        if prediction is not None and prediction.level is not None:
            prediction = replace(prediction, train_median=source.training_median)
        first, *extra = (drawn | scores | of_concepts).values()
        made = _score_file(work, features, first, extra, prediction)
        written = write_other_bags(work, model, made, ask, notes)
        if others is not None:  # otherwise the files belong to the case, and the slide takes its part
            others += written
    notes += [*compare_vector(work, model), *model.remarks(list(scores))]
    if prediction is None:
        notes.append(Notice("no_classifier", "the checkpoint has no classifier: scores, but no prediction"))
    elif _is_guessed(config, model, prediction):
        words = (
            "the model has one output, taken for the log-odds of the second of two classes: model_arguments.task says "
            "if it is a regression or survival, data_arguments.label_dict names the classes"
        )
        notes.append(Notice("assumed_task", words))
    elif labels := _labels_without_effect(config, prediction):
        words = (
            f"with task {prediction.task}, label_dict ({first_of(labels, 3)}) names groups of slides, not outputs of "
            "the model, which have numbers here: model_arguments.output_names gives them names"
        )
        notes.append(Notice("labels_are_groups", words))
    return made


def _is_guessed(config: Config, model: MILModel, prediction: Prediction) -> bool:
    """Whether the config leaves open if a model's single output is a two-class logit, a value or a risk."""
    told = "task" in config.model_arguments.model_fields_set or config.class_names is not None
    return not told and has_one_logit(model, prediction)


def _labels_without_effect(config: Config, prediction: Prediction) -> list[str]:
    """Return the labels of a label_dict that seems to name the outputs, where it does not and nothing else does."""
    from mil_heatmaps.explain.outputs import output_names

    labels, count = config.data_arguments.label_dict, len(prediction.logits)
    if labels is None or prediction.task == "classification":
        return []
    numbered = prediction.classes == output_names(count, prediction.task)
    return list(labels) if numbered and set(labels.values()) == set(range(count)) else []


def _score_file(
    work: SlideWork,
    features: PatchFeatures,
    scores: PatchScores,
    extra: list[PatchScores],
    prediction: Prediction | None,
) -> ScoreFile:
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.version import __version__

    source, slide = work.settings.model, work.slide
    return ScoreFile(
        grid=features.grid,
        scores=scores,
        extra=tuple(extra),
        prediction=prediction,
        slide_id=work.job.slide_id,
        slide_size_l0=slide.dimensions_l0,
        level0_mpp=slide.mpp,
        model=source.load(work.settings.device).name if source.has_model else None,
        checkpoint_sha256=source.checkpoint_sha256,
        features_file=features.source.name,
        features_fingerprint=work.fingerprint(features.source),
        encoder=features.encoder,
        program_version=__version__,
    )


def _external(work: SlideWork, notes: list[Notice]) -> ScoreFile:
    from mil_heatmaps.scores.external_scores import read_external_scores

    assert work.job.scores_path is not None
    score_file = read_external_scores(
        work.job.scores_path,
        patch_size_l0=work.config.data_arguments.patch_size_level0,
        space=work.space,
        slide_id=work.job.slide_id,
    )
    notes += score_file.notes
    return score_file
