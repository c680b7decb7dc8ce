"""How long a cohort takes on a Dask cluster, simulated from stated times; nothing is measured here.

    python benchmarks/simulate_cluster.py                                    100,000 and 1,000,000 slides on 64 nodes
    python benchmarks/simulate_cluster.py --nodes 8 --seconds 30 --ops 2000

Workers take the next slide when they are free. Handing a slide out and taking its record back costs the coordinator
time, one slide after the other; a slide's files cost operations of the shared file system, which does so many a second
for all.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Cluster:
    """The assumed numbers; none is measured.

    Attributes
    ----------
    seconds, spread : mean time of a slide on one worker, and sigma of its lognormal distribution
    coordinator_ms : time of the coordinator for each slide
    operations, operations_a_second : metadata operations per slide, and of the shared file system per second
    """

    nodes: int = 64
    workers: int = 4
    seconds: float = 20.0
    spread: float = 0.6
    coordinator_ms: float = 4.0
    operations: int = 120
    operations_a_second: float = 20_000.0


@dataclass(frozen=True)
class Outcome:
    """Total hours, and how busy each part was in that time, 0 to 1."""

    hours: float
    workers: float
    coordinator: float
    file_system: float


def simulate(cluster: Cluster, slides: int, seed: int = 0) -> Outcome:
    """Return the outcome of a run of `slides` slides, with each slide's time drawn from the distribution."""
    rng = random.Random(seed)
    mean = cluster.seconds
    location = 0.0 if mean <= 0 else math.log(mean) - cluster.spread**2 / 2
    free = [0.0] * (cluster.nodes * cluster.workers)
    coordinator = files = busy = end = 0.0
    hand_out, touch = cluster.coordinator_ms / 1000, cluster.operations / cluster.operations_a_second
    for _ in range(slides):
        ready = heapq.heappop(free)
        coordinator = max(coordinator, ready) + hand_out
        files = max(files, coordinator) + touch
        took = rng.lognormvariate(location, cluster.spread) if mean > 0 else 0.0
        done = max(coordinator, files) + took
        busy += done - coordinator
        end = max(end, done)
        heapq.heappush(free, done)
    total = max(end, 1e-9)
    return Outcome(
        total / 3600,
        busy / (total * len(free)),
        slides * hand_out / total,
        slides * touch / total,
    )


def main() -> None:
    stated = Cluster()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", nargs="+", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--nodes", type=int, default=stated.nodes)
    parser.add_argument("--workers", type=int, default=stated.workers, help="a node")
    parser.add_argument("--seconds", type=float, default=stated.seconds, help="a slide on one worker")
    parser.add_argument("--spread", type=float, default=stated.spread)
    parser.add_argument("--coordinator_ms", type=float, default=stated.coordinator_ms, help="a slide")
    parser.add_argument("--operations", type=int, default=stated.operations, help="of metadata a slide")
    parser.add_argument("--ops", type=float, default=stated.operations_a_second, help="of the file system, a second")
    options = parser.parse_args()
    cluster = Cluster(options.nodes, options.workers, options.seconds, options.spread, options.coordinator_ms,
                      options.operations, options.ops)  # fmt: skip
    print(cluster)
    print(f"{'slides':>10} {'hours':>8} {'workers':>8} {'coordinator':>12} {'file system':>12}")
    for slides in options.slides:
        found = simulate(cluster, slides)
        shares = f"{found.workers:8.0%} {found.coordinator:12.0%} {found.file_system:12.0%}"
        print(f"{slides:>10,} {found.hours:8.2f} {shares}")


if __name__ == "__main__":
    main()
