"""The stages of a slide, in order. Each turns (job, what earlier stages wrote) into files."""

from mil_heatmaps.stages.attention import AttentionStage
from mil_heatmaps.stages.base import Stage
from mil_heatmaps.stages.coords import CoordsStage
from mil_heatmaps.stages.exports import ExportsStage
from mil_heatmaps.stages.features import FeaturesStage
from mil_heatmaps.stages.fine import FineFeaturesStage, FineScoresStage
from mil_heatmaps.stages.heatmap import HeatmapStage
from mil_heatmaps.stages.samples import SamplesStage
from mil_heatmaps.stages.segment import SegmentStage

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
"""Their names stand in `mil_heatmaps.choices.STAGE_NAMES`, in the same order."""

__all__ = ["STAGES", "Stage"]
