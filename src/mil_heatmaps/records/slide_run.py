"""What happened to one slide in a run."""

from __future__ import annotations

from dataclasses import dataclass

from mil_heatmaps.notices import Notice
from mil_heatmaps.records.slide_record import SlideRecord


@dataclass(frozen=True)
class SlideRun:
    """What happened to one slide in this run."""

    record: SlideRecord
    done: tuple[str, ...]  # stages that were computed in this run
    seconds: float
    notes: tuple[Notice, ...] = ()
    stopped: bool = False  # the run was asked to stop before the slide was done
    lines: tuple[str, ...] = ()  # for run.log
    gpu_lost: bool = False  # the process that worked on the slide can use its GPU no more

    @property
    def failed(self) -> bool:
        """Whether something was wrong with the slide."""
        return self.record.status == "failed"
