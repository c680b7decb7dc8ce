"""`from src.visualization.heatmap_utils import draw_heatmap`, in a checkout."""

from mil_heatmaps.visualization.heatmap_utils import draw_heatmap, plan_heatmap

__all__ = ["draw_heatmap", "plan_heatmap"]
