"""Run a cohort: plan, act slide by slide, keep the lists current, sum up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from src.errors import ConfigError
from src.files import remove_abandoned, write_text
from src.pipeline.cohort import Cohort, find_cohort
from src.pipeline.config import Config, effective_yaml
from src.pipeline.lists import ListKeeper
from src.pipeline.model_source import ModelSource
from src.pipeline.progress import Progress, Quiet
from src.pipeline.records import SlideRecord
from src.pipeline.slide_run import SlideRun, StagePlan, one_line, plan_slide, run_slide
from src.pipeline.stages import STAGE_NAMES, STAGES, Stage
from src.pipeline.stages.base import RunSettings, SlideJob

logger = logging.getLogger(__name__)

STATUSES = ("tbp", "running", "processed", "failed", "skipped")


@dataclass(frozen=True)
class RunOptions:
    """What of the cohort to do.

    Attributes
    ----------
    limit : at most this many slides
    slides : only these slide_ids; empty for all
    rerun : None brings everything up to date; ``all`` does every stage again; a status takes only the slides with it
    stages, from_stage : only these stages; this stage and the later ones
    """

    limit: int | None = None
    slides: tuple[str, ...] = ()
    rerun: str | None = None
    stages: tuple[str, ...] = ()
    from_stage: str | None = None

    def chosen_stages(self) -> tuple[Stage, ...]:
        """Return the stages to run, in order. ConfigError when a name is not a stage."""
        for name in (*self.stages, *([self.from_stage] if self.from_stage else [])):
            if name not in STAGE_NAMES:
                raise ConfigError(f"unknown stage {name!r}; choose from {', '.join(STAGE_NAMES)}")
        first = STAGE_NAMES.index(self.from_stage) if self.from_stage else 0
        return tuple(
            stage for stage in STAGES[first:] if not self.stages or stage.name in self.stages
        )


@dataclass
class RunSummary:
    """What a run did."""

    cohort: Cohort
    seconds: float = 0.0
    processed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # slide_id (with its line when it is there twice) -> reason
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    worked_on: set[str] = field(default_factory=set)  # slides of which some stage was computed
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 1 when a slide failed."""
        return 1 if self.failed else 0


