"""Encode a batch in parts, several at once, and return their features in order.

Each core encodes one part. torch's own threads would split a part over the cores, wait for each other at every layer,
and round differently with every number of threads. With one part per core, the features are the same bytes on any
number of cores. On a GPU two lanes keep it busy: one part runs while the features of the previous part travel back.
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
    """Return how many parts are encoded at once, 0 for an encoder that does not declare that it can use threads.

    Parameters
    ----------
    threads : int
        Number of cores this process may use.
    """
    if not getattr(encoder, "parallel", False):
        return 0
    return GPU_LANES if device.type == "cuda" else max(1, threads)


def share_out(size: int, lanes: int, device: "torch.device") -> tuple[int, int]:
    """Return how many patches a lane encodes at a time, and how many lanes then share one batch of `size`.

    A kill loses the patches in progress, so only one batch is in progress. On the CPU a lane's part is small for any
    number of lanes: the last bit of a feature may depend on the part's size, but not on the number of cores.
    """
    from mil_heatmaps.encoders.batch_size import CPU_BATCH

    if lanes == 0:
        return size, 0
    part = max(1, size // lanes) if device.type == "cuda" else min(size, CPU_BATCH)
    return part, max(1, min(lanes, size // part))


def in_lanes(
    step: Callable[[Item], Iterable[Result]], items: Iterable[Item], lanes: int
) -> Generator[Result, None, None]:
    """Yield the results of `step` for each item, in the order of the items, with `lanes` items in progress at a time.

    No more than `lanes` items are started ahead of the results yielded. With 0 lanes everything runs in the calling
    thread, with torch's own threads; otherwise each lane has one thread.
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
