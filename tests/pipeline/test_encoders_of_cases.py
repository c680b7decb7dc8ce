"""Slide encoders and models with numbers beside the patches asked about cases; an encoder that keys tell."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.scores.score_schema import read_scores
from tests.checkpoints.test_known_slide_encoders import Published
from tests.helpers.cohort import WIDTH, SmallCohort, make_small_cohort, write_features

LAB = """
def mean():
    return lambda features: features.mean(0)

def placed():
    return lambda features, coords: features.mean(0) + 0 * coords.sum()

def sized():
    return lambda features, patch_size_level0, mpp: features.mean(0) * mpp
"""


def cohort_of(root: Path, encoder: str | None = "mean", *, width: int = WIDTH) -> SmallCohort:
    (root / "lab.py").write_text(LAB)
    np.savez(root / "head.npz", W=np.eye(2, width) * 3, class_names=["benign", "malignant"], kind="logistic")
    cohort = make_small_cohort(root / "c", {"data_arguments": {"bag": "case"}})
    own = {} if encoder is None else {"slide_encoder": f"{root / 'lab.py'}:{encoder}"}
    cohort.config["model_arguments"] = {"head": str(root / "head.npz"), "device": "cpu", **own}
    cohort.config["heatmap_arguments"]["score"] = "leave_one_out"
    cohort.config["run_arguments"] = {"workers": 1, "isolate": "never"}
    cohort.config["sample_arguments"] = {"samples": []}
    for section in ("exp_arguments", "data_arguments"):
        cohort.config[section].pop("n_classes", None)
        cohort.config[section].pop("label_dict", None)
    for row, case in zip(cohort.rows, ("P1", "P2", "P1"), strict=True):
        row["case_id"] = case
    return cohort


def features_of(cohort: SmallCohort, slide: str) -> np.ndarray:  # type: ignore[type-arg]
    with h5py.File(cohort.features / f"{slide}.h5") as file:
        return np.asarray(file["features"][()], np.float64)


def test_a_case_is_the_vector_of_all_its_patches(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    assert Runner(load_config(cohort.write())).run().failed == {}
    parts = {slide: features_of(cohort, slide) for slide in ("s1", "s3")}
    whole = np.concatenate(list(parts.values()))

    def p_of(rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.exp(z := 3 * rows.mean(0)[:2]) / np.exp(z).sum()

    files = [read_scores(next(cohort.raw.rglob(f"{slide}_blockmap.h5"))) for slide in parts]
    for file in files:
        assert file.prediction is not None
        np.testing.assert_allclose(file.prediction.probabilities, p_of(whole), atol=1e-6)
    with (cohort.root / "results" / "E_cases.csv").open(newline="") as table:
        told = {row["case_id"]: row for row in csv.DictReader(table)}["P1"]
    best = int(p_of(whole).argmax())
    expected = [p_of(parts["s3"])[best], p_of(parts["s1"])[best]]
    assert [float(p) for p in told["without_slide"].split(";")] == pytest.approx(expected, abs=1e-5)


def test_an_encoder_that_is_told_of_one_slide_refuses_a_case_in_which_that_differs(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "placed")
    summary = Runner(load_config(cohort.write())).run()
    assert summary.processed == ["s2"]
    assert "asks where patches lie, and those of several slides lie on no one slide" in summary.failed["s1"]
    cohort.config["model_arguments"]["slide_encoder"] = f"{tmp_path / 'lab.py'}:sized"
    for row, mpp in zip(cohort.rows, ("0.5", "0.5", "0.25"), strict=True):
        row["mpp"] = mpp
    summary = Runner(load_config(cohort.write())).run()
    assert "asks for mpp, which differs within the case (s1: 0.5, s3: 0.25)" in summary.failed["s3"]
    cohort.rows[2]["mpp"] = "0.5"
    assert Runner(load_config(cohort.write())).run().failed == {}
    cohort.config["data_arguments"]["slide_vectors_dir"] = str(tmp_path)
    with pytest.raises(ConfigError, match="has vectors of slides, but bag is case"):
        load_config(cohort.write())


def test_a_head_and_a_file_whose_keys_tell_its_encoder_need_no_code(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, None, width=24)
    torch.manual_seed(0)
    published = Published().eval()
    torch.save(published.state_dict(), tmp_path / "CHIEF.pth")
    for number in (1, 2, 3):
        write_features(cohort.features / f"s{number}.h5", number, width=24)
    cohort.config["model_arguments"]["ckpt_path"] = str(tmp_path / "CHIEF.pth")
    cohort.config["heatmap_arguments"]["score"] = "attention"
    config = load_config(cohort.write())
    assert config.model_arguments.slide_encoder == "auto"
    assert config.model_arguments.own_code is None
    assert Runner(config).run().failed == {}
    found = [read_scores(next(cohort.raw.rglob(f"{slide}_blockmap.h5"))) for slide in ("s1", "s3")]
    both = torch.from_numpy(np.concatenate([features_of(cohort, slide) for slide in ("s1", "s3")])).float()
    with torch.no_grad():
        expected = published.pooled(both)[1]
    np.testing.assert_allclose(np.concatenate([file.scores.values[:, 0] for file in found]), expected, atol=1e-7)
    del cohort.config["model_arguments"]["ckpt_path"]
    with pytest.raises(ConfigError, match="nor a ckpt_path whose keys tell one"):
        load_config(cohort.write())


CLINICAL = """
from torch import nn