class Runner:
    """One run over a cohort. Everything that can be wrong with the config shows before any work."""

    def __init__(self, config: Config, options: RunOptions | None = None, progress: Progress | None = None) -> None:
        self.config = config
        self.options = options or RunOptions()
        self.progress = progress or Quiet()
        self.stages = self.options.chosen_stages()
        if self.options.rerun not in (None, "all", *STATUSES):
            raise ConfigError(f"unknown status {self.options.rerun!r} to rerun; choose from all, {', '.join(STATUSES)}")
        self.cohort = find_cohort(config)
        self.model = ModelSource(config, config.inputs.checkpoint)
        self.settings = RunSettings(config, self.model)
        self.force: frozenset[str] = frozenset()
        if self.options.rerun in ("all", "processed"):
            self.force = frozenset(stage.name for stage in self.stages)

    # -- planning ------------------------------------------------------------------------------------------------

    def chosen_jobs(self) -> list[SlideJob]:
        """Return the jobs the options leave, in the order of the list."""
        unknown = sorted(set(self.options.slides) - {row.slide_id for row in self.cohort.rows})
        if unknown:
            known = ", ".join(list(self.cohort.jobs)[:5])
            raise ConfigError(f"--slides: {', '.join(unknown)} not in the process list; it has {known}, …")
        wanted = set(self.options.slides)
        jobs = []
        for index, row in enumerate(self.cohort.rows):
            job = None if index in self.cohort.problems else self.cohort.jobs.get(row.slide_id)
            if job is None or (wanted and row.slide_id not in wanted):
                continue
            if self._has_status(job):
                jobs.append(job)
        return jobs[: self.options.limit]

    def _has_status(self, job: SlideJob) -> bool:
        """Whether ``--rerun STATUS`` takes this slide."""
        status = self.options.rerun
        return status in (None, "all") or SlideRecord.load(job.paths.record, job.slide_id).status == status

    def plan(self) -> Iterator[tuple[SlideJob, list[StagePlan] | str]]:
        """Yield each job with what would be done, or why nothing can be; touches nothing."""
        for job in self.chosen_jobs():
            try:
                yield job, plan_slide(job, self.settings, self.stages, self.force)
            except Exception as error:
                yield job, one_line(error)

    # -- acting --------------------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Do it. Raises `HeatmapError` only before any work; a slide's error ends that slide."""
        started = time.perf_counter()
        jobs = self.chosen_jobs()
        self._prepare(jobs)
        summary = RunSummary(self.cohort)
        lists = ListKeeper(self.cohort, self.config)
        lists.start()
        self.progress.start(len(jobs))
        try:
            self._run_jobs(jobs, summary, lists)
        finally:
            self.progress.close()
            lists.finish()
            (self.cohort.layout.raw_root / ".running").unlink(missing_ok=True)
        for index, reason in self.cohort.problems.items():
            row = self.cohort.rows[index]
            if not self.options.slides or row.slide_id in self.options.slides:
                name = row.slide_id or row.slide_name
                summary.failed[f"{name} (line {row.line})" if name in self.cohort.jobs else name] = reason
        summary.seconds = time.perf_counter() - started
        return summary

    def _prepare(self, jobs: Sequence[SlideJob]) -> None:
        """Check the output folders and, when any slide needs it, the model: before any work."""
        layout = self.cohort.layout
        for folder in (layout.raw_root, layout.production_root, layout.results_csv.parent):
            check_writable(folder)
        needed = self._needed_stages(jobs)
        if "heatmap" in needed:
            from src.visualization.palette import colour_table

            colour_table(self.config.heatmap_arguments.cmap)
        if "attention" in needed and not self.model.external:
            self.model.load()
        marker = layout.raw_root / ".running"
        if marker.exists():  # an earlier run was killed, or another one is at work
            remove_abandoned(layout.raw_root)
            remove_abandoned(layout.production_root)
        write_text(marker, f"{os.getpid()}\n")
        write_text(layout.config_yaml, effective_yaml(self.config))

    def _needed_stages(self, jobs: Sequence[SlideJob]) -> set[str]:
        """Return the stages that some slide does not simply reuse, as far as it takes to know those checked before."""
        needed = set(self.force)
        for job in jobs:
            if needed >= {"attention", "heatmap"}:
                break
            try:
                plans = plan_slide(job, self.settings, self.stages)
            except Exception:  # whatever it is, this slide fails by itself later
                continue
            needed |= {plan.stage for plan in plans if plan.decision.action != "reuse"}
        return needed

    def _run_jobs(self, jobs: Sequence[SlideJob], summary: RunSummary, lists: ListKeeper) -> None:
        if self.config.heatmap_arguments.scale == "cohort":
            jobs = self._first_pass(jobs, summary, lists)
        postponed = []
        for job in jobs:
            if not self._run_job(job, summary, lists, self.stages, wait=False):
                postponed.append(job)
        for job in postponed:  # another run had them; what it has done by now is reused
            self._run_job(job, summary, lists, self.stages, wait=True)

    def _first_pass(
        self, jobs: Sequence[SlideJob], summary: RunSummary, lists: ListKeeper
    ) -> Sequence[SlideJob]:
        """Score every slide before any is drawn, so that all are drawn on one scale; return those that have scores."""
        from src.pipeline.cohort_scale import cohort_scale

        last = STAGE_NAMES.index("attention")
        early = tuple(stage for stage in self.stages if STAGE_NAMES.index(stage.name) <= last)
        good = []
        for job in jobs:
            self._run_job(job, summary, lists, early, wait=True, keep_running=True)
            if job.slide_id not in summary.failed:
                good.append(job)
        everyone = [job for job in self.cohort.jobs.values() if job.paths.blockmap_h5.is_file()]
        self.settings = RunSettings(self.config, self.model, *cohort_scale(self.settings, everyone))
        self.force -= {stage.name for stage in early}
        return good

    def _run_job(
        self,
        job: SlideJob,
        summary: RunSummary,
        lists: ListKeeper,
        stages: Sequence[Stage],
        *,
        wait: bool,
        keep_running: bool = False,
    ) -> bool:
        """Run one slide under its lock; False when another run holds it and `wait` is off."""
        self.progress.slide(job.slide_id)
        try:
            job.paths.raw.mkdir(parents=True, exist_ok=True)
            lock = FileLock(job.paths.lock)
            with lock.acquire(timeout=-1 if wait else 0):
                run = run_slide(
                    job,
                    self.settings,
                    stages,
                    force=self.force,
                    on_stage=self.progress.stage,
                    keep_running=keep_running,
                )
        except Timeout:
            return False
        except OSError as error:
            record = SlideRecord(job.paths.record, job.slide_id, "failed", "open", one_line(error))
            run = SlideRun(record, (), 0.0)
        self._count(job, run, summary, final=not keep_running)
        lists.update(job, run.record)
        if not keep_running or run.failed:
            self.progress.finished(job.slide_id, run)
        return True

    def _count(self, job: SlideJob, run: SlideRun, summary: RunSummary, *, final: bool) -> None:
        if run.done:
            summary.worked_on.add(job.slide_id)
        for name in run.done:
            seconds = run.record.stages[name].seconds if name in run.record.stages else 0.0
            summary.stage_seconds[name] = summary.stage_seconds.get(name, 0.0) + seconds
        if run.notes:
            summary.notes[job.slide_id] = tuple(dict.fromkeys((*job.row.notes, *run.notes)))
        if run.failed:
            summary.failed[job.slide_id] = f"{run.record.failed_stage}: {run.record.error}"
        elif final:
            (summary.processed if job.slide_id in summary.worked_on else summary.reused).append(job.slide_id)
        logger.info("%s: %s (%s) %.2f s", job.slide_id, run.record.status, ", ".join(run.done) or "-", run.seconds)


def check_writable(folder: Path) -> None:
    """Raise a ConfigError when `folder` cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}") from error
