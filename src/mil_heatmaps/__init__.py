"""Attention heatmaps of multiple-instance-learning models on whole-slide images.

Importing `mil_heatmaps` loads nothing heavy: torch, OpenSlide and matplotlib come with the function that needs them.
"""

from mil_heatmaps.version import __version__ as __version__
