"""The process that workers are forked from: it imports once what every one of them needs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PRELOADED = (
    "mil_heatmaps.execution.forkserver_first",
    "mil_heatmaps.execution.slide_tasks",
    "mil_heatmaps.config.config",
    "mil_heatmaps.stages.load_model",
    "mil_heatmaps.features.read",
    "mil_heatmaps.features.write_coords",
    "mil_heatmaps.checkpoints.builder",
    "mil_heatmaps.models.abmil",
    "mil_heatmaps.files.safe_pickle",
    "mil_heatmaps.models.inference",
    "mil_heatmaps.scores.score_schema",
    "mil_heatmaps.scores.select",
    "mil_heatmaps.slides.roi",
    "mil_heatmaps.slides.tissue_files",
    "mil_heatmaps.visualization.heatmap_utils",
    "mil_heatmaps.visualization.overlay",
    "imagecodecs._jpeg8",
    "matplotlib.cm",
    "openslide",
    "tifffile",
    "mil_heatmaps.execution.forkserver_last",
)
"""Modules that a slide's stages import when they first need them, and the libraries these import in their turn."""


def fresh_processes() -> Any:
    """A way to start workers that inherits no threads, locks or CUDA state: fork from a clean server, or spawn."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    start_server()
    return multiprocessing.get_context("forkserver")


def start_server(also: Sequence[str] = ()) -> None:
    """Begin to start the server, unless it is there; it imports, besides `also`, while this process goes on.

    Called early, so that workers find it ready. Where there is no such server (Windows) this does nothing.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    from multiprocessing import forkserver

    multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED[0], *also, *PRELOADED[1:]])
    # The server looks for modules in the folder it is started in first, and somebody's own project there may have a
    # package of that name as well. Its workers go to the folder this process was started in.
    before = os.getcwd()
    os.chdir(Path(__file__).resolve().parents[2])
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(before)
