"""The run's one patch encoder: shared by the coarse and the fine features."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import ConfigError
from src.pipeline.records import fingerprint, sha256_file

if TYPE_CHECKING:
    from src.encoders.base import PatchEncoder
    from src.pipeline.config import Config
    from src.pipeline.stages.base import SlideWork
    from src.slides.patch_grid import PatchGrid
    from src.slides.patch_reading import PatchReading

logger = logging.getLogger(__name__)

_LOADED: dict[str, PatchEncoder] = {}
_DIGESTS: dict[tuple[str, int, int], str] = {}


def encoder_identity(config: Config) -> dict[str, Any]:
    """Return what features depend on of the encoder: its name, its weights, the size it sees. Loads nothing."""
    arguments, weights = config.encoder_arguments, config.inputs.encoder_weights
    return {
        "name": arguments.model_name,
        "target_img_size": arguments.target_img_size,
        "weights_sha256": None if weights is None else _digest(weights),
    }


def _digest(path: Path) -> str:
    """SHA-256 of a weights file, once a process."""
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _DIGESTS:
        _DIGESTS[key] = sha256_file(path) if path.is_file() else fingerprint({"folder": str(path)})
    return _DIGESTS[key]


def load_encoder(config: Config, device: str | None = None) -> PatchEncoder:
    """Return the encoder the config names; a process keeps the last one.

    Raises
    ------
    ConfigError
        When no encoder is named.
    ModelError, CheckpointError, MissingDependencyError
        When it is unknown, its weights are missing or do not fit, or a package is.
    """
    from src.encoders.create import create_encoder
    from src.pipeline.model_loading import choose_device

    arguments = config.encoder_arguments
    if arguments.model_name is None:
        raise ConfigError("encoder_arguments.model_name names no encoder; give the one the model was trained on")
    where = choose_device(device or config.model_arguments.device)
    key = fingerprint({**encoder_identity(config), "device": where})
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = create_encoder(
            arguments.model_name,
            weights=config.inputs.encoder_weights,
            device=where,
            target_img_size=arguments.target_img_size,
        )
    return _LOADED[key]


def encode(work: SlideWork, grid: PatchGrid, out: Path, reading: PatchReading) -> None:
    """Write the features of `grid`, read as `reading` says, to `out`, going on where a killed run stopped."""
    from src.features.extract import extract_features

    config = work.config
    encoder = load_encoder(config, work.settings.device)
    given = config.exp_arguments.model_fields_set
    done = extract_features(
        work.slide,
        grid,
        encoder,
        out,
        reading=reading,
        batch_size=config.exp_arguments.batch_size if "batch_size" in given else "auto",
        threads=_reading_threads(),
        progress=work.on_encoding,
    )
    rate = done.encoded / done.seconds if done.seconds > 0 else 0.0
    logger.info(
        "%s: encoded %d patches, %d from before, %.0f patches/s, batches of %d",
        work.job.slide_id, done.encoded, done.resumed, rate, done.batch_size,
    )  # fmt: skip


def _reading_threads() -> int | None:
    """One thread where every core has a process of its own, else the reader's choice."""
    return 1 if os.environ.get("OMP_NUM_THREADS") == "1" else None
