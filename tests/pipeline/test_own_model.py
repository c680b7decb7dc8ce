"""Models of the user's own through the pipeline, at its defaults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError, FeatureError
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import SmallCohort, make_small_cohort

MODELS = """
from torch import nn

class Heads(nn.Module):
    # two classes, three heads of attention, no in_dim
    def forward(self, h):
        return h.mean(dim=1)[:, :2], h[..., :3].transpose(1, 2)

class TwoHeads(Heads):
    score_columns = "head"
    def forward(self, h):
        return h.mean(dim=1)[:, :2], h[..., :2]

class Claims(Heads):
    score_columns = "class"

class Wants(Heads):
    in_dim = 7

class Two(Heads):
    num_classes = 2
"""


def cohort_of(root: Path, name: str, **heatmap: Any) -> SmallCohort:
    root.mkdir(exist_ok=True)
    (root / "lab.py").write_text(MODELS)
    cohort = make_small_cohort(root / "c", {"heatmap_arguments": heatmap})
    cohort.config["model_arguments"] = {"model_class": f"{root / 'lab.py'}:{name}", "device": "cpu"}
    cohort.rows = cohort.rows[:1]
    return cohort


def run(cohort: SmallCohort) -> dict[str, str]:
    return Runner(load_config(cohort.write())).run().failed


def scores_of(cohort: SmallCohort) -> ScoreFile:
    return read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")


@pytest.mark.parametrize(("name", "heads"), [("Heads", 3), ("TwoHeads", 2)])
def test_heads_that_are_not_the_classes_are_averaged_by_default(tmp_path: Path, name: str, heads: int) -> None:
    from mil_heatmaps.records.slide_record import SlideRecord
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.score_columns import coarse_columns

    cohort = cohort_of(tmp_path, name)
    assert run(cohort) == {}
    scores = scores_of(cohort)
    assert scores.scores.names == tuple(f"head {i}" for i in range(heads))
    runner = Runner(load_config(cohort.write()))
    job = runner.cohort.jobs["s1"]
    (column,) = coarse_columns(SlideWork(job, runner.settings, SlideRecord.load(job.paths.record, "s1")))
    assert column.name == f"mean of {heads} heads"
    np.testing.assert_allclose(column.scores, scores.scores.values.mean(axis=1), rtol=1e-6)


def test_a_single_head_can_be_chosen(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "Heads", head="2")
    assert run(cohort) == {}
    cohort.config["heatmap_arguments"]["head"] = 5
    assert "has no head" in run(cohort)["s1"]


def test_a_claim_about_the_columns_is_held_to(tmp_path: Path) -> None:
    failed = run(cohort_of(tmp_path, "Claims"))
    assert "score_columns is 'class', but it returned 3 columns of attention for 2 classes" in failed["s1"]


def test_a_model_that_does_not_say_its_width_works_beside_an_encoder(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "Heads", calc_heatmap=False)
    del cohort.config["data_arguments"]["h5_dir"]
    cohort.config["encoder_arguments"] = {"model_name": "tests.helpers.stub_encoder:create"}
    cohort.config["patching_arguments"] = {"patch_size": 64}
    assert run(cohort) == {}
    cohort.config["model_arguments"]["model_class"] = f"{tmp_path / 'lab.py'}:Wants"
    cohort.config["exp_arguments"]["save_exp_code"] = "F"  # where there are no features yet
    with pytest.raises(FeatureError, match=r"makes 48-d features, but model .*lab.py:Wants takes 7-d ones"):
        run(cohort)


def test_names_of_another_number_are_told_with_the_model_where_no_checkpoint_is(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "Two")
    cohort.config["model_arguments"] |= {"task": "multilabel", "output_names": ["a", "b", "c"]}
    cohort.config["data_arguments"].pop("label_dict", None)
    cohort.config["exp_arguments"].pop("n_classes", None)
    with pytest.raises(ConfigError, match=r"names 3 outputs \(a, b, c\) but the model .*lab\.py:Two has 2 outputs"):
        run(cohort)


def test_a_score_the_model_cannot_give_says_why(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"heatmap_arguments": {"score": "class_contribution"}})
    tensors = torch.load(cohort.checkpoint, weights_only=True)
    torch.save({key: value for key, value in tensors.items() if "classifier" not in key}, cohort.checkpoint)
    why = "heatmap_arguments.score: abmil cannot give the score 'class_contribution': the checkpoint has no classifier"
    with pytest.raises(ConfigError, match=why):
        run(cohort)


def test_a_change_in_a_file_the_model_imports_is_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = cohort_of(tmp_path, "Uses")
    monkeypatch.syspath_prepend(str(tmp_path))
    helper = tmp_path / "lab_helper_of_a_model.py"
    helper.write_text("from torch import nn\nclass Base(nn.Module):\n    column = 0\n")
    (tmp_path / "lab.py").write_text(
        "from lab_helper_of_a_model import Base\n"
        "class Uses(Base):\n"
        "    def forward(self, h):\n"
        "        return h.mean(dim=1)[:, :2], h[..., self.column]\n"
    )
    assert run(cohort) == {}
    before = scores_of(cohort).scores.values
    helper.write_text(helper.read_text().replace("column = 0", "column = 1 "))
    sys.modules.pop("lab_helper_of_a_model")  # as in the next run, another process
    assert run(cohort) == {}
    assert not np.array_equal(scores_of(cohort).scores.values, before)
