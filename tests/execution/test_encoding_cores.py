"""How many cores a slide's reading and encoding may use: all alone, a share beside others, what a cluster gave."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from mil_heatmaps import machine
from mil_heatmaps.config.cluster_section import ClusterArguments
from mil_heatmaps.config.config import load_config
from mil_heatmaps.encoders.extract import extract_features
from mil_heatmaps.execution import dask_cluster, run_slides
from mil_heatmaps.execution.executors import SlideExecutor
from mil_heatmaps.execution.interrupts import StopRequest
from mil_heatmaps.execution.run_slides import Execution
from mil_heatmaps.execution.slide_tasks import SlideTask
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.progress.bars import Progress
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages.run_encoder import GPU_READERS, reading_threads
from mil_heatmaps.stages.run_slide import SlideRun
from tests.helpers.cohort import SmallCohort, make_encoded
from tests.helpers.stub_encoder import convolutions


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_encoded(tmp_path, "tests.helpers.stub_encoder:create", calc_heatmap=False)


@pytest.mark.parametrize("workers", [1, "auto"])
def test_a_slide_done_alone_is_read_and_encoded_with_every_core(
    cohort: SmallCohort, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def noting(*arguments: Any, **options: Any) -> Any:
        seen.append(options["threads"])
        return extract_features(*arguments, **options)

    monkeypatch.setattr("mil_heatmaps.encoders.extract.extract_features", noting)
    monkeypatch.setattr(machine, "cores", lambda: 5)
    cohort.config["run_arguments"] = {"workers": workers}
    cohort.rows = cohort.rows[:1]
    assert Runner(load_config(cohort.write())).run().failed == {}
    assert seen == [5]


class NoPool(SlideExecutor):
    """Takes tasks and does nothing; keeps for how many workers it was made, and each task."""

    made: ClassVar[list[int]] = []
    tasks: ClassVar[list[SlideTask]] = []

    def __init__(self, workers: int, *, threads: int, **options: Any) -> None:
        self.threads = threads
        self.made.append(workers)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        (task,) = args
        self.tasks.append(task)
        future: Future[SlideRun] = Future()
        future.set_result(SlideRun(SlideRecord(task.job.paths.record, task.job.slide_id), task.stages, 0.0))
        return future


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> type[NoPool]:
    monkeypatch.setattr(run_slides, "LocalPool", NoPool)
    monkeypatch.setattr(NoPool, "made", [])
    monkeypatch.setattr(NoPool, "tasks", [])
    monkeypatch.setattr("mil_heatmaps.devices.cuda_devices", lambda devices, device: [])
    return NoPool


def run_many(cohort: SmallCohort) -> None:
    """Run a slide a hundred times over, as if it was a hundred slides."""
    runner = Runner(load_config(cohort.write()))
    names = ("segment", "coords", "features", "attention", "heatmap")
    stages = [stage for stage in runner.stages if stage.name in names]
    jobs = runner.chosen_jobs()[:1] * 100
    with Execution(runner.config, cohort.root, Progress()) as execution, StopRequest(cohort.root / "stop") as stop:
        assert len(list(execution.run(jobs, runner.settings, stages, frozenset(), stop))) == 100


def test_workers_share_the_cores(
    cohort: SmallCohort, pool: type[NoPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 9)
    cohort.config["run_arguments"] = {"workers": 4}
    run_many(cohort)
    assert pool.made == [4]
    assert {(task.threads, task.device, len(task.stages)) for task in pool.tasks} == {(2, None, 5)}


def test_the_workers_of_gpus_share_the_cores_among_themselves(
    cohort: SmallCohort, pool: type[NoPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 9)
    monkeypatch.setattr(
        "mil_heatmaps.devices.cuda_devices", lambda devices, device: ["cuda:0", "cuda:1"]
    )
    cohort.config["run_arguments"] = {"workers": 4}
    run_many(cohort)
    assert pool.made == [4, 1, 1]
    parts = Counter((task.device, task.threads, task.keep_running, task.stages) for task in pool.tasks)
    assert parts == {
        (None, 2, True, ("segment", "coords")): 100,
        ("cuda:0", 4, True, ("features", "attention")): 50,
        ("cuda:1", 4, True, ("features", "attention")): 50,
        (None, 2, False, ("heatmap",)): 100,
    }


def test_a_gpu_is_fed_by_several_threads_in_any_case() -> None:
    encoder = convolutions()
    assert reading_threads(encoder, 1) == 1
    encoder.device = torch.device("cuda")
    assert [reading_threads(encoder, 1), reading_threads(encoder, 12)] == [GPU_READERS, 12]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kind": "local"}, 3),
        ({"kind": "local", "maximum": 9}, 1),
        ({"kind": "slurm", "cores": 8, "processes": 2}, 4),
        ({"kind": "slurm", "cores": 8}, 1),
        ({"kind": "address", "address": "tcp://x:1"}, 1),
    ],
)
def test_workers_of_a_cluster_use_the_cores_they_were_given(
    arguments: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 9)
    assert dask_cluster.cores_of_worker(ClusterArguments(**arguments), 3) == expected


def test_workers_that_would_each_load_a_large_encoder_are_as_few_as_memory_allows(
    cohort: SmallCohort, pool: type[NoPool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pt"
    with weights.open("wb") as file:
        file.truncate(1400 << 20)  # a hole: takes no disk
    monkeypatch.setattr(machine, "cores", lambda: 64)
    cohort.config["run_arguments"] = {"memory_limit": "8000 MiB"}
    run_many(cohort)
    cohort.config["encoder_arguments"]["weights"] = str(weights)
    run_many(cohort)
    assert pool.made == [13, 4]
    runner = Runner(load_config(cohort.write()))
    job = runner.chosen_jobs()[0]
    drawing, encoding = (SlideTask(job, runner.settings, (name,)).memory_bytes for name in ("heatmap", "features"))
    assert encoding - drawing == 1400 << 20
