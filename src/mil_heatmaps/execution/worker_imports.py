"""Everything a worker needs, imported once: the fork server imports this module, workers are forked from it.

Most stages import these modules on first use. Without this module every worker would do so again.
"""

# ruff: noqa: E402, F401

import gc
import signal

# Ctrl-C goes to the whole terminal: while it still imports, the server ends without a word instead of a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import matplotlib.cm
import openslide
import scipy.sparse.csgraph
import scipy.spatial
import tifffile
from imagecodecs import jpeg8_decode

import mil_heatmaps.checkpoints.builder
import mil_heatmaps.config.config
import mil_heatmaps.execution.slide_tasks
import mil_heatmaps.features.read
import mil_heatmaps.features.write_coords
import mil_heatmaps.files.safe_pickle
import mil_heatmaps.models.abmil
import mil_heatmaps.models.inference
import mil_heatmaps.scores.score_schema
import mil_heatmaps.scores.select
import mil_heatmaps.slides.roi
import mil_heatmaps.slides.tissue_files
import mil_heatmaps.stages.load_model
import mil_heatmaps.visualization.heatmap_utils
import mil_heatmaps.visualization.overlay

# These objects stay until the process ends. Unless the garbage collector skips them, the server takes 0.6 s of CPU to
# exit, and a program that reads the run's output from a pipe waits for it.
gc.freeze()
