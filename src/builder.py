"""MIL-Lab's `from src.builder import create_model`, in a checkout."""

from mil_heatmaps.checkpoints.builder import create_clam, create_model

__all__ = ["create_clam", "create_model"]
