"""What a run's slides need besides their own files, checked before any work: the colormap, the model, the encoder."""

from __future__ import annotations

import logging
import queue
from collections.abc import Collection
from logging.handlers import QueueHandler

from src.pipeline.stages.base import RunSettings


def check_needs(settings: RunSettings, needed: Collection[str]) -> None:
    """Check what the stages `needed` by some slide take, and no more.

    Raises
    ------
    HeatmapError
        An unknown colormap; a model or an encoder that cannot be loaded or do not fit each other.
    """
    config, stages = settings.config, frozenset(needed)
    if "heatmap" in stages and config.heatmap_arguments.cmap is not None:
        from src.visualization.palette import colour_table

        colour_table(config.heatmap_arguments.cmap)
    if stages & {"attention", "fine"} and not settings.model.external:
        settings.model.load()
    if stages & {"features", "fine_features"}:
        _check_encoder(settings)


def check_and_tell(settings: RunSettings, needed: Collection[str]) -> list[logging.LogRecord]:
    """Do `check_needs` in a worker; return what was logged, for the process that keeps the log."""
    told: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler, root = QueueHandler(told), logging.getLogger("src")
    root.addHandler(handler)
    try:
        check_needs(settings, needed)
    finally:
        root.removeHandler(handler)
    return [told.get() for _ in range(told.qsize())]


def _check_encoder(settings: RunSettings) -> None:
    """Load the patch encoder, and the model it is meant for, so that a mismatch shows before any work."""
    from src.encoders.create import check_width
    from src.pipeline.encoding import load_encoder

    encoder = load_encoder(settings.config)
    if not settings.model.external:
        model = settings.model.load()
        if getattr(model, "in_dim", 0):
            check_width(encoder, model.in_dim, model.name or type(model).__name__)
