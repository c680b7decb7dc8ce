"""The device for models and encoders. torch is imported only when it is needed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mil_heatmaps.errors import LostGpuError, ModelError
from mil_heatmaps.words import said_by

if TYPE_CHECKING:
    import torch

_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cudnn_status_alloc", "cublas_status_alloc")
_LOST = ("cuda error", "hip error", "cudnn_status_execution_failed", "cublas_status_execution_failed", "nccl error")
"""What torch says when memory runs out, and when a GPU is lost or in error."""


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


def says_out_of_memory(error: BaseException) -> bool:
    """Say whether the words of an error mean that memory ran out, on the GPU or on the host."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _MEMORY)


def lost_gpu(error: BaseException | None) -> BaseException | None:
    """Return the error, or one that it came from, which means that a GPU is lost or in error; None if none does.

    Nothing on the GPU can be used any more by the process that met it.
    """
    while error is not None:
        text = str(error).lower()
        says_lost = isinstance(error, RuntimeError) and any(words in text for words in _LOST)
        if isinstance(error, LostGpuError) or (says_lost and not says_out_of_memory(error)):
            return error
        error = error.__cause__
    return None


def raise_lost_gpu(error: BaseException, at_work: str) -> NoReturn:
    """Raise a LostGpuError that says what to do; `at_work` is what ran on the GPU."""
    raise LostGpuError(
        f"the GPU failed while {at_work} ({said_by(error)}): what was done is kept; run again, on the processor with "
        "model_arguments.device: cpu where the GPU stays away"
    ) from error
