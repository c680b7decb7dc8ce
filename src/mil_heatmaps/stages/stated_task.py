"""The task that a checkpoint file states, where the config names none: regression, survival or multilabel."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.errors import CheckpointError

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

logger = logging.getLogger(__name__)

_WORDS = (b"regression", b"survival", b"multilabel")
_MOST_BYTES = 64 * 2**20


def with_stated_task(config: Config) -> Config:
    """Return the config with the task that its checkpoint states, if the config names none."""
    arguments, checkpoint = config.model_arguments, config.inputs.checkpoint
    if "task" in arguments.model_fields_set or checkpoint is None or arguments.model_class is not None:
        return config
    if config.data_arguments.scores_dir is not None or not _may_tell(checkpoint):
        return config
    from mil_heatmaps.checkpoints.load import load_checkpoint

    try:
        task = load_checkpoint(checkpoint).said.task
    except CheckpointError:  # reported when the model is loaded
        return config
    if task is None or task == arguments.task:
        return config
    logger.info("%s says of itself that it is a %s model", checkpoint, task)
    return config.model_copy(update={"model_arguments": arguments.model_copy(update={"task": task})})


def _may_tell(checkpoint: Path) -> bool:
    """Return whether a file may name such a task, from its text alone, so that other files do not load torch."""
    from mil_heatmaps.weights.checkpoint_paths import weights_file

    try:
        file = weights_file(checkpoint)
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
            texts = [archive.read(entry) for entry in entries if entry.file_size <= _MOST_BYTES]
    except (CheckpointError, OSError, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError):
        return False
    return any(b"task" in text and any(word in text for word in _WORDS) for text in texts)
