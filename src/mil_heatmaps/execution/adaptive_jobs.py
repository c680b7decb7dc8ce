"""Have the number of batch jobs follow the work when a job has several workers."""

from __future__ import annotations

import math
from typing import Any


def adaptive_of(processes: int) -> type[Any]:
    """Return Dask's Adaptive class, changed to count jobs of `processes` workers each instead of workers.

    A job ends as a whole. Dask's own class would end a waiting or working job if one worker is not needed or gone.
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
    """Return the name of the worker's job, for jobs of several workers: the worker's name without ``-0`` and so on."""
    return str(worker.name).rpartition("-")[0]
