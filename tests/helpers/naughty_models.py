"""Models that misbehave on one slide, for tests of the executors. The slide is recognised by its first feature."""

import errno
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

MARK = 666.0
"""Models misbehave on a slide whose features begin with this number."""


class _Marked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 16))

    def forward(self, h: Tensor) -> Tensor:
        if float(h.reshape(-1)[0]) == MARK:
            self.misbehave()
        return (h.reshape(-1, 16) @ self.weight.T).mean(dim=0, keepdim=True)

    def patch_scores(self, features: Tensor) -> Tensor:
        return features.reshape(-1, 16).sum(dim=1)

    def misbehave(self) -> None:
        """Misbehave as the subclass does."""


class Killer(_Marked):
    """Dies like a process that runs out of memory."""

    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Sleeper(_Marked):
    """Hangs."""

    def misbehave(self) -> None:
        time.sleep(600)


class KillerOnce(_Marked):
    """Kills the first worker that tries, like an out-of-memory kill on a crowded machine."""

    def misbehave(self) -> None:
        marker = Path(os.environ["NAUGHTY_MARKER"])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class GpuLoser(_Marked):
    """Loses its GPU on the slide, as torch says it; in the process that lost it nothing works from then on.

    `forwards` of the slide still work, and all do while the file `sound` is there.
    """

    lost_in: ClassVar[set[int]] = set()
    """Processes without a GPU."""

    def __init__(self, sound: str = "", forwards: int = 0) -> None:
        super().__init__()
        self.sound, self.left = sound, forwards
        self.begun = False

    def forward(self, h: Tensor) -> Tensor:
        if not (self.sound and Path(self.sound).exists()):
            self.begun |= float(h.reshape(-1)[0]) == MARK
            if self.begun and self.left <= 0:
                self.lost_in.add(os.getpid())
            self.left -= self.begun
        if os.getpid() in self.lost_in:
            if self.sound:
                Path(self.sound).touch()  # the next process finds it in order
            kind = getattr(torch, "AcceleratorError", RuntimeError)
            raise kind("CUDA error: unspecified launch failure\nCompile with")
        return super().forward(h)


class DiskFiller(_Marked):
    """From this slide on, its process can write nothing: the disk of this machine is full."""

    def misbehave(self) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        os.fsync = full  # type: ignore[assignment]
