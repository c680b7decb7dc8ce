"""Look at what is there before any work: which slides are up to date, and which stages the others need."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.records.proofs import Prover
from mil_heatmaps.records.record_file import read_head
from mil_heatmaps.records.slide_record import Decision, SlideRecord, decide
from mil_heatmaps.stages.base import RunSettings, SlideJob, SlideWork, Stage
from mil_heatmaps.words import reason_of


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from searching for garbage while objects by the hundred thousand are made to be kept."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def kept_from_collection() -> Iterator[None]:
    """Keep the search for garbage off everything that is there now, such as the slides of a long list, for a while."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class StagePlan:
    """What would be done for one stage, and why."""

    stage: str
    decision: Decision


@dataclass(frozen=True)
class Surveyed:
    """One slide as a run finds it.

    Attributes
    ----------
    plans : one a stage that applies
    problem : why it cannot even be planned; the run finds out the same and records it
    """

    job: SlideJob
    record: SlideRecord
    plans: tuple[StagePlan, ...] = ()
    problem: str | None = None

    @cached_property
    def needed(self) -> frozenset[str]:
        """Stages that are not simply reused."""
        return frozenset(plan.stage for plan in self.plans if plan.decision.action != "reuse")

    @property
    def up_to_date(self) -> bool:
        """Whether there is nothing to do, not even to the record."""
        return self.problem is None and not self.needed and self.record.status == "processed"


def survey(
    jobs: Iterable[SlideJob],
    settings: RunSettings,
    stages: Sequence[Stage],
    force: Collection[str] = (),
    *,
    brief: bool = False,
) -> Iterator[Surveyed]:
    """Yield each slide with what would be done; touches nothing.

    With `brief`, a slide whose record proves that it is up to date comes without plans and without what its record
    says of inputs and outputs.
    """
    prover = Prover(settings) if brief and not force else None
    for job in jobs:
        path = job.paths.record
        if prover is not None and (head := read_head(os.fspath(path))) is not None and _proven(prover, job, head):
            yield Surveyed(job, SlideRecord.of_head(head, path, job.slide_id))
            continue
        record = SlideRecord.load(path, job.slide_id)
        work = SlideWork(job, settings, record)
        try:
            yield Surveyed(job, record, tuple(plan_stages(work, stages, force)))
        except Exception as error:  # whatever is wrong with one slide is that slide's matter
            yield Surveyed(job, record, problem=reason_of(error))
        finally:
            work.close()


def _proven(prover: Prover, job: SlideJob, head: dict[str, Any]) -> bool:
    try:
        return prover.holds(job, head)
    except (KeyError, TypeError, AttributeError, ValueError):  # somebody edited the record
        return False


def plan_stages(work: SlideWork, stages: Sequence[Stage], force: Collection[str]) -> Iterator[StagePlan]:
    """Yield what would be done for each stage of one slide."""
    waiting_for: str | None = None
    for stage in stages:
        if not stage.applies(work):
            continue
        decision = _decide(stage, work, force, waiting_for)
        if decision.action != "reuse":
            waiting_for = waiting_for or stage.name
        yield StagePlan(stage.name, decision)


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
