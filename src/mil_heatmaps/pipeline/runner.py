"""Run a cohort: plan, act slide by slide, keep the lists current, sum up."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from mil_heatmaps.choices import STAGE_NAMES, STATUSES
from mil_heatmaps.cohort.cases import by_case, split_case, whole_cases
from mil_heatmaps.cohort.jobs import find_cohort
from mil_heatmaps.cohort.run_options import RunOptions, RunSummary
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.config.config import Config, effective_yaml
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.execution.interrupts import StopRequest
from mil_heatmaps.execution.run_slides import Execution
from mil_heatmaps.files.atomic import remove_abandoned, write_text
from mil_heatmaps.files.names import nfc
from mil_heatmaps.machine import kept_from_collection, no_collection
from mil_heatmaps.notices import distinct
from mil_heatmaps.pipeline.case_report import report_cases
from mil_heatmaps.pipeline.cohort_exports import export_cohort
from mil_heatmaps.pipeline.decide import Surveyed, survey
from mil_heatmaps.pipeline.faithfulness_report import report_faithfulness
from mil_heatmaps.progress.bars import Progress
from mil_heatmaps.progress.encoding_signs import forget_silent
from mil_heatmaps.progress.run_report import RunReport, shared_with
from mil_heatmaps.records.finished_run import RunTable
from mil_heatmaps.records.rows import ProcessRow
from mil_heatmaps.records.run_signs import Presence, run_name
from mil_heatmaps.records.run_tables import ListKeeper
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.records.table_claim import claim_table
from mil_heatmaps.stages.all_stages import choose_stages
from mil_heatmaps.stages.model_source import ModelSource
from mil_heatmaps.stages.run_settings import RunSettings
from mil_heatmaps.stages.stated_task import with_stated_task
from mil_heatmaps.words import first_of, said_by

__all__ = ["RunOptions", "RunSummary", "Runner", "check_writable"]

logger = logging.getLogger(__name__)

class Runner:
    """One run over a cohort. Errors of the config are raised before any work."""

    def __init__(self, config: Config, options: RunOptions | None = None, progress: Progress | None = None) -> None:
        config = with_stated_task(config)
        self.config = config
        self.options = options or RunOptions()
        self.progress = progress or Progress()
        self.stages = choose_stages(self.options.stages, self.options.from_stage)
        if self.options.rerun not in (None, "all", *STATUSES):
            raise ConfigError(f"unknown status {self.options.rerun!r} to rerun; choose from all, {', '.join(STATUSES)}")
        with no_collection():
            self.cohort = find_cohort(config)
        self.model = ModelSource(config, config.inputs.checkpoint)
        self.settings = RunSettings(config, self.model)
        self.report = RunReport(self.cohort.layout.events_jsonl)
        self._check_shard()
        self._named = frozenset(map(nfc, self.options.slides))
        self._listed = RunTable(self.cohort.layout.process_list).outcomes() if self.options.rerun else {}
        self.force: frozenset[str] = frozenset()
        if self.options.rerun in ("all", "processed"):
            self.force = frozenset(stage.name for stage in self.stages)

    def _check_shard(self) -> None:
        """Raise a ConfigError if a shard would draw with a cohort's scale or middle before all slides are scored."""
        names = {stage.name for stage in self.stages}
        heatmap = self.config.heatmap_arguments
        if self.options.shard is None or not heatmap.of_cohort:
            return
        key = "scale is cohort" if heatmap.scale == "cohort" else "center is cohort_median"
        if names & {"attention", "fine"} and names & {"heatmap", "exports", "video", "report"}:
            raise ConfigError(
                f"heatmap_arguments.{key}, but a shard knows only its own slides: first run every shard with "
                "--stages segment,coords,features,attention,fine_features,fine, then each with --from_stage heatmap"
            )

    # -- planning ------------------------------------------------------------------------------------------------

    def chosen_jobs(self) -> list[SlideJob]:
        """Return the jobs that the options select, in the order of the list."""
        rows = self.cohort.rows if self._named else ()
        if unknown := sorted(self._named - {nfc(name) for row in rows for name in (row.slide_name, row.slide_id)}):
            known = first_of(list(self.cohort.jobs), 5)
            raise ConfigError(f"--slides: {', '.join(unknown)} not in the process list; it has {known}")
        jobs = []
        for index, row in enumerate(self.cohort.rows):
            job = None if index in self.cohort.problems else self.cohort.jobs.get(row.slide_id)
            if job is not None and self._is_asked_for(row) and self._has_status(job):
                jobs.append(job)
        if self._bag_is_case:
            if self._named and (split := split_case(jobs, [job.slide_id for job in jobs])):
                raise ConfigError(split)
            jobs = jobs if self.options.limit is None else whole_cases(jobs, self.options.limit)
            return by_case(jobs, [job.row.case_id for job in jobs])
        return jobs[: self.options.limit]

    def problems(self) -> dict[str, str]:
        """Return why rows that the options select cannot be processed, by slide_id.

        The key of a slide's second row is slide_id and line.
        """
        found = {}
        for index, reason in self.cohort.problems.items():
            row = self.cohort.rows[index]
            if self._is_asked_for(row):
                name = row.slide_id or row.slide_name or f"line {row.line}"
                found[f"{name} (line {row.line})" if name in self.cohort.jobs else name] = reason
        return found

    def _is_asked_for(self, row: ProcessRow) -> bool:
        """Whether the row is among ``--slides`` and in this run's shard."""
        named, shard = self._named, self.options.shard
        is_named = not named or nfc(row.slide_id) in named or nfc(row.slide_name) in named
        return is_named and (shard is None or shard.has(row.case_id or row.slide_id))

    @property
    def _bag_is_case(self) -> bool:
        return self.config.data_arguments.bag == "case"

    def _has_status(self, job: SlideJob) -> bool:
        """Whether ``--rerun STATUS`` takes this slide."""
        status = self.options.rerun
        if status in (None, "all"):
            return True
        if job.paths.record.is_file():
            return SlideRecord.load(job.paths.record, job.slide_id).status == status
        # Rows that failed before there was anything to record (no slide, an unknown label) are in the list only.
        listed = self._listed.get(job.row.slide_name)
        return (listed.status if listed is not None else "tbp") == status

    def plan(self) -> Iterator[Surveyed]:
        """Yield each slide with what would be done; writes nothing."""
        return survey(self.chosen_jobs(), self.settings, self.stages, self.force)

    # -- acting --------------------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Run the cohort. Raises `HeatmapError` only before any work; a slide's error ends that slide."""
        started = time.perf_counter()
        with no_collection():
            found = list(survey(self.chosen_jobs(), self.settings, self.stages, self.force, brief=True))
        with kept_from_collection():
            return self._run(found, started)

    def _run(self, found: list[Surveyed], started: float) -> RunSummary:
        with ExitStack() as stack:
            execution = Execution(self.config, self.cohort.layout.raw_root, self.progress, self.report.begins)
            stack.enter_context(execution)
            self._prepare(found, execution)
            summary = self._act(found, execution, stack)
        reached = len(summary.processed) + len(summary.reused)
        summary.left = len(found) - reached - sum(slide.job.slide_id in summary.failed for slide in found)
        summary.faithfulness = report_faithfulness(self.cohort, self.config, summary.failed)
        if self._bag_is_case:
            summary.cases = report_cases(self.cohort, self.settings, summary)
        export_cohort(summary, self.config)
        summary.seconds = time.perf_counter() - started
        self.report.end(summary)
        if self.config.run_arguments.track is not None:
            from mil_heatmaps.progress.tracking import track

            track(self.config.run_arguments.track, self.config, summary)
        return summary

    def _act(self, found: list[Surveyed], execution: Execution, stack: ExitStack) -> RunSummary:
        """Process the slides and keep the lists current; `stack` ends the workers."""
        summary = RunSummary(self.cohort, asked_for=self.options.rerun)
        layout, shard = self.cohort.layout, self.options.shard
        lists = ListKeeper(layout, self.cohort.rows, self.cohort.problems, self.config.output_names)
        with Presence(layout.raw_root, str(shard) if shard else None) as presence:
            self._clear_up(presence)
            with no_collection():
                lists.start({slide.job.slide_id: slide.record for slide in found})
            summary.failed.update(self.problems())
            self.progress.start(len(found))
            for line in map(shared_with, presence.others):
                logger.warning("%s", line)
                self.progress.say(line)
            ready = sum(slide.up_to_date for slide in found)
            self.report.begin(len(found), ready, len(summary.failed), str(shard) if shard else None)
            try:
                with StopRequest(layout.raw_root / f".stop-{run_name()}", time_limit=self.options.time_limit) as stop:
                    try:
                        with stack.pop_all():  # from here on the workers end before anything else does
                            self._work(found, summary, lists, execution, stop)
                    except BaseException:  # Ctrl-C twice: the workers were killed
                        self._remove_halves(execution.dead_writers)
                        raise
                    if execution.lost_workers:
                        self._remove_halves(execution.dead_writers)
                    summary.stopped = stop.reason
            finally:
                self.progress.close()
                lists.finish()
        return summary

    def needed(self, found: Sequence[Surveyed]) -> frozenset[str]:
        """Return the stages that some slide needs."""
        return frozenset().union(*(slide.needed for slide in found))

    def _prepare(self, found: Sequence[Surveyed], execution: Execution) -> None:
        """Check the output folders and what any slide needs: the colormap, the model. Before any work."""
        check_extras(self.config)
        layout = self.cohort.layout
        for folder in self._folders():
            check_writable(folder)
        self.cohort.layout, said = claim_table(layout)
        self.cohort.notes += [said] if said else []
        execution.check(self.settings, self.needed(found), sum(not slide.up_to_date for slide in found))
        write_text(layout.config_yaml, effective_yaml(self.config))

    def _clear_up(self, presence: Presence) -> None:
        """Remove incomplete files after a kill, and signs of encodings that nobody is at any more."""
        # A kill while a run writes its sign leaves no sign, but an incomplete file in the top folder.
        halves = sum(remove_abandoned(folder, recursive=False) for folder in self._folders())
        if presence.after_a_kill or halves:
            self._remove_halves()
        self.cohort.layout.clear_beside_slides()
        forget_silent(self.cohort.layout.raw_root, alone=not presence.others)

    def _remove_halves(self, dead: frozenset[str] = frozenset()) -> None:
        """Remove incomplete files that killed processes left."""
        raw, production, lists = self._folders()
        for folder in (raw, production, lists):
            remove_abandoned(folder, dead, recursive=folder in (raw, production))  # lists: any folder

    def _folders(self) -> tuple[Path, Path, Path]:
        """Return the folders that results are written to, that of the tables last."""
        layout = self.cohort.layout
        return layout.raw_root, layout.production_root, layout.results_csv.parent

    def _work(
        self, found: Sequence[Surveyed], summary: RunSummary, lists: ListKeeper, execution: Execution, stop: StopRequest
    ) -> None:
        for upto in self._waits(found):
            if any(slide.needed or slide.problem is not None for slide in found) and not stop.asked:
                found = self._do_everyone(upto, found, summary, lists, execution, stop)
        for slide in found:
            if slide.up_to_date:
                if slide.read_files:
                    _remember(slide)
                self._take(SlideRun(slide.record, (), 0.0), summary, lists)
        jobs = [slide.job for slide in found if not slide.up_to_date]
        if jobs and not stop.asked:
            for run in execution.run(jobs, self.settings, self.stages, self.force, stop):
                self._take(run, summary, lists)

    def _waits(self, found: Sequence[Surveyed]) -> Iterator[str]:
        """Yield stages that every slide must finish before any goes on."""
        heatmap = self.config.heatmap_arguments
        # A case is scored from the features of all its slides.
        if self._bag_is_case and any(slide.job.features_path is None for slide in found):
            yield "features"
        # A scale over several slides needs all their scores; the first slide of a case's bag brings those of the case.
        if heatmap.of_cohort or (heatmap.scale == "case" and not self._bag_is_case):
            yield "fine"

    def _do_everyone(
        self,
        upto: str,
        found: Sequence[Surveyed],
        summary: RunSummary,
        lists: ListKeeper,
        execution: Execution,
        stop: StopRequest,
    ) -> list[Surveyed]:
        """Process every slide up to a stage, then survey again those that got there; after scoring, set the scale."""
        from mil_heatmaps.stages.cohort_scale import of_cohort

        early = tuple(stage for stage in self.stages if STAGE_NAMES.index(stage.name) <= STAGE_NAMES.index(upto))
        names = frozenset(stage.name for stage in early)
        unscored = [s.job for s in found if s.problem is not None or s.needed & names]
        if unscored:
            for run in execution.run(unscored, self.settings, early, self.force & names, stop, keep_running=True):
                self._take(run, summary, lists, final=False)
        if upto == "fine":
            everyone = [job for job in self.cohort.jobs.values() if job.paths.blockmap_h5.is_file()]
            self.settings = of_cohort(replace(self.settings, cohort_scale=None, cohort_medians=None), everyone)
        self.force -= names
        good = [slide.job for slide in found if slide.job.slide_id not in summary.failed]
        return list(survey(good, self.settings, self.stages, self.force))

    def _take(self, run: SlideRun, summary: RunSummary, lists: ListKeeper, *, final: bool = True) -> None:
        """Count one slide, update the lists, report it."""
        slide_id, record = run.record.slide_id, run.record
        if run.done:
            summary.worked_on.add(slide_id)
        for name in run.done:
            seconds = record.stages[name].seconds if name in record.stages else 0.0
            summary.stage_seconds[name] = summary.stage_seconds.get(name, 0.0) + seconds
        if notes := distinct((*self.cohort.jobs[slide_id].row.notes, *record.notices())):
            summary.notes[slide_id] = notes
        if run.failed:
            summary.failed[slide_id] = f"{record.failed_stage}: {record.error}"
        elif final and not run.stopped:
            (summary.processed if slide_id in summary.worked_on else summary.reused).append(slide_id)
        if run.done or run.failed:
            self.report.slide(run)
        lists.update(record)
        if (final or run.failed) and not run.stopped:
            self.progress.finished(slide_id, run)


def _remember(slide: Surveyed) -> None:
    """Record what was read of a finished slide's input files, so that the next run need not read them.

    Otherwise every run after a copy of the cohort would read them.
    """
    with suppress(Timeout, OSError), FileLock(slide.job.paths.lock).acquire(timeout=0):
        record = SlideRecord.load(slide.job.paths.record, slide.job.slide_id)
        record.files |= slide.read_files
        record.save()


def check_writable(folder: Path) -> None:
    """Raise a ConfigError when `folder` cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:  # leaves nothing behind, whatever happens
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        raise ConfigError(
            f"cannot write to {folder}: {error.strerror or said_by(error)}; the output folders are raw_save_dir, "
            "production_save_dir and results_dir of exp_arguments"
        ) from error


def check_extras(config: Config) -> None:
    """Raise a MissingDependencyError when the config asks for a package that is not installed."""
    cluster, track = config.run_arguments.cluster, config.run_arguments.track
    if cluster is not None:
        from mil_heatmaps.execution import dask_cluster

        dask_cluster.check_installed(cluster.kind)
    if track is not None:
        from mil_heatmaps.progress import tracking

        tracking.check_installed(track.kind)
