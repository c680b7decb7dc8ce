"""Measure the faithfulness of a slide's maps: the model's output as patches are removed in the order of each map."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mil_heatmaps.devices import lost_gpu
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.notices import Notice
from mil_heatmaps.stages.bag_faithfulness import measure_other_bags
from mil_heatmaps.stages.bags import bag_files, bag_inputs
from mil_heatmaps.stages.base import SlideWork, StageResult, Stopped
from mil_heatmaps.stages.case_faithfulness import case_document
from mil_heatmaps.stages.case_scores import has_case_bag
from mil_heatmaps.stages.explanations import settings_of
from mil_heatmaps.stages.measured_maps import drawn_name, drawn_target, kept_maps, map_names, measured_output, on_bag
from mil_heatmaps.stages.partial_results import PartialResults, watch_of
from mil_heatmaps.stages.slide_facts import told_of
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from mil_heatmaps.explain.faithfulness_plan import Plan
    from mil_heatmaps.explain.watch import Watch
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.scores.patch_scores import PatchScores

NO_PREDICTION = "there is no prediction"


class FaithfulnessStage:
    """Writes ``S_faithfulness.json`` and ``S_faithfulness.png``, the curves of every map."""

    name = "faithfulness"
    version = 1
    uses_model = True

    def applies(self, work: SlideWork) -> bool:
        """When the config asks for it."""
        return work.config.faithfulness_arguments.wanted

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The scores, the features and model that measure them, the settings, and the drawn map and target."""
        job, config, source = work.job, work.config, work.settings.model
        drawing = work.settings.section("heatmap_arguments")
        inputs: dict[str, Any] = {
            "version": self.version,
            "scores_sha256": work.scores_sha256,
            "model": source.weights_identity if source.has_model else None,
            "settings": work.settings.section("faithfulness_arguments"),
            "drawn": {key: drawing[key] for key in ("classes", "head")},
        }
        if config.heatmap_arguments.classes == "label":
            inputs["label"] = job.row.group
        if config.insight_arguments.consensus:
            inputs["maps"] = "columns"  # earlier versions took them for heads of one map
        if has_case_bag(work):
            assert job.case is not None
            inputs["case_scores_sha256"] = work.artifact(job.case.paths.scores_text, "attention")
        if files := bag_files(work):
            inputs["bags_sha256"] = {name: work.artifact(path, "attention") for name, path in files.items()}
            inputs |= bag_inputs(work)
        if (path := features_path(work)) is not None:
            inputs["features"] = work.fingerprint(path)
            inputs |= work.space_inputs()
        return inputs

    def run(self, work: SlideWork) -> StageResult:
        """Measure and write. A failed measurement never fails the slide."""
        partial = PartialResults(work.job.paths.faithfulness_part, self.inputs(work))
        notes: list[Notice] = []
        if has_case_bag(work):
            of_case = case_document(work, self.inputs(work), lambda whole: _document(whole, partial, notes))
            document = _with_slide(work, of_case)
        else:
            document = _document(work, partial, notes)
        text = _text(document)
        failures = {name: entry["error"] for name, entry in document["maps"].items() if entry["status"] == "failed"}
        for error_text, names in _by_error(failures).items():
            notes.append(Notice("faithfulness", f"faithfulness of {', '.join(names)} not measured: {error_text}"))
        paths = _write(work, document, text)
        paths += _other_bags(work, _plan(work), notes)
        partial.remove()
        work.record.summary |= {"faithfulness": _summary(document)}
        return StageResult(paths, notes, again=bool(failures))


def _document(work: SlideWork, partial: PartialResults, notes: list[Notice]) -> dict[str, Any]:
    """Return the JSON of the slide or of its case, measured or with the reason why not."""
    plan = _plan(work)
    try:
        document = _measured(work, plan, watch_of(work, partial), notes)
        _text(document)  # refuses NaN and infinity
    except Stopped:
        raise
    except Exception as error:  # the user's own model may run here; the maps are valid without it
        if lost_gpu(error):
            raise
        document = _unmeasured(work, plan, error=reason_of(error))
    return document


