"""How the number of a batch system's jobs follows the work, where a job carries several workers."""

from __future__ import annotations

import math
from typing import Any


def adaptive_of(processes: int) -> type[Any]:
    """Return Dask's Adaptive, counting jobs of several workers where Dask counts workers.

    A job goes as a whole. Dask would end one that waits or works for a single worker that is not needed or is gone.
    """
    from distributed.deploy.adaptive import Adaptive

    class AdaptiveJobs(Adaptive):  # type: ignore[misc]
        @property
        def plan(self) -> set[str]:
            return set(self.cluster.worker_spec)

        @property
        def requested(self) -> set[str]:
            return set(self.cluster.workers) & self.plan

        @property
        def observed(self) -> set[str]:
            return {str(name).rpartition("-")[0] for name in self.cluster.observed}

        async def target(self) -> int:
            workers: int = await super().target()
            return math.ceil(workers / processes)

        async def workers_to_close(self, target: int) -> list[str]:
            workers = await super().workers_to_close(target * processes)
            return list({str(name).rpartition("-")[0] for name in workers})

        async def scale_up(self, n: int) -> None:
            self.cluster.scale(jobs=n)

        async def scale_down(self, workers: list[str]) -> None:
            await super().scale_down([f"{job}-{number}" for job in workers for number in range(processes)])

    return AdaptiveJobs


def job_of_worker(worker: Any) -> str:
    """Return the name of the job that one of its several workers came with: ``-0`` and so on follows it."""
    return str(worker.name).rpartition("-")[0]
