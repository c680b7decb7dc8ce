"""Maps of concepts: without a model, beside one, of a case, and the command that makes a concept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.cli.concept import main
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.scores.concepts import read_concepts
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import PATCH, SmallCohort, make_small_cohort, write_features


def make(root: Path, score: str = "similarity_to", *, model: bool = False, **data: Any) -> SmallCohort:
    cohort = make_small_cohort(root, {"run_arguments": {"workers": 1, "isolate": "never"}})
    cohort.config["sample_arguments"] = {"samples": []}
    cohort.rows = cohort.rows[:1]
    if not model:
        del cohort.config["model_arguments"]["ckpt_path"]
    cohort.config["heatmap_arguments"]["score"] = score
    cohort.config["data_arguments"] |= {"concepts": str(root / "c.npz"), **data}
    values = features(cohort)
    np.savez(root / "c.npz", tumour=values[3], stroma=values[20])
    return cohort


def features(cohort: SmallCohort) -> np.ndarray[Any, Any]:
    with h5py.File(cohort.features / "s1.h5") as file:
        return np.asarray(file["features"][()])


def test_no_model_is_needed_and_a_map_is_drawn_of_every_concept(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    summary = Runner(load_config(cohort.write())).run()
    assert not summary.failed
    found = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    values = features(cohort).astype(np.float64)
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(found.scores.values, units @ units[[3, 20]].T, atol=1e-6)
    assert found.prediction is None
    assert set(found.all_scores) == {"similarity_to", "concept_probability", "concept_class"}
    drawn = {path.name.split("_l_0")[0] for path in (cohort.production / "a").glob("s1_0.0*.jpg")}
    assert len(list((cohort.production / "a").glob("s1_0.0*_c_*.jpg"))) == 2, drawn
    assert Runner(load_config(cohort.write())).run().reused == ["s1"]
    np.savez(tmp_path / "c.npz", tumour=values[4], stroma=values[20])
    assert Runner(load_config(cohort.write())).run().processed == ["s1"]


def test_beside_a_model_the_prediction_is_the_models(tmp_path: Path) -> None:
    cohort = make(tmp_path, "concept_class", model=True)
    assert not Runner(load_config(cohort.write())).run().failed
    found = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    assert (found.scores.score, found.scores.kind) == ("concept_class", "cluster")
    assert found.prediction is not None
    assert "attention" in found.all_scores


def test_concepts_of_another_width_are_refused_with_both_numbers(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    write_features(cohort.features / "s1.h5", 1, width=8)
    summary = Runner(load_config(cohort.write())).run()
    assert "features are 8 wide, the concepts of" in summary.failed["s1"]
    assert "c.npz 16" in summary.failed["s1"]


def test_a_score_of_concepts_needs_some(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    del cohort.config["data_arguments"]["concepts"]
    with pytest.raises(ConfigError, match=r"is similarity_to, which compares patches with vectors"):
        load_config(cohort.write())
    cohort.config["data_arguments"]["concepts"] = {"prompts": {"a": "b"}}
    with pytest.raises(ConfigError, match="needs a model"):
        load_config(cohort.write())


def test_a_concept_is_the_mean_of_the_patches_inside_an_annotation(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    side = 2 * PATCH
    ring = [[0, 0], [side, 0], [side, side], [0, side], [0, 0]]
    told = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Tumor"}, "name": "focus"},
    }
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [told]}))
    given = ["--features", str(cohort.features / "s1.h5"), "--output", str(tmp_path / "o.npz")]
    assert main([*given, "--from", str(tmp_path / "a.geojson"), "--name", "focus"]) == 0
    assert main([*given, "--patch", "5", "--name", "like this"]) == 0
    concepts = read_concepts(tmp_path / "o.npz")
    values = features(cohort).astype(np.float64)
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    inside = [0, 1, 8, 9]  # of a grid 8 patches wide
    mean = units[inside].mean(axis=0)
    assert concepts.names == ("focus", "like this")
    np.testing.assert_allclose(concepts.vectors, [mean / np.linalg.norm(mean), units[5]], atol=1e-6)
    assert main([*given, "--patch", "500", "--name", "x"]) == 2


TEXTS = """
import math
import numpy as np

