"""Faithfulness of the maps of a case: measured once, on the bag of all its slides, and reported for each slide."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.case_bag import read_case
from mil_heatmaps.stages.case_scores import case_file

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.scores.score_file import ScoreFile

_OF_SLIDE = ("scores_sha256", "features", "features_sha256")


class CaseWork(SlideWork):
    """A slide's work with the bag and scores of its case, for measurements of the whole case."""

    def __init__(self, work: SlideWork) -> None:
        super().__init__(work.job, work.settings, work.record, work.on_stage, work.should_stop)
        self._work = work
        self.files, self.forced = work.files, work.forced

    @property
    def score_file(self) -> ScoreFile:
        """The scores of all slides of the case, one after the other."""
        assert self.job.case is not None
        return case_file(self.job.case.paths.scores_h5)

    def bag_features(self) -> PatchFeatures:
        """Read the features of all slides of the case."""
        return read_case(self._work).features


def case_document(
    work: SlideWork, inputs: Mapping[str, Any], measure: Callable[[SlideWork], dict[str, Any]]
) -> dict[str, Any]:
    """Return the measurements of the case; whichever slide comes first makes them for all slides."""
    case = work.job.case
    assert case is not None
    path = case.paths.faithfulness_json
    key = fingerprint({name: value for name, value in inputs.items() if name not in _OF_SLIDE})
    with FileLock(path.with_name(f".{path.stem}.lock")):
        try:
            told = json.loads(path.read_bytes())
            if told["inputs"] == key and (not work.forced or told["run"] == work.settings.token):
                return dict(told["measured"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        whole = CaseWork(work)
        try:
            measured: dict[str, Any] = _of_case(measure(whole))
        finally:
            whole.close()
        if all(entry["status"] != "failed" for entry in measured["maps"].values()):
            write_text(path, json.dumps({"inputs": key, "run": work.settings.token, "measured": measured}) + "\n")
        return measured


def _of_case(told: Any) -> Any:
    """Return the document with its sentences worded for the case."""
    if isinstance(told, dict):
        return {key: _of_case(value) for key, value in told.items()}
    return told.replace("on this slide", "in this case") if isinstance(told, str) else told
