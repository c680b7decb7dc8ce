"""What a run is doing or has done, read from its folder alone: list, events, signs of life."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.progress.encoding_signs import Encoding, describe, find_encodings
from mil_heatmaps.progress.events import EventReader
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.run_signs import RunSign, find_runs
from mil_heatmaps.words import duration, first_of

RECENT_S = 600.0
"""Throughput is measured over this last span of time."""

LIST_TRAILS_S = 60.0
"""Events up to this much older than the list override it: the list is written later, and clocks differ."""

SHOWN = 5


@dataclass
class RunView:
    """One run, from its events."""

    name: str
    began: float = 0.0
    host: str = ""
    pid: int = 0
    shard: str | None = None
    slides: int = 0
    up_to_date: int = 0
    done: int = 0
    failed: int = 0
    at_work: dict[str, float] = field(default_factory=dict)  # slide_id -> since when
    finished: dict[str, Any] | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))

    @property
    def left(self) -> int:
        """Slides not done yet."""
        return max(0, self.slides - self.up_to_date - self.done)

    def per_minute(self, now: float) -> float:
        """Return the recent slides per minute; 0 while no slide is done."""
        since = max(self.began, now - RECENT_S)
        count = sum(1 for moment in self.recent if moment >= since)
        return 60 * count / max(now - since, 1e-9) if count else 0.0


@dataclass
class Failure:
    """One failed slide."""

    slide_id: str
    reason: str


class ExperimentView:
    """Follows one experiment's folder.

    Attributes
    ----------
    statuses : by slide_id, from the list, brought up to date by the events after it
    runs : by name, in the order they began
    stage_seconds, stage_counts : by stage, over all events
    encodings : slides whose patches are being encoded, and how far they are
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.statuses: dict[str, str] = {}
        self.runs: dict[str, RunView] = {}
        self.failures: dict[str, Failure] = {}
        self.stage_seconds: Counter[str] = Counter()
        self.stage_counts: Counter[str] = Counter()
        self.signs: list[RunSign] = []
        self.encodings: list[Encoding] = []
        self._run = FinishedRun(folder)
        self._reader = EventReader(self._run.layout.events_jsonl)
        self._list_state: tuple[int, int] | None = None
        self._told: dict[str, tuple[float, str, Failure | None]] = {}

    def refresh(self) -> None:
        """Read what is new."""
        for event in self._reader.new():
            try:
                self._take(event)
            except (KeyError, TypeError, ValueError):  # another version's event
                continue
        self._read_list()
        self.signs = find_runs(self.folder)
        self.encodings = find_encodings(self.folder)

    def alive(self, run: RunView) -> bool:
        """Whether a run that did not say it ended is still at work."""
        return run.finished is None and any(
            sign.alive and sign.pid == run.pid and run.name.startswith(f"{sign.host}-{sign.pid}-")
            for sign in self.signs
        )

    @property
    def at_work(self) -> list[RunView]:
        """The runs at work."""
        return [run for run in self.runs.values() if self.alive(run)]

    def _read_list(self) -> None:
        """Read the list if it has changed. Events after a slide's row was written override the row."""
        table = self._run.process_list
        try:
            state = table.path.stat()
            if self._list_state == (state.st_mtime_ns, state.st_size):
                return
            _, rows = table.read()
        except (OSError, ProcessListError):
            return
        self._list_state = (state.st_mtime_ns, state.st_size)
        self.statuses, self.failures = {}, {}
        for row in rows:
            slide_id, outcome = row.slide_id, row.outcome
            if not slide_id:
                continue
            if slide_id in self.statuses:  # a slide's second row is a separate failure
                slide_id = f"{slide_id} (line {row.line})"
            failed = outcome.status == "failed"
            failure = Failure(slide_id, f"{outcome.failed_stage}: {outcome.error}") if failed else None
            self._set(slide_id, outcome.status, failure)
        # The list trails the events of slides that finish while it is being written.
        for slide_id, (moment, status, failure) in self._told.items():
            if slide_id in self.statuses and moment > state.st_mtime - LIST_TRAILS_S:
                self._set(slide_id, status, failure)

    def _set(self, slide_id: str, status: str, failure: Failure | None) -> None:
        self.statuses[slide_id] = status
        if failure is not None:
            self.failures[slide_id] = failure
        else:
            self.failures.pop(slide_id, None)

    def _take(self, event: dict[str, Any]) -> None:
        kind, moment = event["event"], float(event["time"])
        run = self.runs.setdefault(event["run"], RunView(event["run"], began=moment))
        if kind == "run_started":
            run.began, run.host, run.pid = moment, event["host"], int(event["pid"])
            run.slides, run.up_to_date, run.shard = event["slides"], event["up_to_date"], event["shard"]
        elif kind == "slide_started":
            run.at_work[event["slide_id"]] = moment
        elif kind == "slide_finished":
            slide_id, status = event["slide_id"], event["status"]
            for stage, seconds in event["stages"].items():
                self.stage_seconds[stage] += seconds
                self.stage_counts[stage] += 1
            if status in ("running", "tbp"):  # scored, not drawn; or told to stop
                return
            run.at_work.pop(slide_id, None)
            run.done += 1
            run.failed += status == "failed"
            run.recent.append(moment)
            failure = None
            if status == "failed":
                failure = Failure(slide_id, f"{event['failed_stage']}: {event['error']}")
            self._told[slide_id] = (moment, status, failure)
            self._set(slide_id, status, failure)
        elif kind == "run_finished":
            run.finished = event
            run.at_work.clear()


