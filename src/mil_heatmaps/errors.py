"""The errors a user can act on.

Each is also a builtin, so `except ValueError` keeps working. A message says what was given, what would be valid,
and where. The command line prints a `HeatmapError` as one line; anything else keeps its traceback.
"""


class HeatmapError(Exception):
    """Base class for errors a user can act on."""


class ConfigError(HeatmapError, ValueError):
    """The configuration is wrong."""


class ProcessListError(HeatmapError, ValueError):
    """The process list, or one of its rows, is wrong."""


class SlideError(HeatmapError, OSError):
    """A slide is missing, unreadable, or has no such region or level."""


class TissueError(HeatmapError, ValueError):
    """Tissue contours are missing, empty or unreadable."""


class FeatureError(HeatmapError, ValueError):
    """A feature file is missing, damaged, or does not fit its slide or model."""


class CheckpointError(HeatmapError, ValueError):
    """A checkpoint is missing, damaged, unsafe, or does not fit the model."""


class ModelError(HeatmapError, ValueError):
    """A model name, override or score does not exist, or a model misbehaved."""


class LostGpuError(ModelError):
    """A GPU is lost or in error, so that this process can use nothing on it any more."""


class ScoreError(HeatmapError, ValueError):
    """Patch scores, or the file that holds them, are wrong."""


class MissingDependencyError(HeatmapError, ImportError):
    """An optional package is not installed; the message holds the line that installs it."""


class WorkerError(HeatmapError, RuntimeError):
    """A process that was to check something before any work died."""
