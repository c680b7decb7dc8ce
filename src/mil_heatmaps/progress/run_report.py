"""Write what happens in a run to its events and its log."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from mil_heatmaps.cohort.run_options import RunSummary
from mil_heatmaps.progress.events import EventLog
from mil_heatmaps.records.run_signs import RunSign
from mil_heatmaps.records.slide_run import SlideRun

logger = logging.getLogger(__name__)


class RunReport:
    """The events and log lines of one run."""

    def __init__(self, path: Path) -> None:
        self._events = EventLog(path)

    def begin(self, slides: int, up_to_date: int, problems: int, shard: str | None) -> None:
        """Report the start of the run and its number of slides."""
        from mil_heatmaps.version import __version__

        self._events.add(
            "run_started", slides=slides, up_to_date=up_to_date, problems=problems, shard=shard,
            host=socket.gethostname(), pid=os.getpid(), program_version=__version__,
        )  # fmt: skip
        logger.info("%d slides, %d of them up to date", slides, up_to_date)

    def begins(self, slide_id: str) -> None:
        """Report that a slide is handed to a worker."""
        self._events.add("slide_started", slide_id=slide_id)

    def slide(self, run: SlideRun) -> None:
        """Log the lines of the slide's stages, then the slide's outcome with its seconds by stage."""
        record = run.record
        for line in run.lines:
            logger.info("%s: %s", record.slide_id, line)
        times = {name: record.stages[name].seconds for name in run.done if name in record.stages}
        text = ", ".join(f"{name} {seconds:.2f}" for name, seconds in times.items())
        reason = f": {record.failed_stage}: {record.error}" if run.failed else ""
        logger.info("%s: %s in %.2f s (%s)%s", record.slide_id, record.status, run.seconds, text or "no stage", reason)
        self._events.add(
            "slide_finished", slide_id=record.slide_id, status=record.status, seconds=round(run.seconds, 3),
            stages=times, failed_stage=record.failed_stage, error=record.error,
        )  # fmt: skip

    def end(self, summary: RunSummary) -> None:
        """Report how the run ended."""
        counts = {"processed": len(summary.processed), "reused": len(summary.reused), "failed": len(summary.failed)}
        self._events.add(
            "run_finished", **counts, left=summary.left, seconds=round(summary.seconds, 2), stopped=summary.stopped
        )
        self._events.close()
        why = f" ({summary.stopped}, {summary.left} left)" if summary.stopped else ""
        logger.info("end: %s in %.1f s%s", ", ".join(f"{n} {name}" for name, n in counts.items()), summary.seconds, why)


def shared_with(other: RunSign) -> str:
    """Return a line that says that another run is at work on the same experiment."""
    return f"another run is at work on this experiment ({other}); slides are shared between both"
