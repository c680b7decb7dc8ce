"""The stages of a slide, in order. Each turns (job, what earlier stages wrote) into files."""

from src.pipeline.stages.attention import AttentionStage
from src.pipeline.stages.base import Stage
from src.pipeline.stages.coords import CoordsStage
from src.pipeline.stages.exports import ExportsStage
from src.pipeline.stages.features import FeaturesStage
from src.pipeline.stages.fine import FineFeaturesStage, FineScoresStage
from src.pipeline.stages.heatmap import HeatmapStage
from src.pipeline.stages.samples import SamplesStage
from src.pipeline.stages.segment import SegmentStage

STAGES: tuple[Stage, ...] = (
    SegmentStage(),
    CoordsStage(),
    FeaturesStage(),
    AttentionStage(),
    FineFeaturesStage(),
    FineScoresStage(),
    HeatmapStage(),
    SamplesStage(),
    ExportsStage(),
)
STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)

__all__ = ["STAGES", "STAGE_NAMES", "Stage"]
