"""Run a cohort: plan, act slide by slide, keep the lists current, sum up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from src.errors import ConfigError
from src.files import remove_abandoned, write_text
from src.pipeline.cohort import Cohort, find_cohort
from src.pipeline.config import Config, effective_yaml
from src.pipeline.execution import Execution
from src.pipeline.interrupts import StopRequest
from src.pipeline.lists import ListKeeper, read_outcomes
from src.pipeline.model_source import ModelSource
from src.pipeline.progress import Progress, Quiet
from src.pipeline.records import SlideRecord
from src.pipeline.slide_run import SlideRun
from src.pipeline.stages import STAGE_NAMES, STAGES, Stage
from src.pipeline.stages.base import RunSettings, SlideJob
from src.pipeline.survey import Surveyed, survey

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
    time_limit : seconds after which no slide is begun that would take longer
    """

    limit: int | None = None
    slides: tuple[str, ...] = ()
    rerun: str | None = None
    stages: tuple[str, ...] = ()
    from_stage: str | None = None
    time_limit: float | None = None

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
    stopped: str | None = None  # why the run ended early
    left: int = 0  # slides it did not get to

    @property
    def exit_code(self) -> int:
        """0; 1 when a slide failed; 3 when the run was asked to stop before it was done."""
        if self.stopped is not None and self.left:
            return 3
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
        self._listed = read_outcomes(self.cohort.layout.process_list) if self.options.rerun else {}
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
        if status in (None, "all"):
            return True
        if job.paths.record.is_file():
            return SlideRecord.load(job.paths.record, job.slide_id).status == status
        # Rows that failed before there was anything to record (no slide, an unknown label) are in the list only.
        listed = self._listed.get(job.slide_id)
        return (listed.status if listed is not None else "tbp") == status

    def plan(self) -> Iterator[Surveyed]:
        """Yield each slide with what would be done; touches nothing."""
        return survey(self.chosen_jobs(), self.settings, self.stages, self.force)

    # -- acting --------------------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Do it. Raises `HeatmapError` only before any work; a slide's error ends that slide."""
        started = time.perf_counter()
        found = list(self.plan())
        self._prepare(found)
        summary = RunSummary(self.cohort)
        lists = ListKeeper(self.cohort, self.config)
        lists.start({slide.job.slide_id: slide.record for slide in found})
        self._count_problems(summary)
        self.progress.start(len(found))
        stop_file = self.cohort.layout.raw_root / f".stop-{os.getpid()}"
        try:
            with StopRequest(stop_file, time_limit=self.options.time_limit) as stop:
                self._work(found, summary, lists, stop)
                summary.stopped = stop.reason
        finally:
            self.progress.close()
            lists.finish()
            (self.cohort.layout.raw_root / ".running").unlink(missing_ok=True)
        reached = len(summary.processed) + len(summary.reused)
        summary.left = len(found) - reached - sum(slide.job.slide_id in summary.failed for slide in found)
        summary.seconds = time.perf_counter() - started
        return summary

    def check_needs(self, found: Sequence[Surveyed]) -> None:
        """Check what some slide needs, as far as it needs it: the colormap, the model, the encoder."""
        needed = frozenset().union(*(slide.needed for slide in found))
        if "heatmap" in needed:
            from src.visualization.palette import colour_table

            colour_table(self.config.heatmap_arguments.cmap)
        if needed & {"attention", "fine"} and not self.model.external:
            self.model.load()
        if needed & {"features", "fine_features"}:
            self._check_encoder()

    def _prepare(self, found: Sequence[Surveyed]) -> None:
        """Check the output folders and what any slide needs: the colormap, the model. Before any work."""
        check_extras(self.config)
        layout = self.cohort.layout
        for folder in (layout.raw_root, layout.production_root, layout.results_csv.parent):
            check_writable(folder)
        self.check_needs(found)
        marker = layout.raw_root / ".running"
        if marker.exists():  # an earlier run was killed, or another one is at work
            remove_abandoned(layout.raw_root)
            remove_abandoned(layout.production_root)
        write_text(marker, f"{os.getpid()}\n")
        write_text(layout.config_yaml, effective_yaml(self.config))

    def _check_encoder(self) -> None:
        """Load the patch encoder, and the model it is meant for, so that a mismatch shows before any work."""
        from src.encoders.create import check_width
        from src.pipeline.encoding import load_encoder

        encoder = load_encoder(self.config)
        if not self.model.external:
            model = self.model.load()
            if getattr(model, "in_dim", 0):
                check_width(encoder, model.in_dim, model.name or type(model).__name__)

    def _work(self, found: Sequence[Surveyed], summary: RunSummary, lists: ListKeeper, stop: StopRequest) -> None:
        with ExitStack() as stack:
            executions: list[Execution] = []

            def execution() -> Execution:
                if not executions:
                    executions.append(stack.enter_context(Execution(self.config, stop, self.progress)))
                return executions[0]

            if self.config.heatmap_arguments.scale == "cohort" and any(slide.needed for slide in found):
                found = self._score_everyone(found, summary, lists, execution)
            for slide in found:
                if slide.up_to_date:
                    self._take(SlideRun(slide.record, (), 0.0), summary, lists)
            jobs = [slide.job for slide in found if not slide.up_to_date]
            if jobs and not stop.asked:
                for run in execution().run(jobs, self.settings, self.stages, self.force):
                    self._take(run, summary, lists)

    def _score_everyone(
        self,
        found: Sequence[Surveyed],
        summary: RunSummary,
        lists: ListKeeper,
        execution: Callable[[], Execution],
    ) -> list[Surveyed]:
        """Score every slide before any is drawn, so that all are drawn on one scale; survey again what has scores."""
        from src.pipeline.cohort_scale import cohort_scale

        early = tuple(stage for stage in self.stages if STAGE_NAMES.index(stage.name) <= STAGE_NAMES.index("fine"))
        jobs = [slide.job for slide in found]
        names = frozenset(stage.name for stage in early)
        unscored = [s.job for s in found if s.problem is not None or s.needed & names]
        if unscored:
            for run in execution().run(unscored, self.settings, early, self.force & names, keep_running=True):
                self._take(run, summary, lists, final=False)
        everyone = [job for job in self.cohort.jobs.values() if job.paths.blockmap_h5.is_file()]
        self.settings = RunSettings(self.config, self.model, *cohort_scale(self.settings, everyone))
        self.force -= names
        good = [job for job in jobs if job.slide_id not in summary.failed]
        return list(survey(good, self.settings, self.stages, self.force))

    def _take(self, run: SlideRun, summary: RunSummary, lists: ListKeeper, *, final: bool = True) -> None:
        """Count one slide, note it in the lists, tell it."""
        slide_id, record = run.record.slide_id, run.record
        if run.done:
            summary.worked_on.add(slide_id)
        for name in run.done:
            seconds = record.stages[name].seconds if name in record.stages else 0.0
            summary.stage_seconds[name] = summary.stage_seconds.get(name, 0.0) + seconds
        notes = (*self.cohort.jobs[slide_id].row.notes, *(n for stage in record.stages.values() for n in stage.notes))
        if notes:
            summary.notes[slide_id] = tuple(dict.fromkeys(notes))
        if run.failed:
            summary.failed[slide_id] = f"{record.failed_stage}: {record.error}"
        elif final and not run.stopped:
            (summary.processed if slide_id in summary.worked_on else summary.reused).append(slide_id)
        if run.done or run.failed:
            logger.info("%s: %s (%s) %.2f s", slide_id, record.status, ", ".join(run.done) or "-", run.seconds)
        lists.update(record)
        if (final or run.failed) and not run.stopped:
            self.progress.finished(slide_id, run)

    def _count_problems(self, summary: RunSummary) -> None:
        """Count the rows that cannot be done, as far as the options ask for them."""
        for index, reason in self.cohort.problems.items():
            row = self.cohort.rows[index]
            if self.options.slides and row.slide_id not in self.options.slides:
                continue
            name = row.slide_id or row.slide_name
            summary.failed[f"{name} (line {row.line})" if name in self.cohort.jobs else name] = reason


def check_writable(folder: Path) -> None:
    """Raise a ConfigError when `folder` cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}") from error


def check_extras(config: Config) -> None:
    """Raise a MissingDependencyError when the config asks for what is not installed."""
    cluster = config.run_arguments.cluster
    if cluster is not None:
        from src.pipeline.dask_cluster import check_installed

        check_installed(cluster.kind)