def _other_bags(work: SlideWork, plan: Plan, notes: list[Notice]) -> list[Path]:
    """Measure all bags but the first, for a model that takes several; return the paths of the documents."""
    from mil_heatmaps.models.several_inputs import SeveralInputsModel

    source = work.settings.model
    if len(work.config.bags) < 2 or not source.has_model:
        return []
    model, paths = source.load(work.settings.device), []
    if isinstance(model, SeveralInputsModel):
        found: dict[str, dict[str, Any]] = {}
        try:
            with told_of(work, model):
                found = measure_other_bags(
                    work, model, plan, _settings(plan), lambda words: notes.append(Notice("faithfulness", words))
                )
        except HeatmapError as error:
            if lost_gpu(error):
                raise
            notes.append(Notice("faithfulness", f"faithfulness of the other bags not measured: {reason_of(error)}"))
        for name, document in found.items():
            paths.append(work.job.paths.faithfulness_of(name))
            write_text(paths[-1], _text(document))
    return paths


def features_path(work: SlideWork) -> Path | None:
    """Return the file of features that the slide's maps are measured on, None where there is none."""
    if work.job.scores_path is not None:
        return work.job.bag_path
    return work.features_path


def _plan(work: SlideWork) -> Plan:
    from mil_heatmaps.explain.faithfulness_plan import Plan

    asked = work.config.faithfulness_arguments
    level = "full" if asked.level == "full" else "quick"
    return Plan(level, asked.steps, asked.random_orders, asked.seed, asked.max_minutes)  # type: ignore[arg-type]


def _measured(work: SlideWork, plan: Plan, watch: Watch, notes: list[Notice]) -> dict[str, Any]:
    """Return the JSON of the slide; raises what the model or the features raise."""
    source, config = work.settings.model, work.config
    if not source.has_model:
        return _unmeasured(work, plan, reason=NO_PREDICTION)
    model = source.load(work.settings.device)
    if refused := model.refused_explanations():
        return _unmeasured(work, plan, model, reason=next(iter(refused.values())))
    if features_path(work) is None:
        return _unmeasured(work, plan, model, reason="the features of its patches are not given (h5_dir)")
    names = map_names(work, model)
    bag = _bag(work)
    with told_of(work, model, bag):
        made, failed, remarks = _maps(work, model, bag, names, watch, notes)
        if not made:
            raise HeatmapError("; ".join(dict.fromkeys(failed.values())))
        found = model.faithfulness(
            bag, made, source.column_names(work.settings.device), target=drawn_target(work), level=plan.level,
            settings={**_settings(plan), "task": config.model_arguments.task},
            drawn=names[0] if names[0] in made else None, mpp=work.score_file.level0_mpp, remarks=remarks, watch=watch,
        ).as_dict()  # fmt: skip
    from mil_heatmaps.explain.unmeasured import failed_entry

    every = found["maps"] | {name: failed_entry(error) for name, error in failed.items()}
    found["maps"] = {name: every[name] | {"drawn": name == names[0]} for name in names}
    found["foot"] = found["maps"][names[0]]["foot"]
    return _with_slide(work, found)


def _settings(plan: Plan) -> dict[str, Any]:
    return {key: getattr(plan, key) for key in ("steps", "random_orders", "seed", "max_minutes")}


def _bag(work: SlideWork) -> PatchFeatures:
    from mil_heatmaps.features.read import read_features

    if work.job.scores_path is None:
        return work.bag_features()
    assert work.job.bag_path is not None
    return read_features(
        work.job.bag_path,
        patch_size_l0=work.config.data_arguments.patch_size_level0,
        slide_size_l0=work.slide.dimensions_l0,
        space=work.space,
        coords_dir=work.job.coords_dir,
    )


