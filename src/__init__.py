"""Attention heatmaps of multiple-instance-learning models on whole-slide images.

Importing `src` loads nothing heavy: torch, OpenSlide and matplotlib come with the function that needs them.
"""

__version__ = "0.1.0"
