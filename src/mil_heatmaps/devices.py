"""The device for models and encoders. torch is imported only when it is needed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.errors import ModelError

if TYPE_CHECKING:
    import torch


def choose_device(wanted: str | torch.device) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or another that torch knows.

    Raises
    ------
    ModelError
        There is no such device; the message lists the available ones.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ModelError(f"no device {str(wanted)!r}: choose from auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        there = f"there are {count} CUDA devices" if count else f"torch {torch.__version__} sees no CUDA device"
        raise ModelError(f"no device {str(wanted)!r}: {there}; use auto or cpu")
    return str(wanted)


def cuda_devices(devices: str | list[str], model_device: str) -> list[str]:
    """Return the GPUs named in `run_arguments.devices` and `model_arguments.device`, empty for the CPU."""
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
    """Say whether GPU drivers are missing, without importing torch, which takes a second or two.

    False if torch is already imported, which can answer itself.
    """
    if sys.platform != "linux" or "torch" in sys.modules or Path("/dev/kfd").exists():  # kfd: AMD's
        return False
    try:
        ctypes.CDLL("libcuda.so.1")  # torch reaches NVIDIA GPUs through this library
    except OSError:
        return True
    return False
