"""Explanations as a stage makes them: what they depend on, their targets and their progress.

Long ones keep their partial sums beside the slide's other files, so a kill loses only the last seconds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mil_heatmaps.encoders.encoding_progress import EncodingProgress
from mil_heatmaps.explain.settings import EXPLANATIONS, used_settings
from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.stages.model_source import named_targets
from mil_heatmaps.stages.partial_results import PartialResults

if TYPE_CHECKING:
    from mil_heatmaps.explain.estimates import Cost
    from mil_heatmaps.explain.watch import Partial, Watch
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.scores.patch_scores import Prediction
    from mil_heatmaps.stages.base import SlideWork

SAVE_EVERY_S = 10.0
"""Seconds between saves of a long explanation: the most that a kill costs."""


def asked_explanations(work: SlideWork) -> list[str]:
    """Return the explanations that the config asks for, the drawn one first."""
    if work.job.scores_path is not None:
        return []
    names = [work.config.heatmap_arguments.score, *work.config.explanation_arguments.scores]
    return [name for name in dict.fromkeys(names) if name in EXPLANATIONS]


def explanation_inputs(work: SlideWork) -> dict[str, Any]:
    """Return what explanations depend on besides features and model; empty where none is asked for."""
    if work.job.scores_path is not None:
        return {}
    inputs: dict[str, Any] = {}
    if beside := work.config.explanation_arguments.scores:
        inputs["scores"] = list(beside)
    for name in asked_explanations(work):
        inputs |= _depends_on(work, name)
    return inputs


def _depends_on(work: SlideWork, name: str) -> dict[str, Any]:
    """Return the settings and targets of one explanation."""
    arguments, heatmap = work.config.explanation_arguments, work.config.heatmap_arguments
    inputs = {key: getattr(arguments, key) for key in used_settings(name)}
    if "baseline" in inputs and (path := work.config.inputs.baseline) is not None:
        inputs["baseline"] = work.fingerprint(path)
    if arguments.window != "auto":
        inputs.pop("max_forwards", None)
    inputs["targets"] = arguments.targets
    if arguments.targets == "drawn" or heatmap.score in EXPLANATIONS:
        inputs["classes"] = heatmap.classes
        if "label" in ([heatmap.classes] if isinstance(heatmap.classes, str) else heatmap.classes):
            inputs["label"] = work.job.row.group
    return inputs


def settings_of(work: SlideWork) -> dict[str, Any]:
    """Return the settings of explanations as `MILModel.explain` takes them, without the task."""
    settings = work.config.explanation_arguments.model_dump(exclude={"scores", "targets"})
    if (path := work.config.inputs.baseline) is not None:
        settings["baseline"] = str(path)
    return settings


def targets_of(work: SlideWork, prediction: Prediction, outputs: Sequence[str]) -> Any:
    """Return the outputs to explain; the drawn outputs are always among them."""
    from mil_heatmaps.scores.select import wanted_targets

    asked, heatmap = work.config.explanation_arguments.targets, work.config.heatmap_arguments
    group = work.job.row.group
    label = group if group in (work.config.class_names or ()) else None
    drawn = wanted_targets(prediction, outputs, label, heatmap.classes)
    if asked == "drawn":
        return drawn
    chosen = named_targets(asked, outputs)
    if heatmap.score not in EXPLANATIONS or chosen == "all":
        return chosen
    if drawn == "all":
        return "all"
    if chosen == "predicted":
        predicted = wanted_targets(prediction, outputs, label, "predicted")
        chosen = [outputs[0]] if predicted == "all" else [*predicted]  # for a regression, the first output
    return list(dict.fromkeys([*chosen, *drawn]))


def has_one_logit(model: MILModel, prediction: Prediction) -> bool:
    """Whether a single logit separates the two classes of a classification."""
    if prediction.task != "classification" or model.num_classes > 1:
        return False
    return model.num_classes == 1 or (len(prediction.logits) == 2 and prediction.logits[0] == 0)


def outputs_of(model: MILModel, prediction: Prediction) -> Sequence[str]:
    """Return the names of a model's outputs, from its prediction for a slide."""
    return prediction.classes[-1:] if has_one_logit(model, prediction) else prediction.classes


def watch_of(work: SlideWork, inputs: dict[str, Any]) -> Watch:
    """Return a watch that reports progress and keeps partial sums; `inputs` are those of the stage."""
    from mil_heatmaps.explain.watch import Watch

    model = {key: value for key, value in inputs.get("model", {}).items() if key != "score"}
    others = {key: value for key, value in inputs.items() if key not in ("model", "explanations")}
    kept = PartialSums(work, fingerprint({"model": model, **others}))
    return Watch(_Telling(work), kept.save, kept.load, partial(_foretell, work), every_s=SAVE_EVERY_S)


def _foretell(work: SlideWork, costs: Sequence[Cost], seconds_each: float) -> None:
    """Report what explanations with more than one forward pass will cost, in run.log and to a live display."""
    for cost in costs:
        if cost.forwards > 1:
            words = f"{cost.score} takes {cost.with_time(seconds_each)}"
            work.lines.append(words)
            if work.on_stage is not None:
                work.on_stage(words)


class _Telling:
    """Reports the progress of a score and the time left."""

    def __init__(self, work: SlideWork) -> None:
        self._work = work
        self._what, self._first, self._began = "", 0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._first, self._began = what, done, now
        pace = (done - self._first) / (now - self._began) if now > self._began else 0.0
        left = (total - done) / pace if pace > 0 else None
        self._work.on_encoding(EncodingProgress(done, total, pace, left, what.replace("/", ", ")))


class PartialSums:
    """Files of partial sums, one file per score; sums of another model, bag or setting are ignored."""

    def __init__(self, work: SlideWork, of: str) -> None:
        self._work, self._of = work, of
        self._files: dict[str, PartialResults] = {}

    def _file(self, name: str) -> PartialResults:
        score = name.split("/", maxsplit=1)[0]
        if score not in self._files:
            path = self._work.job.paths.partial_scores / f"{score}.npz"
            self._files[score] = PartialResults(path, {"of": self._of, "settings": _depends_on(self._work, score)})
        return self._files[score]

    def save(self, name: str, partial: Partial) -> None:
        """Write the partial sums of a score, whole or not at all."""
        if partial:
            with suppress(OSError):  # only the partial sums are lost
                self._file(name).save(name, partial)

    def load(self, name: str) -> Partial | None:
        """Return the partial sums of a score, None if there are none."""
        return self._file(name).load(name)


def forget_partial_sums(work: SlideWork) -> None:
    """Remove the partial sums once the scores are written."""
    shutil.rmtree(work.job.paths.partial_scores, ignore_errors=True)
