"""The stages of a slide, in order. Each turns a job and the files of earlier stages into files."""

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
"""`mil_heatmaps.choices.STAGE_NAMES` lists their names in the same order."""


def choose_stages(names: Sequence[str] = (), first: str | None = None) -> tuple[Stage, ...]:
    """Return the stages with these names (all if none is given) from `first` on, in order.

    Raises
    ------
    ConfigError
        A name is not that of a stage.
    """
    for name in (*names, *([first] if first else [])):
        if name not in STAGE_NAMES:
            raise ConfigError(f"unknown stage {name!r}; choose from {', '.join(STAGE_NAMES)}")
    later = STAGES[STAGE_NAMES.index(first) if first else 0 :]
    return tuple(stage for stage in later if not names or stage.name in names)
