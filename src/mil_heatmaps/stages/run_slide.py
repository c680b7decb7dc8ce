"""Run the stages of one slide: decide, act, record; an error ends this slide only."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.devices import lost_gpu, raise_lost_gpu
from mil_heatmaps.errors import HeatmapError, LostGpuError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.notices import Notice
from mil_heatmaps.progress.encoding_signs import EncodingSign
from mil_heatmaps.records.layout import SlideLayout
from mil_heatmaps.records.slide_record import Decision, SlideRecord, StageRecord, decide, output_path
from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.stages.base import SlideWork, Stage, StageResult, Stopped
from mil_heatmaps.stages.run_settings import RunSettings
from mil_heatmaps.stages.unreadable_tiles import CODE, count_unreadable, known_tiles, note_unreadable
from mil_heatmaps.words import reason_of

logger = logging.getLogger(__name__)

OnStage = Callable[[str], None]

SAVE_EVERY_S = 1.0
"""Stages that together took less than this are recorded with the next stage: a kill loses no more than that."""




def run_slide(
    job: SlideJob,
    settings: RunSettings,
    stages: Sequence[Stage],
    *,
    force: Collection[str] = (),
    on_stage: OnStage | None = None,
    keep_running: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    experiment: Path | None = None,
) -> SlideRun:
    """Bring one slide up to date. Errors of the slide or its files are recorded, never raised.

    `keep_running` leaves the status at ``running``, for a run in two passes. `should_stop` is called before every
    stage that must run. Other processes can read the progress of the encoding in the folder `experiment`.
    """
    started = time.perf_counter()
    record = SlideRecord.load(job.paths.record, job.slide_id)
    sign = EncodingSign(experiment, job.slide_id) if experiment is not None else None
    work = SlideWork(job, settings, record, on_stage, should_stop, sign)
    done: list[str] = []
    notes: list[Notice] = []
    current, stopped, gpu_lost = "open", False, False
    try:
        for stage in stages:
            current = stage.name
            if not stage.applies(work):
                if record.stages.pop(stage.name, None):  # the config no longer asks for it; its pictures stay
                    note_unreadable(record, known_tiles(record))
                continue
            if on_stage is not None:
                on_stage(stage.name)
            forced = stage.name in force
            if _bring_up_to_date(stage, work, force=forced, notes=notes, should_stop=should_stop):
                done.append(stage.name)
    except Stopped:
        record.status, stopped = "tbp", True
        with suppress(OSError):
            record.save()
    except Exception as error:  # one bad slide never ends a run
        gpu_lost = lost_gpu(error) is not None
        if work.opened is not None:
            count_unreadable(record, work.opened.unreadable.used())
        _note_failure(record, job, current, error)
    else:
        if record.status == "failed":  # nothing ran, so what it failed by is no longer asked for
            note_unreadable(record, known_tiles(record))
        status = "running" if keep_running else "processed" if _is_complete(work) else "tbp"
        _note_success(record, job, status, changed=bool(done))
    finally:
        work.close()
        if sign is not None:
            sign.remove()
        if record.behind:  # Ctrl-C twice, or a disk that was full a moment ago
            with suppress(OSError):
                record.save()
    # The count of tiles grows from stage to stage: the record has the last one.
    notes = [*(note for note in record.notices() if note.code == CODE), *(note for note in notes if note.code != CODE)]
    seconds = time.perf_counter() - started
    return SlideRun(record, tuple(done), seconds, tuple(notes), stopped, tuple(work.lines), gpu_lost)


def _is_complete(work: SlideWork) -> bool:
    """Whether every stage the config asks for is on record; after ``--stages`` some may be left."""
    from mil_heatmaps.stages.all_stages import STAGES

    return all(stage.name in work.record.stages for stage in STAGES if stage.applies(work))


def _bring_up_to_date(
    stage: Stage, work: SlideWork, *, force: bool, notes: list[Notice], should_stop: Callable[[], bool]
) -> bool:
    """Run `stage` unless its record is still valid; return whether it ran."""
    record, paths = work.record, work.job.paths
    inputs = stage.inputs(work)
    previous = record.stages.get(stage.name)
    decision = Decision("recompute", "asked for") if force else decide(previous, inputs, paths.raw)
    if decision.action == "reuse":
        assert previous is not None
        notes.extend(previous.notes)
        return False
    if should_stop():
        raise Stopped
    logger.debug("%s: %s %s (%s)", work.job.slide_id, decision.action, stage.name, decision.reason)
    started = time.perf_counter()
    if record.status != "running":
        record.status, record.failed_stage, record.error = "running", None, None
        record.save()
    elif record.behind and time.monotonic() - record.saved_at >= SAVE_EVERY_S:
        record.save()
    met = known_tiles(record)
    work.forced = force
    result, met[stage.name] = _run_watching(stage, work)
    work.forget_artifacts(result.paths)
    inputs = {**inputs, "failed": "the last time"} if result.again else inputs
    entry = StageRecord.of(inputs, result.paths, paths.raw, time.perf_counter() - started, result.notes)
    record.stages[stage.name] = entry
    note_unreadable(record, met)
    if stage.name == "samples":
        _remove_stale(previous, record, paths)
    record.seconds = sum(stage_record.seconds for stage_record in record.stages.values())
    record.behind = True
    notes.extend(result.notes)
    return True


def _run_watching(stage: Stage, work: SlideWork) -> tuple[StageResult, list[tuple[int, int, int]]]:
    """Run a stage and note the tiles it could not read; raise a SlideError if those are most of what it needed."""
    if work.opened is not None:
        work.opened.unreadable.begin()
    try:
        result = stage.run(work)
    except Exception as error:
        if not isinstance(error, LostGpuError) and (lost := lost_gpu(error)) is not None:
            raise_lost_gpu(lost, f"the stage {stage.name} ran")
        # Without most of the slide a stage may fail for lack of tissue, for example: report the real cause.
        if isinstance(error, HeatmapError) and work.opened is not None:
            work.opened.unreadable.check()
        raise
    if work.opened is None:
        return result, []
    # Samples, and outlines that the user provides, do not fail if pixels are missing.
    if stage.name != "samples" and (stage.name != "segment" or work.job.tissue_path is None):
        work.opened.unreadable.check()
    return result, work.opened.unreadable.used()


def _remove_stale(previous: StageRecord | None, record: SlideRecord, paths: SlideLayout) -> None:
    """Remove samples of an old prediction or setting; pictures under other parameters' names stay, as in CLAM.

    An older set in another output folder stays too.
    """
    if previous is None:
        return
    held = {key for stage in record.stages.values() for key in stage.outputs}
    for key, output in previous.outputs.items():
        path = Path(output_path(str(paths.raw), key))
        # Only files as this program wrote them: a picture that the user edited stays.
        inside = path.resolve().is_relative_to(paths.sampled_patches.resolve())
        if key not in held and inside and output.matches(path):
            path.unlink(missing_ok=True)


def _note_failure(record: SlideRecord, job: SlideJob, stage: str, error: Exception) -> None:
    record.status, record.failed_stage, record.error = "failed", stage, reason_of(error)
    logger.error("%s: failed in %s: %s", job.slide_id, stage, record.error)
    trace = "".join(traceback.format_exception(error))
    # A full or read-only disk may be the error itself; the coordinator still has the record in memory.
    with suppress(OSError):
        write_text(job.paths.error_log, trace)
    with suppress(OSError):
        record.save()


def _note_success(record: SlideRecord, job: SlideJob, status: str, *, changed: bool) -> None:
    if record.status == status and not changed:
        return
    record.status, record.failed_stage, record.error = status, None, None
    try:
        record.save()
        job.paths.error_log.unlink(missing_ok=True)
    except OSError as error:
        _note_failure(record, job, "record", error)