def _maps(
    work: SlideWork, model: MILModel, bag: PatchFeatures, names: list[str], watch: Watch, notes: list[Notice]
) -> tuple[dict[str, PatchScores], dict[str, str], dict[str, list[str]]]:
    """Return the maps by name, why others could not be made, and remarks on some.

    Scores in the score file are taken from there; the model computes the others.
    """
    from mil_heatmaps.explain.sentences import check_sentences
    from mil_heatmaps.scores.select import of_head

    kept = kept_maps(work.score_file, work.config.output_names)
    made: dict[str, PatchScores] = {}
    failed: dict[str, str] = {}
    remarks: dict[str, list[str]] = {}
    classes, task = work.settings.model.column_names(work.settings.device), work.config.model_arguments.task
    for name in names:
        try:
            if name in kept and not _of_others(kept[name], work):
                made[name], said = on_bag(kept[name], bag.grid)
                notes += [one for one in said if one not in notes]
                remarks[name] = _said_of(kept[name], work)
            else:
                found = model.explain(bag, [name], classes, targets=drawn_target(work),
                                      settings={**settings_of(work), "task": task}, watch=watch)  # fmt: skip
                made[name] = found.scores[name]
                remarks[name] = check_sentences(name, found.checks.get(name, {}))
        except HeatmapError as error:
            failed[name] = reason_of(error)
    if names[0] in made:
        made[names[0]] = of_head(made[names[0]], work.config.heatmap_arguments.head)
    return made, failed, remarks


def _said_of(scores: PatchScores, work: SlideWork) -> list[str]:
    """Return the remarks on an explanation in the score file, for the column that is measured."""
    from mil_heatmaps.explain.sentences import check_sentences

    if scores.explained is None:
        return []
    name = measured_output(work)
    column = scores.names.index(name) if name in scores.names else 0
    return check_sentences(scores.score, scores.explained.checks, column)


def _of_others(scores: PatchScores, work: SlideWork) -> bool:
    """Whether an explanation in the score file was made for targets other than the measured one."""
    from mil_heatmaps.scores.patch_scores import EXPLANATION_KINDS

    name = measured_output(work)
    return scores.kind in EXPLANATION_KINDS and name is not None and name not in scores.names


def _unmeasured(
    work: SlideWork, plan: Plan, model: MILModel | None = None, *, reason: str = "", error: str | None = None
) -> dict[str, Any]:
    from mil_heatmaps.explain.unmeasured import unmeasured

    kept = kept_maps(work.score_file, work.config.output_names)
    names = map_names(work, model)
    task = work.config.model_arguments.task
    document = unmeasured(names, drawn_name(work.score_file, kept), plan, task=task, num_patches=len(work.score_file),
                          reason=reason, error=error)  # fmt: skip
    return _with_slide(work, document)


def _with_slide(work: SlideWork, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the slide's own fields after the first two."""
    source = work.settings.model
    own = {
        "slide_id": work.job.slide_id,
        "checkpoint_sha256": source.checkpoint_sha256 if source.has_model else None,
    }
    if has_case_bag(work) and work.score_file.case is not None:
        own["case_id"] = work.score_file.case.case_id
    first = {key: document[key] for key in ("format", "format_version")}
    return first | own | {key: value for key, value in document.items() if key not in first and key not in own}


def _text(document: dict[str, Any]) -> str:
    """Return the document as JSON, each list of numbers on one line; raise a ValueError for NaN or infinity."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\n\s+([^\[\]{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _write(work: SlideWork, document: dict[str, Any], text: str) -> list[Path]:
    paths = [work.job.paths.faithfulness_json]
    write_text(paths[0], text)
    if any(entry["status"] == "measured" for entry in document["maps"].values()):
        from mil_heatmaps.visualization.curves_figure import write_curves

        paths.append(work.job.paths.faithfulness_png)
        write_curves(paths[1], document)
    return paths


def _by_error(failures: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, error in failures.items():
        found.setdefault(error, []).append(name)
    return found


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the run's tables say of the drawn map."""
    name, entry = next((name, entry) for name, entry in document["maps"].items() if entry["drawn"])
    return {
        "score": name,
        "verdict": entry.get("verdict", entry["status"]),
        "srg": entry.get("srg"),
        "sentence": entry["foot"],
    }
