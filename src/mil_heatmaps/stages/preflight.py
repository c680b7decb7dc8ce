"""Check what all slides of a run need before any work: the colormap, the model, the encoder."""

from __future__ import annotations

import importlib.util
import logging
import queue
from collections.abc import Collection
from dataclasses import dataclass
from logging.handlers import QueueHandler
from pathlib import Path

from mil_heatmaps.errors import ConfigError, HeatmapError, ModelError, WorkerError
from mil_heatmaps.stages.run_settings import RunSettings
from mil_heatmaps.words import install_line, lacking, reason_of

logger = logging.getLogger(__name__)


def check_needs(settings: RunSettings, needed: Collection[str], *, run_own_code: bool = True) -> None:
    """Check the colormap, model and encoder, each only if one of the stages `needed` uses it.

    Without `run_own_code` a model of the user's own (`model_class`, `slide_encoder`) is not imported, as its code
    could do anything.

    Raises
    ------
    HeatmapError
        An unknown colormap; a model or an encoder that cannot be loaded or do not fit each other.
    """
    config, stages = settings.config, frozenset(needed)
    if stages & {"heatmap", "exports", "video", "report"}:
        from mil_heatmaps.visualization.palette import AUTO, colour_table

        for cmap in (config.heatmap_arguments.cmap, config.heatmap_arguments.cmap_signed):
            if cmap not in (None, AUTO):
                colour_table(cmap)
    named = config.model_arguments.own_code
    own = named is not None and not run_own_code
    if named is not None and own:
        _check_own_code_is_there(named, "model_class" if config.model_arguments.model_class else "slide_encoder")
    if stages & {"attention", "fine"} and not settings.model.external:
        if settings.model.has_model and not own:
            settings.model.load(settings.device)
        own_text = ":" in (config.data_arguments.concepts.model or "") if config.data_arguments.concepts else False
        if (run_own_code or not own_text) and settings.model.concepts is not None:
            settings.model.concepts.check_drawn(config.heatmap_arguments.score)
    if "video" in stages:
        from mil_heatmaps.film.encode import check_installed

        check_installed(config.video_arguments.settings(config.heatmap_arguments.alpha))
    if "report" in stages and importlib.util.find_spec("jinja2") is None:
        raise lacking("report_arguments", "jinja2", install_line("report"))
    if "faithfulness" in stages and settings.model.has_model:
        _check_maps(settings)
    if stages & {"features", "fine_features"}:
        _check_encoder(settings, with_model=not own)


def _check_maps(settings: RunSettings) -> None:
    """Raise a ConfigError for a map that the model does not offer, unless the user provides scores."""
    wanted, model = settings.config.faithfulness_arguments.scores, settings.model.load(settings.device)
    if wanted and not settings.model.external:
        try:
            model.check_scores(wanted)
        except ModelError as error:
            raise ConfigError(f"faithfulness_arguments.scores: {error}") from error


def _check_own_code_is_there(named: str, key: str) -> None:
    """Raise a ModelError when `key` of the config names no file; nothing of it is run."""
    from mil_heatmaps.weights.own_code import module_file

    where, _, name = named.rpartition(":")
    if not where or not name:
        raise ModelError(f"{key} {named!r} must be package.module:NAME or path/to/file.py:NAME")
    path = Path(where) if where.endswith(".py") else module_file(where)
    if path is None or not path.is_file():
        raise ModelError(f"{key} {named!r}: there is no module {where}")


@dataclass(frozen=True)
class Told:
    """The result of a check in another process.

    Attributes
    ----------
    records : what the check logged
    error : why it failed, of a class that every process knows; None when it passed
    """

    records: tuple[logging.LogRecord, ...]
    error: HeatmapError | None


def check_and_tell(settings: RunSettings, needed: Collection[str], level: int) -> Told:
    """Run `check_needs` in a worker; return its log lines of `level` and above, and its error, to the main process."""
    told: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler, root = QueueHandler(told), logging.getLogger("mil_heatmaps")
    before = root.level
    root.setLevel(level)
    root.addHandler(handler)
    error = None
    try:
        check_needs(settings, needed)
    except Exception as problem:  # its class may not be picklable, such as one of the user's own
        error = _known(problem)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    return Told(tuple(told.get() for _ in range(told.qsize())), error)


def _known(problem: Exception) -> HeatmapError:
    """Return an error of one of this program's classes with the same message."""
    for kind in type(problem).__mro__:
        if issubclass(kind, HeatmapError) and kind.__module__ == HeatmapError.__module__:
            return kind(str(problem))
    logger.error("the check of model and encoder failed", exc_info=problem)
    return WorkerError(f"the check of model and encoder failed: {reason_of(problem)}; run.log has the traceback")


def _check_encoder(settings: RunSettings, *, with_model: bool) -> None:
    """Load the patch encoder, and the model it is meant for, so that a mismatch shows before any work."""
    from mil_heatmaps.encoders.create import check_width
    from mil_heatmaps.stages.run_encoder import load_encoder

    encoder = load_encoder(settings.config)
    if with_model and settings.model.has_model and not settings.model.external:
        model = settings.model.load(settings.device)
        if getattr(model, "in_dim", 0):
            check_width(encoder, model.in_dim, model.name or type(model).__name__)
