"""Scores that ask the model itself, through a run: files, resuming, targets, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mil_heatmaps.cli.generate_heatmaps import main as generate
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.models.transformer import Transformer
from mil_heatmaps.pipeline.compare_runs import compare_runs
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.stages import explanations
from mil_heatmaps.stages.all_stages import choose_stages
from mil_heatmaps.stages.run_slide import run_slide
from mil_heatmaps.viewer.catalog import NamedFile
from mil_heatmaps.viewer.layers import layers_of
from mil_heatmaps.visualization.visualizer import MILLabVisualizer
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort, write_abmil
from tests.helpers.explanations import SCORED, cohort_of, run, write_transformer


def scores_of(cohort: SmallCohort, slide: str = "s1") -> ScoreFile:
    return read_scores(next(cohort.raw.glob(f"*/{slide}/{slide}_blockmap.h5")))


def test_drawn_and_kept_explanations_are_in_the_file_with_what_they_are(tmp_path: Path) -> None:
    beside = ["integrated_gradients", "mask_regression", "occlusion", "attention"]
    cohort = cohort_of(
        tmp_path, heatmap_arguments={"score": "leave_one_out", "figure": True, "classes": "all"},
        explanation_arguments={"scores": beside}, export_arguments={"csv": True},
    )  # fmt: skip
    run(cohort, stages=())
    found = scores_of(cohort)
    assert next(iter(found.all_scores)) == "leave_one_out"
    assert set(found.all_scores) == {"leave_one_out", "class_contribution", *beside}
    for name in {"leave_one_out", *beside} - {"attention"}:
        score = found.all_scores[name]
        assert (score.kind, score.names) == (name, ("a", "b"))
        assert score.explained is not None
        assert score.explained.output == "log_odds"
        # of two classes the log-odds of one are minus those of the other
        np.testing.assert_allclose(score.values[:, 0], -score.values[:, 1], atol=1e-6)
    logits = found.prediction.logits.astype(float)  # type: ignore[union-attr]
    assert found.scores.explained.full == pytest.approx((logits[0] - logits[1], logits[1] - logits[0]), abs=1e-5)  # type: ignore[union-attr]
    with h5py.File(next(cohort.raw.glob("*/s1/s1_blockmap.h5"))) as file:
        attributes = file["extra/integrated_gradients"].attrs
        assert json.loads(attributes["settings"]) == {"baseline": "zero", "max_steps": 512, "steps": 32}
        assert json.loads(attributes["checks"])["complete"] == [True, True]
        assert json.loads(file["extra/occlusion"].attrs["checks"]) == {"stride": 2, "window": 4, "windows": 20}
    pictures = {path.name for path in cohort.production.rglob("*_figure.png")}
    assert pictures == {"s1_s_leave_one_out_c_a_figure.png", "s1_s_leave_one_out_c_b_figure.png"}
    table = next(cohort.production.rglob("s1_scores.csv")).read_text().splitlines()[0]
    assert all(name in table for name in beside)
    layers = [layer.describe() for layer in layers_of(found, NamedFile(Path("x"), "x"), 0, "")]
    assert {layer["score"] for layer in layers} == set(found.all_scores)
    assert not next(cohort.raw.glob("*/s1")).joinpath(".partial_scores").exists()


def test_a_score_is_made_again_only_if_what_it_depends_on_changes(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, explanation_arguments={"scores": ["leave_one_out"]})
    run(cohort)
    assert "attention" not in run(cohort).stage_seconds
    cohort.config["explanation_arguments"] |= {"masks": 256, "steps": 64, "window": 2, "seed": 3}
    assert "attention" not in run(cohort).stage_seconds
    cohort.config["explanation_arguments"]["output"] = "probability"
    assert "attention" in run(cohort).stage_seconds
    assert scores_of(cohort).all_scores["leave_one_out"].explained.output == "probability"  # type: ignore[union-attr]
    cohort.config["explanation_arguments"] = {}
    assert "attention" in run(cohort).stage_seconds
    assert "leave_one_out" not in scores_of(cohort).all_scores


@pytest.mark.parametrize(
    ("classes", "targets", "columns"),
    [
        ("predicted", "drawn", ["predicted"]), ("label", "drawn", ["a"]), ("all", "drawn", ["a", "b", "c"]),
        (["c", "0"], "drawn", ["c", "a"]), ("b", ["c"], ["c", "b"]), ("predicted", "all", ["a", "b", "c"]),
        ("2", "predicted", ["predicted", "c"]),
    ],
)  # fmt: skip
def test_the_targets_are_those_drawn_or_asked_for(
    tmp_path: Path, classes: Any, targets: Any, columns: list[str]
) -> None:
    cohort = cohort_of(
        tmp_path, heatmap_arguments={"score": "single", "classes": classes},
        data_arguments={"label_dict": {"a": 0, "b": 1, "c": 2}}, explanation_arguments={"targets": targets},
    )  # fmt: skip
    write_abmil(cohort.checkpoint, classes=3)
    run(cohort, stages=(*SCORED, "heatmap"))
    found = scores_of(cohort)
    best = found.prediction.classes[found.prediction.predicted]  # type: ignore[union-attr]
    assert list(found.scores.names) == list(dict.fromkeys(best if name == "predicted" else name for name in columns))


def test_one_output_that_nobody_tells_of_is_said_to_be_taken_for_two_classes(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, heatmap_arguments={"score": "leave_one_out"})
    write_abmil(cohort.checkpoint, classes=1)
    del cohort.config["data_arguments"]["label_dict"]
    (notice,) = [n for n in run(cohort).notes["s1"] if n.code == "assumed_task"]
    assert "model_arguments.task" in notice
    assert scores_of(cohort).scores.names == ("class 1",)
    cohort.config["model_arguments"]["task"] = "regression"
    assert [n for n in run(cohort).notes.get("s1", ()) if n.code == "assumed_task"] == []
    assert scores_of(cohort).scores.explained.output == "value"  # type: ignore[union-attr]


def test_labels_that_seem_to_name_the_outputs_of_another_task_are_said_to_be_groups(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, model_arguments={"task": "multilabel"})
    (notice,) = [n for n in run(cohort).notes["s1"] if n.code == "labels_are_groups"]
    assert "label_dict (a, b) names groups" in notice
    assert "output_names" in notice
    cohort.config["model_arguments"]["output_names"] = ["a", "b"]
    assert "labels_are_groups" not in {n.code for n in run(cohort).notes.get("s1", ())}


def test_a_check_that_fails_stands_in_the_record_and_in_the_file(tmp_path: Path) -> None:
    cohort = cohort_of(
        tmp_path, heatmap_arguments={"score": "integrated_gradients"},
        explanation_arguments={"steps": 1, "max_steps": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    from mil_heatmaps.models.abmil import ABMIL

    model = ABMIL(in_dim=16, embed_dim=8, attn_dim=8, num_classes=2)
    for weights in model.parameters():
        weights.data *= 4  # so that one step is too few
    torch.save(model.state_dict(), cohort.checkpoint)
    (notice,) = [n for n in run(cohort).notes["s1"] if n.code == "explanation_check"]
    assert notice.startswith("integrated_gradients of ")
    assert "adds up to within" in notice
    assert notice in scores_of(cohort).notices


def test_what_was_done_of_a_stopped_score_is_kept_and_the_end_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = cohort_of(tmp_path, heatmap_arguments={"score": "leave_one_out"})
    write_transformer(cohort.checkpoint)
    run(cohort)
    undisturbed = next(cohort.raw.glob("*/s1/s1_blockmap.h5")).read_bytes()
    runner = Runner(load_config(cohort.write()))
    job, stages = runner.cohort.jobs["s1"], choose_stages(SCORED, None)
    asked: list[int] = []
    bag_logits = Transformer.bag_logits

    def counted(self: Any, bag: Any, coords_l0: Any = None) -> Any:
        asked.append(len(bag))
        return bag_logits(self, bag, coords_l0)

    monkeypatch.setattr(Transformer, "bag_logits", counted)
    for _ in range(2):
        asked.clear()
        told: list[str] = []
        stopped = run_slide(
            job, runner.settings, stages, force={"attention"}, on_stage=told.append, should_stop=lambda: len(asked) > 20
        )
        assert stopped.stopped
        assert any(words.startswith("leave_one_out ") and words.endswith(" left") for words in told)
        assert any(words.startswith("leave_one_out takes 48 forward passes, about ") for words in told)
    assert list(job.paths.partial_scores.iterdir()) != []
    asked.clear()
    end = run_slide(job, runner.settings, stages, force={"attention"})
    assert end.record.error is None
    assert 5 < len(asked) < 25  # two checks of the whole bag, and what was left of 48
    assert job.paths.blockmap_h5.read_bytes() == undisturbed
    assert not job.paths.partial_scores.exists()


def test_partial_sums_of_another_setting_are_as_good_as_none(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, heatmap_arguments={"score": "leave_one_out"})
    runner = Runner(load_config(cohort.write()))

    def sums(runner: Runner, of: str = "x") -> explanations.PartialSums:
        from mil_heatmaps.records.slide_record import SlideRecord
        from mil_heatmaps.stages.base import SlideWork

        job = runner.cohort.jobs["s1"]
        return explanations.PartialSums(SlideWork(job, runner.settings, SlideRecord.load(job.paths.record, "s1")), of)

    sums(runner).save("leave_one_out", {"done": np.array(3)})
    assert int(sums(runner).load("leave_one_out")["done"]) == 3  # type: ignore[index]
    assert sums(runner, "another bag").load("leave_one_out") is None
    cohort.config["explanation_arguments"] = {"masks": 256}
    assert sums(Runner(load_config(cohort.write()))).load("leave_one_out") is not None
    cohort.config["explanation_arguments"] = {"output": "logit"}
    assert sums(Runner(load_config(cohort.write()))).load("leave_one_out") is None


def test_a_model_of_the_users_needs_nothing_but_forward(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\nclass Own(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        torch.manual_seed(0)\n        self.line = torch.nn.Linear(16, 2)\n"
        "    def forward(self, h):\n        return self.line(torch.tanh(h).mean(1))\n"
    )
    cohort = cohort_of(
        tmp_path / "c", heatmap_arguments={"score": "leave_one_out"},
        explanation_arguments={"scores": ["integrated_gradients", "single"]},
    )  # fmt: skip
    cohort.config["model_arguments"] = {"model_class": f"{tmp_path / 'own.py'}:Own", "device": "cpu"}
    run(cohort)
    assert set(scores_of(cohort).all_scores) == {"leave_one_out", "integrated_gradients", "single"}


def test_flags_ask_for_explanations(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path)
    out = tmp_path / "out"
    flags = ["--checkpoint", cohort.checkpoint, "--h5_dir", cohort.features, "--slide_dir", cohort.slides]
    flags += ["--limit", "1", "--output_dir", out, "--score", "single", "--center", "0.5"]
    flags += ["--explain", "leave_one_out", "attention"]
    flags += ["--explain_targets", "all", "--explain_setting", "output=probability", "max_forwards=100", "--no_segment"]
    assert generate([str(flag) for flag in flags]) == 0
    found = read_scores(next(out.rglob("s1_blockmap.h5")))
    assert next(iter(found.all_scores)) == "single"
    assert {"leave_one_out", "attention"} < set(found.all_scores)
    assert found.scores.names == ("class 0", "class 1")
    assert found.scores.explained.output == "probability"  # type: ignore[union-attr]


def test_runs_that_explain_different_things_are_not_compared(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, heatmap_arguments={"score": "leave_one_out"})
    cohort.rows = cohort.rows[:1]
    run(cohort)
    cohort.config["exp_arguments"]["save_exp_code"] = "F"
    cohort.config["explanation_arguments"] = {"output": "probability"}
    run(cohort)
    (slide,) = compare_runs(cohort.raw, tmp_path / "raw" / "F", tmp_path / "out")
    assert "explain different things: log_odds and probability" in str(slide.error)
    (slide,) = compare_runs(cohort.raw, cohort.raw, tmp_path / "same")
    assert slide.error is None
    assert slide.row["spearman"] == 1


def test_a_fine_map_can_be_of_single_alone(tmp_path: Path) -> None:
    cohort = make_encoded(tmp_path, "tests.helpers.stub_encoder:create", score="single")
    cohort.config["encoder_arguments"]["target_img_size"] = 64
    cohort.config["explanation_arguments"] = {"output": "probability"}
    run(cohort, stages=())
    bag = scores_of(cohort)
    fine = read_scores(next(cohort.raw.glob("*/s1/s1_0.5_roi_False.h5")))
    assert fine.scores.names == bag.scores.names
    assert fine.scores.explained.output == "probability"  # type: ignore[union-attr]
    where = {tuple(corner): i for i, corner in enumerate(fine.grid.coords_l0.tolist())}
    pairs = [(i, where[tuple(c)]) for i, c in enumerate(bag.grid.coords_l0.tolist()) if tuple(c) in where]
    assert pairs
    ours, theirs = np.asarray(pairs).T
    np.testing.assert_allclose(fine.scores.values[theirs], bag.scores.values[ours], atol=1e-4)
    cohort.config["heatmap_arguments"]["score"] = "leave_one_out"
    with pytest.raises(ConfigError, match="draw single, or set calc_heatmap: false"):
        load_config(cohort.write())


def test_the_visualizer_draws_an_explanation(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path)
    settings = {"output": "probability"}
    visualizer = MILLabVisualizer(
        cohort.checkpoint, class_names=["a", "b"], score="leave_one_out", settings=settings, device="cpu"
    )
    found = visualizer.visualize(cohort.slides / "s1.tif", cohort.features / "s1.h5", classes="a", segment=False)
    assert (found.column, found.scores.explained.output) == ("a", "probability")  # type: ignore[union-attr]
    assert found.figure.size[0] > 1000
    with pytest.raises(Exception, match="unknown setting 'stepps' of explanations, did you mean 'steps'"):
        MILLabVisualizer(cohort.checkpoint, score="single", settings={"stepps": 3})
