"""How many cores a slide's reading and encoding may use: all alone, a share beside others, what a cluster gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mil_heatmaps.config.cluster_section import ClusterArguments
from mil_heatmaps.config.config import load_config
from mil_heatmaps.encoders.extract import extract_features
from mil_heatmaps.execution import dask_cluster, executors, run_slides
from mil_heatmaps.execution.run_slides import Execution
from mil_heatmaps.execution.scheduler import CPU
from mil_heatmaps.execution.slide_tasks import SlideTask
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.progress.bars import Quiet
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
    monkeypatch.setattr(executors, "cores", lambda: 5)
    cohort.config["run_arguments"] = {"workers": workers}
    cohort.rows = cohort.rows[:1]
    assert Runner(load_config(cohort.write())).run().failed == {}
    assert seen == [5]


class NoPool(executors.SlideExecutor):
    def __init__(self, workers: int, *, threads: int, **options: Any) -> None:
        self.threads = threads


def started(cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch, devices: list[str]) -> dict[str, list[int]]:
    """Return the cores of each slide's parts by where they are done, with four workers on nine cores."""
    monkeypatch.setattr(executors, "cores", lambda: 9)
    monkeypatch.setattr(run_slides, "LocalPool", NoPool)
    monkeypatch.setattr(Execution, "_devices", lambda self: devices)
    cohort.config["run_arguments"] = {"workers": 4}
    runner = Runner(load_config(cohort.write()))
    run = Execution(runner.config, cohort.root, Quiet())
    run._executors = run._start(left=40)
    stages = ("segment", "coords", "features", "attention", "heatmap")
    task = SlideTask(runner.chosen_jobs()[0], runner.settings, stages)
    found: dict[str, list[int]] = {}
    for number in range(len(devices) or 1):
        for name, part in run._parts(task, number):
            found.setdefault(name, []).append(part.threads)
    return found


def test_workers_share_the_cores(cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(cohort, monkeypatch, []) == {CPU: [2]}


def test_the_workers_of_gpus_share_the_cores_among_themselves(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = started(cohort, monkeypatch, ["cuda:0", "cuda:1"])
    assert parts == {CPU: [2, 2, 2, 2], "cuda:0": [4], "cuda:1": [4]}


def test_a_gpu_is_fed_by_several_threads_in_any_case() -> None:
    from mil_heatmaps.stages.run_encoder import GPU_READERS, _threads

    encoder = convolutions()
    assert _threads(encoder, 1) == 1
    encoder.device = torch.device("cuda")
    assert [_threads(encoder, 1), _threads(encoder, 12)] == [GPU_READERS, 12]


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
    monkeypatch.setattr(executors, "cores", lambda: 9)
    assert dask_cluster.cores_of_worker(ClusterArguments(**arguments), 3) == expected


def test_workers_that_would_each_load_a_large_encoder_are_as_few_as_memory_allows(
    cohort: SmallCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pt"
    with weights.open("wb") as file:
        file.truncate(1400 << 20)  # a hole: takes no disk
    monkeypatch.setattr(run_slides, "cores", lambda: 64)
    monkeypatch.setattr(Execution, "_devices", lambda self: [])
    cohort.config["run_arguments"] = {"memory_limit": "8000 MiB"}

    def workers() -> int:
        config = load_config(cohort.write())
        return Execution(config, tmp_path, Quiet())._most_workers()

    assert workers() == 13
    cohort.config["encoder_arguments"]["weights"] = str(weights)
    assert workers() == 4
    runner = Runner(load_config(cohort.write()))
    job = runner.chosen_jobs()[0]
    drawing, encoding = (SlideTask(job, runner.settings, (name,)).memory_bytes for name in ("heatmap", "features"))
    assert encoding - drawing == 1400 << 20
