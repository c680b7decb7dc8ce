"""Build the model a config names, on the device it names."""

from __future__ import annotations

import ctypes
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.models.base import MILModel

logger = logging.getLogger(__name__)


def load_model(config: Config, checkpoint: Path | None, device: str) -> MILModel:
    """Return the model in eval mode on `device` (``auto``, ``cpu``, ``cuda``, ``cuda:N``).

    By `model_class`, `model_name` (MIL-Lab), `model_type` (CLAM), or what the checkpoint itself tells.

    Raises
    ------
    ConfigError, CheckpointError, ModelError
        When it cannot be built, does not fit its checkpoint, or the device is not there.
    """
    arguments = config.model_arguments
    given = arguments.model_fields_set
    n_classes = _outputs(config, checkpoint)
    where = choose_device(device)
    if arguments.model_class is not None:
        from mil_heatmaps.models.custom import load_custom_model

        model = load_custom_model(arguments.model_class, arguments.init_args, checkpoint)
    elif arguments.model_name is not None:
        from mil_heatmaps.checkpoints.builder import create_model

        model = create_model(
            arguments.model_name, num_classes=n_classes, checkpoint_path=checkpoint, **arguments.overrides
        )
    elif arguments.model_type is not None:
        from mil_heatmaps.checkpoints.builder import create_clam

        model = create_clam(
            arguments.model_type,
            arguments.model_size if "model_size" in given else None,
            n_classes,
            arguments.embed_dim if "embed_dim" in given else None,
            checkpoint,
        )
    else:
        from mil_heatmaps.checkpoints.load import model_from_checkpoint

        assert checkpoint is not None  # the config's own check
        model = model_from_checkpoint(checkpoint, None, n_classes, **arguments.overrides)
    return model.to(where).eval()


def _outputs(config: Config, checkpoint: Path | None) -> int | None:
    """Return how many outputs the model should have: two classes may be told apart by one logit."""
    n_classes, arguments = config.exp_arguments.n_classes, config.model_arguments
    if n_classes != 2 or checkpoint is None or arguments.model_class or arguments.task != "classification":
        return n_classes
    from mil_heatmaps.checkpoints.load import identify, load_checkpoint

    try:
        return 1 if identify(load_checkpoint(checkpoint)).num_classes == 1 else n_classes
    except CheckpointError:  # said, with more about it, when the model is built
        return n_classes


def choose_device(wanted: str) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ConfigError when it is not there."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda"):
        count = torch.cuda.device_count()
        number = int(wanted.partition(":")[2] or 0)
        if number >= count:
            there = f"there are {count} CUDA devices" if count else "no CUDA device is available"
            raise ConfigError(f"model_arguments.device is {wanted!r} but {there}; use auto or cpu")
    return wanted


def cuda_devices(devices: str | list[str], model_device: str) -> list[str]:
    """Return the GPUs that `run_arguments.devices` and `model_arguments.device` name, empty for the processor."""
    wanted = devices if devices != "auto" else model_device
    if wanted == "cpu" or (wanted == "auto" and surely_without_gpu()):
        return []
    import torch

    count = torch.cuda.device_count()
    if wanted == "auto":
        return [f"cuda:{number}" for number in range(count)]
    names = [choose_device(name) for name in ([wanted] if isinstance(wanted, str) else wanted)]
    return ["cuda:0" if name == "cuda" else name for name in names if name != "cpu"]


def surely_without_gpu() -> bool:
    """Say whether the drivers of GPUs are missing, which shows without importing torch: that takes a second or two.

    False where torch is there to be asked.
    """
    if sys.platform != "linux" or "torch" in sys.modules or Path("/dev/kfd").exists():  # kfd: AMD's
        return False
    try:
        ctypes.CDLL("libcuda.so.1")  # what torch itself reaches a GPU of NVIDIA's through
    except OSError:
        return True
    return False
