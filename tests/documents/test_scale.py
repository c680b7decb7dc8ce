"""docs/explanation/scale.md rests on a simulation and a fit; both give what can be worked out by hand."""

import math
from dataclasses import replace

import pytest

from benchmarks.growth_parts import PARTS, exponent, measure
from benchmarks.simulate_cluster import Cluster, simulate

EVEN = Cluster(nodes=2, workers=3, seconds=10, spread=0.0, coordinator_ms=0, operations=0)


def test_equal_slides_are_shared_out_evenly() -> None:
    found = simulate(EVEN, 60)
    assert found.hours == pytest.approx(100 / 3600)
    assert found.workers == pytest.approx(1)


def test_the_slowest_part_is_the_limit() -> None:
    coordinator = simulate(replace(EVEN, coordinator_ms=5000), 60)
    assert coordinator.hours * 3600 == pytest.approx(60 * 5 + 10)
    assert coordinator.coordinator == pytest.approx(300 / 310)
    files = simulate(replace(EVEN, operations=100, operations_a_second=10), 60)
    assert files.hours * 3600 == pytest.approx(60 * 10 + 10)
    assert files.file_system == pytest.approx(600 / 610)
    assert simulate(replace(EVEN, nodes=200, coordinator_ms=5000), 60).hours == pytest.approx(coordinator.hours)


def test_the_exponent_is_that_of_the_numbers() -> None:
    rows = [1000, 4000, 16000]
    assert exponent(rows, [3e-6 * n**1.5 for n in rows]) == pytest.approx(1.5)
    assert math.isnan(exponent(rows[:1], [1.0]))
    assert math.isnan(exponent(rows, [0.0, 0.0, 0.0]))


@pytest.mark.slow
@pytest.mark.parametrize("part", [name for name in PARTS if name not in ("records", "report")])
def test_every_part_runs_by_itself(part: str) -> None:
    seconds, megabytes = measure(part, 50)
    assert seconds > 0
    assert megabytes >= 0