class Own:
    encoder = ("own_v1",)
    logit_scale = math.log(50)

    def encode(self, texts):
        rows = np.zeros((len(texts), 16))
        for row, text in zip(rows, texts):
            row[len(text) % 16] = row[text.count("a")] = 1
        return rows

def make():
    return Own()
"""


def say_encoder(cohort: SmallCohort, name: str) -> None:
    with h5py.File(cohort.features / "s1.h5", "r+") as file:
        file["features"].attrs["encoder"] = name


def test_prompts_become_a_zero_shot_map_with_the_temperature_of_their_encoder(tmp_path: Path) -> None:
    cohort = make(tmp_path, "concept_probability")
    (tmp_path / "texts.py").write_text(TEXTS)
    prompts = {"tumour": ["cancer", "a tumour"], "stroma": "fibres"}
    cohort.config["data_arguments"]["concepts"] = {"prompts": prompts, "model": f"{tmp_path / 'texts.py'}:make"}
    say_encoder(cohort, "own_v1")
    summary = Runner(load_config(cohort.write())).run()
    assert summary.failed == {}
    assert "concept_encoder" not in {note.code for notes in summary.notes.values() for note in notes}
    found = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    rows = np.zeros((3, 16))
    for row, text in zip(rows, ("cancer", "a tumour", "fibres"), strict=True):
        row[len(text)] = row[text.count("a")] = 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    tumour = rows[:2].mean(axis=0)
    vectors = np.stack([rows[2], tumour / np.linalg.norm(tumour)])
    values = features(cohort).astype(np.float64)
    logits = 50 * (values / np.linalg.norm(values, axis=1, keepdims=True)) @ vectors.T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found.scores.values, shares / shares.sum(axis=1, keepdims=True), atol=2e-5)
    assert found.scores.names == ("stroma", "tumour")  # in the order of the file
    say_encoder(cohort, "uni_v2")
    failed = Runner(load_config(cohort.write())).run().failed["s1"]
    assert "features are of uni_v2, the concepts of own_v1: cosines between two spaces mean nothing" in failed
    say_encoder(cohort, "conch_v15")
    assert "TITAN aligned whole slides with reports" in Runner(load_config(cohort.write())).run().failed["s1"]


def test_prototypes_give_a_column_each_and_a_categorical_map(tmp_path: Path) -> None:
    cohort = make(tmp_path, "concept_class")
    values = features(cohort)
    np.save(tmp_path / "k.npy", values[[2, 7, 30]])
    cohort.config["data_arguments"]["concepts"] = str(tmp_path / "k.npy")
    cohort.config["heatmap_arguments"]["figure"] = True
    assert Runner(load_config(cohort.write())).run().failed == {}
    found = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    assert found.all_scores["similarity_to"].names == ("prototype 0", "prototype 1", "prototype 2")
    assert found.scores.values[[2, 7, 30], 0].tolist() == [0, 1, 2]
    assert len(list((cohort.production / "a").glob("s1*figure*"))) == 1


def test_concepts_of_a_case_are_compared_with_all_its_slides(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.rows = [{"slide_id": f"s{n}", "label": "a", "case_id": "P"} for n in (1, 2)]
    cohort.config["data_arguments"]["bag"] = "case"
    assert Runner(load_config(cohort.write())).run().failed == {}
    found = [read_scores(cohort.raw / "a" / slide / f"{slide}_blockmap.h5") for slide in ("s1", "s2")]
    assert [file.case.place for file in found if file.case] == ["case P, slide 1 of 2", "case P, slide 2 of 2"]
    with h5py.File(cohort.features / "s2.h5") as file:
        other = np.asarray(file["features"][()], np.float64)
    concept = features(cohort)[3] / np.linalg.norm(features(cohort)[3])
    np.testing.assert_allclose(
        found[1].scores.values[:, 0], other @ concept / np.linalg.norm(other, axis=1), atol=1e-6
    )
