"""The stages of a slide, in order. Each turns (job, what earlier stages wrote) into files."""

from collections.abc import Sequence

from mil_heatmaps.choices import STAGE_NAMES
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.stages.attention import AttentionStage
from mil_heatmaps.stages.base import Stage
from mil_heatmaps.stages.coords import CoordsStage
from mil_heatmaps.stages.exports import ExportsStage
from mil_heatmaps.stages.faithfulness import FaithfulnessStage
from mil_heatmaps.stages.features import FeaturesStage
from mil_heatmaps.stages.fine import FineFeaturesStage, FineScoresStage
from mil_heatmaps.stages.heatmap import HeatmapStage
from mil_heatmaps.stages.report import ReportStage
from mil_heatmaps.stages.samples import SamplesStage
from mil_heatmaps.stages.segment import SegmentStage
from mil_heatmaps.stages.video import VideoStage

STAGES: tuple[Stage, ...] = (
    SegmentStage(),
    CoordsStage(),
    FeaturesStage(),
    AttentionStage(),
    FineFeaturesStage(),
    FineScoresStage(),
    FaithfulnessStage(),
    HeatmapStage(),
    SamplesStage(),
    ExportsStage(),
    VideoStage(),
    ReportStage(),
)
"""Their names stand in `mil_heatmaps.choices.STAGE_NAMES`, in the same order."""


def choose_stages(names: Sequence[str] = (), first: str | None = None) -> tuple[Stage, ...]:
    """Return the stages of these names (all without one) from `first` on, in order.

    Raises
    ------
    ConfigError
        A name is not a stage's.
    """
    for name in (*names, *([first] if first else [])):
        if name not in STAGE_NAMES:
            raise ConfigError(f"unknown stage {name!r}; choose from {', '.join(STAGE_NAMES)}")
    later = STAGES[STAGE_NAMES.index(first) if first else 0 :]
    return tuple(stage for stage in later if not names or stage.name in names)
