"""Number of patches that an encoder takes at a time: found by trial, halved when memory runs out."""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mil_heatmaps.devices import lost_gpu, raise_lost_gpu, says_out_of_memory
from mil_heatmaps.encoders.base import PatchEncoder
from mil_heatmaps.errors import ModelError

logger = logging.getLogger(__name__)

CPU_BATCH = 8
"""Larger batches do not fit the CPU's cache (32 took 1.5 times as long), and a killed run loses more patches."""
_MOST = 512
_PROBE = 8
_SHARE = 0.6
"""Share of the free GPU memory that is used: the allocator needs room, and others may use the GPU too."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on the GPU or on the host."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return says_out_of_memory(error)


def find_batch_size(encoder: PatchEncoder, example: npt.NDArray[Any], device: torch.device, lanes: int) -> int:
    """Return a batch size that fits.

    On CUDA a few patches are encoded to measure the memory they take; the size is a power of two. On the CPU it is
    `CPU_BATCH` per lane.

    Parameters
    ----------
    example : (1, ...)
        One prepared patch.
    lanes
        Number of threads that encode at once.
    """
    if device.type != "cuda":
        return CPU_BATCH * max(1, lanes)
    tensor = torch.from_numpy(np.repeat(example, _PROBE, 0)).to(device)
    try:
        encoder.encode(tensor[:1])  # kernels and workspaces that do not grow with the batch
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        encoder.encode(tensor)
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return 1
    each = max(1, (torch.cuda.max_memory_allocated(device) - before) // _PROBE + tensor[:1].nbytes)
    free = torch.cuda.mem_get_info(device)[0] * _SHARE
    size = 1
    while size < _MOST and 2 * size * each <= free:
        size *= 2
    logger.info("batch size %d: %.0f MB a patch, %.1f GB free", size, each / 1e6, free / _SHARE / 1e9)
    return size


class BatchEncoder:
    """Encodes batches of any length in parts that fit into memory; several threads may each encode a batch.

    Attributes
    ----------
    size : int
        Most patches at a time; halved whenever memory runs out.
    launching
        Held while a part is encoded: a lock on a GPU, nothing on the CPU.
    """

    def __init__(self, encoder: PatchEncoder, device: torch.device, size: int) -> None:
        self.size = size
        self._encoder = encoder
        self._device = device
        self._halving = threading.Lock()
        # On a GPU one thread at a time launches, so that only one batch takes memory. Its work goes on while the next
        # thread launches and the first waits for its features.
        on_gpu = device.type == "cuda"
        self.launching: AbstractContextManager[Any] = threading.Lock() if on_gpu else nullcontext()

    def encode(self, batch: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the features of a prepared batch in its order, part by part.

        Raises
        ------
        ModelError
            Memory runs out with a single patch, the GPU is lost, or the encoder returns a wrong shape or NaN.
        """
        done = 0
        while done < len(batch):
            tried = self.size
            part = torch.from_numpy(batch[done : done + tried])
            try:
                features = self._encode_part(part)
            except (RuntimeError, MemoryError) as error:
                if lost_gpu(error) is not None:
                    raise_lost_gpu(error, f"encoder {self._encoder.name} ran on {self._device}")
                if not is_out_of_memory(error):
                    raise
                self.halve(tried, error.with_traceback(None))  # its frames hold the tensors that filled the memory
                continue
            yield features
            done += len(part)

    def _encode_part(self, part: torch.Tensor) -> npt.NDArray[np.float32]:
        name, width = self._encoder.name, self._encoder.width
        with self.launching:
            moved = part.to(self._device, non_blocking=True)
            encoded = self._encoder.encode(moved)
        features = self._to_numpy(encoded)
        if features.shape != (len(part), width):
            raise ModelError(
                f"encoder {name} returned {features.shape} for {len(part)} patches, expected ({len(part)}, {width})"
            )
        if not np.isfinite(features).all() and getattr(self._encoder, "mixed_precision", False):
            # Half precision overflows for occasional patches (pure black, for example); full precision does not.
            exact: Any = self._encoder
            with self.launching:
                encoded = exact.encode(moved, exact=True)
            features = self._to_numpy(encoded)
        if not np.isfinite(features).all():
            raise ModelError(f"encoder {name} returned NaN or infinite features")
        return features

    def halve(self, tried: int, error: BaseException) -> None:
        """Halve the size that ran out of memory, unless another thread has already done so."""
        if tried == 1:
            raise ModelError(
                f"out of memory on {self._device} with a single patch for encoder {self._encoder.name}: "
                "use a device with more memory, a smaller target_img_size, or free memory others hold"
            ) from error
        with self._halving:
            if self.size >= tried:
                self.size = tried // 2
                logger.warning("out of memory on %s: batch size halved to %d", self._device, self.size)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @staticmethod
    def _to_numpy(features: Any) -> npt.NDArray[np.float32]:
        if isinstance(features, torch.Tensor):
            features = features.detach().float().cpu().numpy()
        return np.asarray(features, np.float32)
