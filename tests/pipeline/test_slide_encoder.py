"""Slide encoders through the pipeline: what is drawn by default, whose names stand in the tables, the stored vector."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from mil_heatmaps.cli.plan import print_plan
from mil_heatmaps.config.config import effective_yaml, load_config, make_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import SIZE, WIDTH, SmallCohort, make_small_cohort
from tests.helpers.slides import make_single_level

LAB = """
def mean(scale=1.0):
    return lambda features, coords, patch_size_level0, mpp=None: scale * features.mean(0) + 0 * coords.sum()

def needs_mpp():
    return lambda features, mpp: features.mean(0) * mpp
"""


def cohort_of(root: Path, **model: Any) -> SmallCohort:
    (root / "lab.py").write_text(LAB)
    np.savez(root / "head.npz", W=np.eye(2, WIDTH) * 3, class_names=["benign", "malignant"], kind="logistic")
    cohort = make_small_cohort(root / "c", {"heatmap_arguments": {"score": None}})
    cohort.config["model_arguments"] = {
        "slide_encoder": f"{root / 'lab.py'}:mean", "head": str(root / "head.npz"), "device": "cpu", **model,
    }  # fmt: skip
    for section in ("exp_arguments", "data_arguments"):
        cohort.config[section].pop("n_classes", None)
        cohort.config[section].pop("label_dict", None)
    cohort.rows = cohort.rows[:1]
    return cohort


def test_a_cohort_is_drawn_by_occlusion_with_the_heads_names_and_its_vectors_compared(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    cohort.config["heatmap_arguments"].pop("score")
    vectors = tmp_path / "slide_features"
    vectors.mkdir()
    cohort.config["data_arguments"]["slide_vectors_dir"] = str(vectors)
    cohort.config["faithfulness_arguments"] = {"level": "quick", "steps": 4, "random_orders": 2}
    with h5py.File(next(cohort.features.glob("s1*"))) as file:
        features = file["features"][:].reshape(-1, WIDTH)
    with h5py.File(vectors / "s1.h5", "w") as file:
        file["features"] = features.mean(0)
    path = cohort.write()
    runner = Runner(load_config(path))
    assert runner.run().failed == {}
    (record_path,) = cohort.raw.rglob("record.json")
    summary = json.loads(record_path.read_text())["summary"]
    assert sorted(summary["prediction"]["classes"]) == ["benign", "malignant"]
    assert summary["slide_vector"]["difference"] < 1e-5
    scores = read_scores(record_path.with_name("s1_blockmap.h5"))
    assert [scores.scores.score, *(extra.score for extra in scores.extra)] == ["occlusion", "mask_regression"]
    assert scores.scores.names[0] in ("benign", "malignant")
    measured = json.loads(record_path.with_name("s1_faithfulness.json").read_text())
    assert measured["maps"]["occlusion"]["drawn"] is True
    assert {entry["status"] for entry in measured["maps"].values()} <= {"measured", "too few patches"}
    assert not [n for n in json.loads(record_path.read_text())["stages"]["attention"].get("notices", ())
                if n["code"] == "slide_vector"]  # fmt: skip
    # Nothing is done again; another vector is said.
    again = Runner(load_config(path)).run()
    assert again.failed == {}
    assert json.loads(record_path.read_text())["summary"]["slide_vector"]["difference"] < 1e-5
    with h5py.File(vectors / "s1.h5", "w") as file:
        file["features"] = features.mean(0) * 1.5
    assert Runner(load_config(path)).run().failed == {}
    told = json.loads(record_path.read_text())
    assert told["summary"]["slide_vector"]["difference"] == pytest.approx(1 / 3, rel=1e-4)
    assert "differs from that of s1.h5 by 33 % (cosine 1" in json.dumps(told["stages"]["attention"])
    (vectors / "s1.h5").unlink()
    assert Runner(load_config(path)).run().failed == {}
    assert "has no vector of this slide" in record_path.read_text()


def test_an_encoder_that_needs_mpp_fails_the_slide_that_has_none(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, slide_encoder=f"{tmp_path / 'lab.py'}:needs_mpp")
    cohort.config["heatmap_arguments"]["score"] = "leave_one_out"
    make_single_level(cohort.slides / "s1.tif", SIZE, mpp=None)
    assert "needs mpp" in Runner(load_config(cohort.write())).run().failed["s1"]
    cohort.config["data_arguments"]["slide_mpp"] = 0.5
    assert Runner(load_config(cohort.write())).run().failed == {}


def test_a_dry_run_says_how_many_forwards_each_map_takes_and_runs_no_own_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = cohort_of(tmp_path)
    cohort.config["heatmap_arguments"].pop("score")
    (tmp_path / "lab.py").write_text("raise RuntimeError('was run')\n")
    assert print_plan(Runner(load_config(cohort.write()))) == 0
    told = capsys.readouterr().out
    assert "slide_encoder" in told
    assert re.search(r"occlusion: \d+ forward passes\n", told)
    assert "mask_regression: 512 forward passes\n" in told
    cohort.config["explanation_arguments"] = {"scores": ["leave_one_out"], "max_forwards": 10, "window": 4}
    assert print_plan(Runner(load_config(cohort.write()))) == 1
    assert "more than max_forwards 10; choose" in capsys.readouterr().out


def values(root: Path, **model: Any) -> dict[str, Any]:
    np.savez(root / "head.npz", W=np.eye(2, WIDTH), class_names=["benign", "malignant"], kind="logistic")
    np.save(root / "text.npy", np.ones(WIDTH))
    given = {"slide_encoder": "lab:mean", "head": str(root / "head.npz"), **model}
    return {"data_arguments": {"data_dir": str(root), "h5_dir": str(root)},
            "model_arguments": {key: value for key, value in given.items() if value is not None}}  # fmt: skip


def test_what_follows_from_a_slide_encoder_can_be_chosen_otherwise(tmp_path: Path) -> None:
    config = make_config(values(tmp_path))
    assert (config.heatmap_arguments.score, config.explanation_arguments.scores) == ("occlusion", ["mask_regression"])
    assert (config.class_names, config.n_classes) == (["benign", "malignant"], 2)
    assert make_config(yaml.safe_load(effective_yaml(config))).class_names == ["benign", "malignant"]
    own = {**values(tmp_path), "heatmap_arguments": {"score": "single"}}
    assert make_config(own).explanation_arguments.scores == []
    few = {**values(tmp_path), "explanation_arguments": {"max_forwards": 100}}
    assert make_config(few).explanation_arguments.scores == []
    cosine = make_config(values(tmp_path, head={"cosine_to": str(tmp_path / "text.npy")}))
    assert cosine.model_arguments.task == "regression"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": None}, "needs a head that makes outputs of it"),
        ({"slide_encoder": None}, "head belongs to slide_encoder, which is not given"),
        ({"model_class": "lab:M"}, "give model_class or slide_encoder, not both"),
        ({"head": "gone.npz"}, "no such file: 'gone.npz'"),
        ({"task": "survival"}, "is a logistic model, but model_arguments.task is survival"),
        ({"head": {"cosine": "x"}}, "must be a file, or {cosine_to: FILE}"),
        ({"overrides": {"a": 1}}, "has no effect on slide_encoder; use init_args"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(values(tmp_path, **change))


def test_classes_in_another_order_than_the_heads_are_refused(tmp_path: Path) -> None:
    given = values(tmp_path)
    given["data_arguments"]["label_dict"] = {"malignant": 0, "benign": 1}
    with pytest.raises(ConfigError, match="its classes benign, malignant, in this order, but label_dict says malig"):
        make_config(given)
    cosine = values(tmp_path, head={"cosine_to": str(tmp_path / "text.npy")}, task="classification")
    with pytest.raises(ConfigError, match="cosine_to gives values, but task is classification"):
        make_config(cosine)
