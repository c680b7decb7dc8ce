"""The dry run of both commands: what a run would do, slide by slide, for people or (``--json``) for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import HeatmapError

if TYPE_CHECKING:
    from mil_heatmaps.pipeline.decide import Surveyed
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.slides.resolution import Resolution
    from mil_heatmaps.stages.explanation_costs import ExplanationCosts
    from mil_heatmaps.stages.faithfulness_cost import CostOfMeasuring


@dataclass(frozen=True)
class SlidePlan:
    """What a run would do with one slide.

    Attributes
    ----------
    resolution : the slide and its mpp with its source, None where the slide cannot be opened
    stages : (stage, action, reason), the action one of compute, recompute, reuse
    notes : costs of measuring and explaining, and how coordinates are understood
    problem : why the slide would fail, None if it would not
    """

    slide_id: str
    resolution: Resolution | None = None
    stages: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None

    def as_text(self) -> str:
        """Return the slide's lines, for people."""
        lines = [self.slide_id]
        if self.resolution is not None:
            lines.append(f"  {'mpp':<10} {self.resolution.words}")
        if self.problem is not None:
            lines.append(f"  would fail: {self.problem}")
        lines += [f"  {stage:<10} {action:<10} {reason}" for stage, action, reason in self.stages]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """Return the slide's entry in the document of ``--json`` (docs/automation.md)."""
        return {
            "slide_id": self.slide_id,
            "problem": self.problem,
            "mpp": None if self.resolution is None else self.resolution.mpp,
            "mpp_source": None if self.resolution is None else self.resolution.source,
            "stages": [{"stage": stage, "action": action, "reason": why} for stage, action, why in self.stages],
            "notes": list(self.notes),
        }


def print_plan(runner: Runner, *, as_json: bool = False) -> int:
    """Print what a run would do, slide by slide and stage by stage; return the exit code.

    The code is 1 when a slide would fail, like that of the run itself.
    """
    slides: list[SlidePlan] = []
    own = runner.config.model_arguments.own_code
    for slide in _plans(runner):
        if not slides and own is not None and not as_json:
            key = "model_class" if runner.config.model_arguments.model_class else "slide_encoder"
            print(f"{key} {own}: your own code is not run by a dry run; the run imports it and checks it first")
        slides.append(slide)
        if not as_json:
            print(slide.as_text())
    counts = Counter(action for slide in slides for _, action, _ in slide.stages)
    failing = sum(slide.problem is not None for slide in slides)
    if as_json:
        document = {
            "format": 1,
            "experiment": runner.config.exp_arguments.save_exp_code,
            "would_fail": failing,
            "stages": dict(counts),
            "slides": [slide.as_json() for slide in slides],
        }
        print(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False))
        return 1 if failing else 0
    print("stages: " + (", ".join(f"{number} to {action}" for action, number in counts.items()) or "none"))
    if failing:
        print(f"{failing} of the slides would fail")
    return 1 if failing else 0


def _plans(runner: Runner) -> Iterator[SlidePlan]:
    """Yield the plan of every slide, then the rows of the list that cannot be processed."""
    from mil_heatmaps.stages.explanation_costs import ExplanationCosts
    from mil_heatmaps.stages.faithfulness_cost import CostOfMeasuring
    from mil_heatmaps.stages.preflight import check_needs

    measuring, found, costs = CostOfMeasuring(runner.settings), list(runner.plan()), ExplanationCosts()
    check_needs(runner.settings, runner.needed(found), run_own_code=False)
    own = runner.config.model_arguments.own_code
    for slide in found:
        coordinates, odd = _coordinates(runner, slide)
        problem = slide.problem or _width_problem(runner, slide) or odd
        unknown = runner.config.model_arguments.model_class is not None  # it may have a closed form
        explained, refused = ([], None) if problem or unknown else _explanations(runner, slide, costs)
        problem = problem or refused
        resolution = None
        try:
            resolution = _resolution(runner, slide)
        except HeatmapError as error:
            problem = problem or str(error)
        yield SlidePlan(
            slide.job.slide_id,
            resolution,
            tuple((plan.stage, plan.decision.action, plan.decision.reason) for plan in slide.plans),
            (*explained, *coordinates, *([] if own else _cost(runner, slide, measuring))),
            problem,
        )
    for name, reason in runner.problems().items():
        yield SlidePlan(name, problem=reason)


def _explanations(runner: Runner, slide: Surveyed, costs: ExplanationCosts) -> tuple[list[str], str | None]:
    """Return the costs of the explanations of a slide that will be scored, and why one of them will be refused."""
    from mil_heatmaps.stages.base import SlideWork

    if "attention" not in slide.needed:
        return [], None
    with SlideWork(slide.job, runner.settings, slide.record) as work:
        try:
            return costs.of(work)
        except HeatmapError as error:
            return [], str(error)


def _coordinates(runner: Runner, slide: Surveyed) -> tuple[list[str], str | None]:
    """Return how the coordinates of the slide's files are understood, or why they cannot be used."""
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.told_coordinates import told_coordinates

    with SlideWork(slide.job, runner.settings, slide.record) as work:
        try:
            return told_coordinates(work, slide.needed), None
        except HeatmapError as error:
            return [], str(error)


def _cost(runner: Runner, slide: Surveyed, cost: CostOfMeasuring) -> list[str]:
    """Return the cost of measuring the slide's maps, if they will be measured."""
    from mil_heatmaps.stages.base import SlideWork

    if "faithfulness" not in slide.needed:
        return []
    with SlideWork(slide.job, runner.settings, slide.record) as work:
        line = cost.line(work)
    return [] if line is None else [line]


def _resolution(runner: Runner, slide: Surveyed) -> Resolution:
    """Return the resolution of a slide; open the slide unless an up-to-date record has the resolution."""
    from mil_heatmaps.slides.resolution import Resolution
    from mil_heatmaps.stages.base import SlideWork

    known = slide.record.summary.get("resolution")
    if known and known.get("mpp") and "segment" not in slide.needed:
        return Resolution(known["mpp"], known["source"])
    with SlideWork(slide.job, runner.settings, slide.record) as work:
        return work.slide.resolution


def _width_problem(runner: Runner, slide: Surveyed) -> str | None:
    """Return an error if the features to score have another width than the model expects; reads no features."""
    from mil_heatmaps.features.read import feature_info
    from mil_heatmaps.slides.slide_space import SlideSpace

    path = slide.job.features_path
    own = runner.config.model_arguments.own_code is not None
    if path is None or "attention" not in slide.needed or own or not runner.model.has_model:
        return None
    model = runner.model.load()
    try:
        space = SlideSpace(name=slide.job.slide_id, extractor=runner.config.data_arguments.feature_extractor)
        width = feature_info(path, space).width
    except HeatmapError as error:
        return str(error)
    expected = getattr(model, "in_dim", 0)
    if not expected or width == expected:
        return None
    return f"features are {width} wide, the model ({model.name}) expects {expected}"
