"""Encode a batch in parts, several at once, and take their features in order.

A core encodes a part of its own: torch's own threads would split one over the cores, where they wait for each other at
every layer and round differently with every number of them. So the features are the same bytes on any number of cores.
On a GPU two lanes keep it busy: one part runs while the features of the one before travel back.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

    from mil_heatmaps.encoders.base import PatchEncoder

Item = TypeVar("Item")
Result = TypeVar("Result")

GPU_LANES = 2


def lanes_for(encoder: "PatchEncoder", device: "torch.device", threads: int) -> int:
    """Return how many parts are encoded at once, 0 for an encoder that does not say it may run in several threads.

    Parameters
    ----------
    threads : int
        Cores this process may use.
    """
    if not getattr(encoder, "parallel", False):
        return 0
    return GPU_LANES if device.type == "cuda" else max(1, threads)


def share_out(size: int, lanes: int, device: "torch.device") -> tuple[int, int]:
    """Return how many patches a lane encodes at a time, and how many lanes then have one batch of `size` at work.

    What a kill loses is what is at work, so that is one batch. On the processor a lane's part is small, whatever the
    number of lanes: features may differ in their last bit with it, and must not with the number of cores.
    """
    from mil_heatmaps.encoders.batch_size import CPU_BATCH

    if lanes == 0:
        return size, 0
    part = max(1, size // lanes) if device.type == "cuda" else min(size, CPU_BATCH)
    return part, max(1, min(lanes, size // part))


def in_lanes(
    step: Callable[[Item], Iterable[Result]], items: Iterable[Item], lanes: int
) -> Generator[Result, None, None]:
    """Yield what `step` gives for each item, in the order of the items, `lanes` of them at work at a time.

    No more than `lanes` are begun ahead of what was yielded. With 0 lanes everything is done in the calling thread, by
    torch's own threads; else each lane has one.
    """
    if lanes == 0:
        for item in items:
            yield from step(item)
        return
    import torch

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(lanes, "encoding", torch.set_num_threads, (1,))
    waiting: deque[Future[list[Result]]] = deque()
    try:
        for item in items:
            if len(waiting) == lanes:
                yield from waiting.popleft().result()
            waiting.append(pool.submit(lambda item=item: list(step(item))))  # type: ignore[misc]
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
