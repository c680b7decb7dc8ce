"""What a run is asked to do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mil_heatmaps.cohort.jobs import Cohort
from mil_heatmaps.cohort.shards import Shard
from mil_heatmaps.explain.faithfulness_cohort import MapSummary
from mil_heatmaps.notices import Notice


@dataclass(frozen=True)
class RunOptions:
    """Which part of the cohort to process.

    Attributes
    ----------
    limit : at most this many slides
    slides : only these slide_ids; empty for all
    rerun : None brings everything up to date; ``all`` does every stage again; a status takes only the slides with it
    stages, from_stage : only these stages; this stage and the later ones
    shard : only the slides of this part of the list, see `Shard`
    time_limit : seconds; no slide is begun that would take longer than that
    """

    limit: int | None = None
    slides: tuple[str, ...] = ()
    rerun: str | None = None
    stages: tuple[str, ...] = ()
    from_stage: str | None = None
    time_limit: float | None = None
    shard: Shard | None = None


@dataclass(frozen=True)
class FaithfulnessReport:
    """The faithfulness of the maps of a cohort.

    Attributes
    ----------
    maps : one per map, the best first
    table, picture : Path
        Where every slide's numbers are; no picture where nothing could be measured.
    drawable : bool
        Whether maps are scores of the model, which can be drawn by name.
    """

    maps: tuple[MapSummary, ...]
    table: Path
    picture: Path | None
    drawable: bool = True


@dataclass
class RunSummary:
    """What a run did."""

    cohort: Cohort
    seconds: float = 0.0
    processed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # slide_id (with its line when it is there twice) -> reason
    notes: dict[str, tuple[Notice, ...]] = field(default_factory=dict)
    worked_on: set[str] = field(default_factory=set)  # slides of which some stage was computed
    stage_seconds: dict[str, float] = field(default_factory=dict)
    stopped: str | None = None  # why the run ended early
    left: int = 0  # slides it did not get to
    asked_for: str | None = None  # the status that --rerun chose
    faithfulness: FaithfulnessReport | None = None
    cases: Path | None = None  # the table of predictions by case
    exports: list[Path] = field(default_factory=list)  # those of the whole run
    refused_exports: list[str] = field(default_factory=list)  # of the whole run, and why

    @property
    def exit_code(self) -> int:
        """0; 1 when a slide failed; 3 when the run was asked to stop before it was done."""
        if self.stopped is not None and self.left:
            return 3
        return 1 if self.failed else 0
