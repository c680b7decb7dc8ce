"""A GPU that is lost in the middle of a slide: said, nothing lost, and the other slides go on in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.devices import lost_gpu
from mil_heatmaps.errors import LostGpuError, ModelError
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from tests.execution.test_executors import make_naughty
from tests.helpers.cohort import SmallCohort, make_small_cohort
from tests.helpers.naughty_models import GpuLoser

SAID = (
    "the GPU failed while the stage {0} ran (CUDA error: unspecified launch failure Compile with): what was done is "
    "kept; run again, on the processor with model_arguments.device: cpu where the GPU stays away"
)


def run(cohort: SmallCohort, **options: Any) -> RunSummary:
    return Runner(load_config(cohort.write()), RunOptions(**options)).run()


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallCohort:
    monkeypatch.setattr(GpuLoser, "lost_in", set())
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1}})
    make_naughty(cohort, "GpuLoser")
    cohort.config["heatmap_arguments"]["figure"] = False
    return cohort


def loses(cohort: SmallCohort, **how: Any) -> None:
    cohort.config["model_arguments"]["init_args"] = how


@pytest.mark.slow
@pytest.mark.parametrize("isolate", ["auto", "always"])
def test_a_slide_that_loses_the_gpu_fails_well_and_the_others_go_on(cohort: SmallCohort, isolate: str) -> None:
    """With `auto` this process loses it and another one goes on; with `always` a worker that loses it is replaced."""
    cohort.config["run_arguments"]["isolate"] = isolate
    summary = run(cohort)
    assert summary.failed == {"s2": "attention: " + SAID.format("attention")}
    assert sorted(summary.processed) == ["s1", "s3"]
    assert "unspecified launch failure" in cohort.record("s2").with_name("error.log").read_text()


@pytest.mark.slow
def test_a_worker_that_lost_its_gpu_is_replaced_and_its_slide_tried_again(cohort: SmallCohort) -> None:
    cohort.config["run_arguments"]["isolate"] = "always"
    loses(cohort, sound=str(cohort.root / "sound"))
    summary = run(cohort)
    assert (sorted(summary.processed), summary.failed) == (["s1", "s2", "s3"], {})


@pytest.mark.parametrize("score", ["leave_one_out", "integrated_gradients"])
def test_a_gpu_that_is_lost_while_a_score_is_explained_is_no_fault_of_the_model(
    cohort: SmallCohort, score: str
) -> None:
    cohort.rows = cohort.rows[1:2]
    cohort.config["explanation_arguments"] = {"scores": [score]}
    loses(cohort, forwards=1)
    assert run(cohort).failed == {"s2": "attention: " + SAID.format("attention")}


def test_a_gpu_that_is_lost_while_faithfulness_is_measured_loses_no_map(cohort: SmallCohort) -> None:
    cohort.rows = cohort.rows[1:2]
    cohort.config["faithfulness_arguments"] = {"level": "quick"}
    sound = cohort.root / "sound"
    loses(cohort, sound=str(sound))
    sound.touch()
    assert run(cohort, stages=("segment", "coords", "attention")).failed == {}
    before = cohort.outputs()
    sound.unlink()
    assert run(cohort).failed == {"s2": "faithfulness: " + SAID.format("faithfulness")}
    assert before.items() <= cohort.outputs().items()
    GpuLoser.lost_in.clear()  # as in another process
    assert run(cohort).processed == ["s2"]


def test_a_lost_gpu_is_told_from_memory_that_ran_out_and_from_other_errors() -> None:
    gone = RuntimeError("CUDA error: an illegal memory access was encountered")
    wrapped = ModelError("the model gave no gradients")
    wrapped.__cause__ = gone
    assert lost_gpu(gone) is gone
    assert lost_gpu(wrapped) is gone
    assert lost_gpu(LostGpuError("said before")) is not None
    for other in (RuntimeError("CUDA error: out of memory"), ValueError("CUDA error: a name"), RuntimeError("shape")):
        assert lost_gpu(other) is None
