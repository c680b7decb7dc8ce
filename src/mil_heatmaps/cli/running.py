"""What the commands that run the pipeline share: printing the plan, the run's log, exit codes."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.cli.terminal import escaped_terminal
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import open_to_append
from mil_heatmaps.words import printable, reason_of

if TYPE_CHECKING:
    from mil_heatmaps.pipeline.decide import Surveyed
    from mil_heatmaps.pipeline.runner import Runner
    from mil_heatmaps.slides.resolution import Resolution
    from mil_heatmaps.stages.explanation_costs import ExplanationCosts
    from mil_heatmaps.stages.faithfulness_cost import CostOfMeasuring


def exit_code_of(command: Callable[[], int], words: Callable[[str], str] = str) -> int:
    """Run `command` and return its exit code. A HeatmapError, or the system's word on a file, gives 2 and is one line.

    `words` rewrites the message in the terms of this command line.
    """
    # Taking torch apart at the end would take half a second; the system gets its memory back anyhow.
    atexit.register(gc.freeze)
    try:
        with escaped_terminal():
            return command()
    except HeatmapError as error:
        print(printable(f"error: {words(str(error))}", keep="\n"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if not error.strerror:  # not the system's word on a file: a mistake of this program, which keeps its traceback
            raise
        print(printable(f"error: {reason_of(error)}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues from here", file=sys.stderr)
        return 130


def print_plan(runner: Runner) -> int:
    """Print what a run would do, slide by slide and stage by stage; return the exit code.

    The code is 1 when a slide would fail, like that of the run itself.
    """
    from mil_heatmaps.stages.explanation_costs import ExplanationCosts
    from mil_heatmaps.stages.faithfulness_cost import CostOfMeasuring
    from mil_heatmaps.stages.preflight import check_needs

    counts: dict[str, int] = {}
    failing, measuring = 0, CostOfMeasuring(runner.settings)
    found, costs = list(runner.plan()), ExplanationCosts()
    check_needs(runner.settings, runner.needed(found), run_own_code=False)
    own = runner.config.model_arguments.own_code
    if own is not None:
        key = "model_class" if runner.config.model_arguments.model_class else "slide_encoder"
        print(f"{key} {own}: your own code is not run by a dry run; the run imports it and checks it first")
    for slide in found:
        print(f"{slide.job.slide_id}")
        coordinates, odd = _coordinates(runner, slide)
        problem = slide.problem or _width_problem(runner, slide) or odd
        unknown = runner.config.model_arguments.model_class is not None  # which may have a closed form
        explained, refused = ([], None) if problem or unknown else _explanations(runner, slide, costs)
        problem = problem or refused
        try:
            print(f"  {'mpp':<10} {_resolution(runner, slide).words}")
        except HeatmapError as error:
            problem = problem or str(error)
        if problem is not None:
            print(f"  would fail: {problem}")
            failing += 1
        for plan in slide.plans:
            print(f"  {plan.stage:<10} {plan.decision.action:<10} {plan.decision.reason}")
            counts[plan.decision.action] = counts.get(plan.decision.action, 0) + 1
        for line in [*explained, *coordinates, *([] if own else _cost(runner, slide, measuring))]:
            print(f"  {line}")
    for name, reason in runner.problems().items():
        print(f"{name}\n  would fail: {reason}")
        failing += 1
    print("stages: " + (", ".join(f"{number} to {action}" for action, number in counts.items()) or "none"))
    if failing:
        print(f"{failing} of the slides would fail")
    return 1 if failing else 0


def _explanations(runner: Runner, slide: Surveyed, costs: ExplanationCosts) -> tuple[list[str], str | None]:
    """Return what the explanations of a slide that is to be scored cost, and why one of them will be refused."""
    from mil_heatmaps.stages.base import SlideWork

    if "attention" not in slide.needed:
        return [], None
    with SlideWork(slide.job, runner.settings, slide.record) as work:
        try:
            return costs.of(work)
        except HeatmapError as error:
            return [], str(error)


def _coordinates(runner: Runner, slide: Surveyed) -> tuple[list[str], str | None]:
    """Return what coordinates of the slide's files are taken for, and why they cannot be used."""
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.told_coordinates import told_coordinates

    with SlideWork(slide.job, runner.settings, slide.record) as work:
        try:
            return told_coordinates(work, slide.needed), None
        except HeatmapError as error:
            return [], str(error)


def _cost(runner: Runner, slide: Surveyed, cost: CostOfMeasuring) -> list[str]:
    """Return what measuring the slide's maps takes, where it is to be done."""
    from mil_heatmaps.stages.base import SlideWork

    if "faithfulness" not in slide.needed:
        return []
    with SlideWork(slide.job, runner.settings, slide.record) as work:
        line = cost.line(work)
    return [] if line is None else [line]


def _resolution(runner: Runner, slide: Surveyed) -> Resolution:
    """Return the resolution of a slide, for which it is opened unless a run has put it on record as it is now."""
    from mil_heatmaps.slides.resolution import Resolution
    from mil_heatmaps.stages.base import SlideWork

    known = slide.record.summary.get("resolution")
    if known and known.get("mpp") and "segment" not in slide.needed:
        return Resolution(known["mpp"], known["source"])
    with SlideWork(slide.job, runner.settings, slide.record) as work:
        return work.slide.resolution


def _width_problem(runner: Runner, slide: Surveyed) -> str | None:
    """Say when features that are to be scored are of another width than the model's; reads no numbers."""
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


class _LogFile(logging.FileHandler):
    """Adds to a log, and not through a link to a file somewhere else."""

    def _open(self) -> TextIOWrapper:
        return open(open_to_append(Path(self.baseFilename)), "a", encoding=self.encoding, errors=self.errors)


@contextmanager
def run_log(runner: Runner, *, verbose: bool) -> Iterator[None]:
    """Log the run into its folder; the terminal shows warnings only through the summary."""
    from mil_heatmaps.pipeline.runner import check_writable

    path: Path = runner.cohort.layout.run_log
    check_writable(path.parent)
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("mil_heatmaps")
    before = root.level, root.propagate
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.addHandler(handler)
    root.propagate = False
    root.info("start: %s", " ".join(sys.argv))
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(before[0])
        root.propagate = before[1]