class WithGenes(nn.Module):
    num_classes = 2

    def forward(self, bags, extra):
        logits = bags["patches"][0].mean(0)[:2] * 4
        logits = logits + extra["genes"].sum() * logits.new_tensor([0.0, 1.0])
        return logits[None], bags["patches"][0, :, 0].softmax(0)
"""


def test_numbers_of_a_patient_go_beside_the_patches_of_all_its_slides(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    (tmp_path / "clinical.py").write_text(CLINICAL)
    (tmp_path / "genes.csv").write_text("case_id,tp53,egfr\nP1,0.5,0.25\nP2,-1,0\n")
    cohort.config["model_arguments"] = {"model_class": f"{tmp_path / 'clinical.py'}:WithGenes", "device": "cpu"}
    cohort.config["data_arguments"] |= {"h5_dir": {"patches": str(cohort.features)}, "extra": {"genes": "genes.csv"}}
    cohort.config["data_arguments"]["extra"] = {"genes": str(tmp_path / "genes.csv")}
    cohort.config["faithfulness_arguments"] = {"level": "quick", "steps": 3, "random_orders": 2}
    assert Runner(load_config(cohort.write())).run().failed == {}
    whole = np.concatenate([features_of(cohort, slide) for slide in ("s1", "s3")])
    listed = cohort.process_list()
    sign = 1 if listed["s1"]["Pred_0"] == "class 1" else -1
    for slide in ("s1", "s3"):
        file = read_scores(next(cohort.raw.rglob(f"{slide}_blockmap.h5")))
        assert file.prediction is not None
        np.testing.assert_allclose(file.prediction.logits, 4 * whole.mean(0)[:2] + [0, 0.75], atol=1e-5)
        assert float(listed[slide]["effect_of_genes"]) == pytest.approx(sign * 0.75, abs=1e-5)
        assert next(cohort.raw.rglob(f"{slide}_inputs.csv")).read_text().count("genes") == 1
    with (cohort.root / "results" / "E_cases.csv").open(newline="") as table:
        told = {row["case_id"]: row for row in csv.DictReader(table)}["P1"]
    alone = 4 * features_of(cohort, "s3").mean(0)[:2] + [0, 0.75]  # the numbers stay with the case
    shares = np.exp(alone) / np.exp(alone).sum()
    assert float(told["without_slide"].split(";")[0]) == pytest.approx(shares[(sign + 1) // 2], abs=1e-5)
    assert sorted(Runner(load_config(cohort.write())).run().reused) == ["s1", "s2", "s3"]
    for row, genes in zip(cohort.rows, ("1", "1", "2"), strict=True):
        row["dose"] = genes
    cohort.config["data_arguments"]["extra"] = {"genes": ["dose"]}
    problems = Runner(load_config(cohort.write())).problems()
    assert problems["s1"] == problems["s3"]
    assert "case P1 has two sets of genes: 1 of s1, 2 of s3; all slides of a case have one" in problems["s1"]
    cohort.config["data_arguments"]["h5_dir"]["more"] = str(cohort.features)
    with pytest.raises(ConfigError, match="a model of several bags is asked about one slide at a time"):
        load_config(cohort.write())
