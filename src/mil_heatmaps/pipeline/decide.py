"""Survey the slides before any work: which are up to date, and which stages the others need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.records.input_files import SeenFiles
from mil_heatmaps.records.slide_record import Decision, SlideRecord, decide
from mil_heatmaps.stages.base import SlideWork, Stage
from mil_heatmaps.stages.run_settings import RunSettings
from mil_heatmaps.words import reason_of


class StagePlan(NamedTuple):
    """What would be done for one stage, and why."""

    stage: str
    decision: Decision


class Surveyed(NamedTuple):
    """One slide as a run finds it.

    Attributes
    ----------
    plans : one per stage that applies
    problem : why it cannot even be planned; the run finds out the same and records it
    read_files : input files that had to be read, because the record does not know them in their present state
    """

    job: SlideJob
    record: SlideRecord
    plans: tuple[StagePlan, ...] = ()
    problem: str | None = None
    read_files: SeenFiles = {}  # noqa: RUF012  a default that nothing writes to

    @property
    def needed(self) -> frozenset[str]:
        """Stages that are not simply reused."""
        return frozenset(plan.stage for plan in self.plans if plan.decision.action != "reuse")

    @property
    def up_to_date(self) -> bool:
        """Whether there is nothing to do, not even to the record."""
        to_do = self.problem is not None or any(plan.decision.action != "reuse" for plan in self.plans)
        return not to_do and self.record.status == "processed"


def survey(
    jobs: Iterable[SlideJob],
    settings: RunSettings,
    stages: Sequence[Stage],
    force: Collection[str] = (),
    *,
    brief: bool = False,
) -> Iterator[Surveyed]:
    """Yield each slide with what would be done; writes nothing.

    With `brief`, a slide that is up to date comes without plans, and its record without inputs and outputs.
    """
    planned: dict[str, dict[str, Any]] = {}
    for job in jobs:
        record = SlideRecord.load(job.paths.record, job.slide_id)
        work = SlideWork(job, settings, record)
        work.planned = planned
        try:
            found = Surveyed(job, record, plan_stages(work, stages, force), read_files=work.files.read)
            if brief and found.up_to_date:
                found = Surveyed(job, record.without_files(), read_files=work.files.read)
        except Exception as error:  # an error of one slide concerns that slide only
            found = Surveyed(job, record, problem=reason_of(error))
        finally:
            work.close()
        yield found


def plan_stages(work: SlideWork, stages: Sequence[Stage], force: Collection[str]) -> tuple[StagePlan, ...]:
    """Return what would be done for each stage of one slide."""
    waiting_for: str | None = None
    plans, seen = [], work.record.just_seen
    try:
        for stage in stages:
            if stage.applies(work):
                decision = _decide(stage, work, force, waiting_for)
                if decision.action == "reuse":
                    seen.add(stage.name)
                elif waiting_for is None:
                    waiting_for = stage.name
                plans.append(StagePlan(stage.name, decision))
    finally:
        seen.clear()
    return tuple(plans)


def _decide(stage: Stage, work: SlideWork, force: Collection[str], waiting_for: str | None) -> Decision:
    known = work.record.stages.get(stage.name)
    if stage.name in force:
        return Decision("recompute", "asked for")
    if waiting_for is not None and known is None:
        return Decision("compute", f"after {waiting_for}")
    try:
        decision = decide(known, stage.inputs(work), work.job.paths.raw)
    except HeatmapError:
        if waiting_for is None:
            raise
        return Decision("compute", f"after {waiting_for}")
    if decision.action == "reuse" and waiting_for is not None:
        return Decision("reuse", f"unless {waiting_for} gives another result")
    return decision