def view_text(view: ExperimentView, *, width: int = 80, now: float | None = None) -> str:
    """Return the view as text for people."""
    now = time.time() if now is None else now
    counts = Counter(view.statuses.values())
    total = len(view.statuses)
    done = counts["processed"] + counts["failed"] + counts["skipped"]
    lines = [f"{view.folder.name}: {done} of {total} slides done" + _percent(done, total), _bar(counts, total, width)]
    kinds = [f"{counts[name]} {name}" for name in ("processed", "failed", "skipped", "running", "tbp") if counts[name]]
    lines.append("  ".join(kinds))
    lines += _runs(view, now)
    if view.stage_counts:
        means = ", ".join(
            f"{stage} {view.stage_seconds[stage] / count:.2f} s" for stage, count in view.stage_counts.items()
        )
        lines.append(f"mean time: {means}")
    busy = sorted((since, slide) for run in view.at_work for slide, since in run.at_work.items())
    if busy:
        lines.append(f"at work: {first_of([f'{slide} ({duration(now - since)})' for since, slide in busy], 2 * SHOWN)}")
    if len(view.encodings) > 1:
        lines.append(describe(view.encodings))
    lines += [_cut(f"  {one.slide_id}: encoding {one.progress}", width) for one in view.encodings[:SHOWN]]
    if view.failures:
        failures = list(view.failures.values())
        lines.append(f"failed: {len(failures)}" + (f", the last {SHOWN}:" if len(failures) > SHOWN else ""))
        lines += [_cut(f"  {failure.slide_id}: {failure.reason}", width) for failure in failures[-SHOWN:]]
    return "\n".join(lines)


def _runs(view: ExperimentView, now: float) -> list[str]:
    """Return what each active run does, or how the last run ended if none is active."""
    lines = []
    for run in view.at_work:
        rate = run.per_minute(now)
        left = f", about {duration(60 * run.left / rate)} left" if rate and run.left else ""
        part = f" shard {run.shard}" if run.shard else ""
        lines.append(
            f"run{part} on {run.host} for {duration(now - run.began)}: {run.done} done, {run.failed} failed, "
            f"{run.left} to go, {rate:.1f} slides/min{left}"
        )
    if len(lines) > 1:
        rate = sum(run.per_minute(now) for run in view.at_work)
        lines.append(f"together {rate:.1f} slides/min")
    if lines or not view.runs:
        return lines or ["no run is at work"]
    last = list(view.runs.values())[-1]
    if last.finished is None:
        return [f"no run is at work; the last one, on {last.host}, was killed or lost: the same command continues"]
    end = last.finished
    why = f"; {end['stopped']}, {end['left']} left" if end.get("stopped") else ""
    return [
        f"no run is at work; the last one ended {duration(max(0.0, now - float(end['time'])))} ago after "
        f"{duration(float(end['seconds']))}: {end['processed']} processed, {end['reused']} reused, "
        f"{end['failed']} failed{why}"
    ]


def _bar(counts: Counter[str], total: int, width: int) -> str:
    """``#`` for done, ``x`` for failed, ``.`` for the rest."""
    cells = max(10, min(width, 100) - 2)
    if not total:
        return "[" + " " * cells + "]"
    good = cells * (counts["processed"] + counts["skipped"]) // total
    bad = -(-cells * counts["failed"] // total)
    return "[" + "#" * good + "x" * min(bad, cells - good) + "." * max(0, cells - good - bad) + "]"


def _percent(done: int, total: int) -> str:
    return f" ({100 * done // total} %)" if total else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"
