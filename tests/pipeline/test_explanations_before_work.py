"""What scores that ask the model cost, and what is refused of them: told before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.cli.plan import print_plan
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.pipeline.runner import Runner, RunOptions
from tests.helpers.cohort import write_abmil
from tests.helpers.explanations import cohort_of, run, write_transformer


def test_costs_are_told_before_anything_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    six = list(EXPLANATIONS)
    cohort = cohort_of(tmp_path, explanation_arguments={"scores": six})
    assert print_plan(Runner(load_config(cohort.write()), RunOptions(slides=("s1",)))) == 0
    said = capsys.readouterr().out
    assert "leave_one_out: exact, about one forward pass\n" in said
    write_transformer(cohort.checkpoint)
    print_plan(Runner(load_config(cohort.write()), RunOptions(slides=("s1",))))
    said = capsys.readouterr().out
    assert "leave_one_out: 48 forward passes, about " in said
    assert "occlusion: 20 forward passes, about " in said
    assert "integrated_gradients: 32 to 992 forward and backward passes, about " in said
    cohort.config["explanation_arguments"] = {"scores": ["leave_one_out", "single"], "max_forwards": 40}
    assert print_plan(Runner(load_config(cohort.write()), RunOptions(slides=("s1",)))) == 1
    said = capsys.readouterr().out
    assert "would fail: leave_one_out needs 48 forward passes here, more than max_forwards 40: about " in said
    assert "single: 48 forward passes" in said
    assert not cohort.raw.exists()


def test_the_report_of_a_checkpoint_says_what_each_costs(tmp_path: Path) -> None:
    write_abmil(tmp_path / "a.pt")
    write_transformer(tmp_path / "t.pt")
    exact, asked = (describe_checkpoint(tmp_path / name) for name in ("a.pt", "t.pt"))
    assert "leave_one_out: what the prediction loses without the patch (perturbation_drop); cost: exact" in exact
    assert "(perturbation_keep); cost: 10,000 forward passes" in asked
    assert "cost: 512 forward passes" in asked
    write_abmil(tmp_path / "headless.pt", classes=0)
    assert "leave_one_out: the checkpoint has no classifier" in describe_checkpoint(tmp_path / "headless.pt")


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("explanation_arguments", {"scores": ["leave_on_out"]}, "explanation_arguments.scores: abmil has no score"),
        ("explanation_arguments", {"window": 4, "stride": 3}, "no multiple of stride 3; choose a stride of 1, 2, 4"),
        ("explanation_arguments", {"stride": 3}, "choose a window too"),
        ("explanation_arguments", {"masks": 511}, "masks must be even"),
        ("explanation_arguments", {"masks": 64}, "choose 128 or more, or fewer groups"),
        ("explanation_arguments", {"output": "risk"}, "'risk' cannot be explained of a classification model; choose"),
        ("explanation_arguments", {"targets": "c"}, "no target 'c'; choose from"),
        ("explanation_arguments", {"baseline": "none.npy"}, "names no such file"),
        ("explanation_arguments", {"steps": 64, "max_steps": 32}, "make it 64 or more"),
        ("heatmap_arguments", {"center": 1.5}, "attention has no sign"),
        ("heatmap_arguments", {"score": "single", "center": 1, "normalize": "percentile"}, "shares have no middle"),
        ("heatmap_arguments", {"score": "single", "center": 1, "compat": "clam"}, "which draws percentiles"),
        ("heatmap_arguments", {"score": "single", "center": 1, "vmin": 0, "vmax": 3}, "leave one of them out"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_any_work(
    tmp_path: Path, section: str, values: dict[str, Any], said: str
) -> None:
    cohort = cohort_of(tmp_path, **{section: values})
    with pytest.raises(ConfigError) as refused:
        Runner(load_config(cohort.write())).run()
    assert said in str(refused.value)


def test_a_baseline_of_another_width_is_refused_before_any_work(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.zeros(3))
    cohort = cohort_of(tmp_path / "c", explanation_arguments={"baseline": str(tmp_path / "b.npy")})
    with pytest.raises(ConfigError, match=r"shape \(3,\), the features are 16 wide"):
        Runner(load_config(cohort.write())).run()
    np.save(tmp_path / "b.npy", np.zeros(16))
    cohort.config["explanation_arguments"]["scores"] = ["integrated_gradients"]
    run(cohort)
    np.save(tmp_path / "b.npy", np.ones(16))
    assert "attention" in run(cohort).stage_seconds
