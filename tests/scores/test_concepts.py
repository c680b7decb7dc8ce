"""Named vectors: their files, the numbers that come of them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import FeatureError, ScoreError
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.scores.concepts import Concepts, mean_direction, read_concepts, write_concepts
from mil_heatmaps.scores.select import select_columns
from mil_heatmaps.slides.patch_grid import PatchGrid

VECTORS = {"tumour": [3.0, 0.0, 4.0], "stroma": [0.0, 2.0, 0.0]}


def bag(values: Any, encoder: str | None = None) -> PatchFeatures:
    features = np.asarray(values, np.float32)
    grid = PatchGrid(np.arange(2 * len(features)).reshape(-1, 2), (1, 1), (1, 1))
    return PatchFeatures(grid, features, encoder, Path("S.h5"))


def test_similarity_is_the_cosine_and_the_classes_follow_from_it() -> None:
    concepts = Concepts.of(VECTORS, "here", temperature=0.5)
    values = np.array([[6, 0, 8], [0, -1, 0], [1, 1, 0]], np.float16)
    found = concepts.scores(values)
    expected = np.array([[1, 0], [0, -1], [0.6 / np.sqrt(2), 1 / np.sqrt(2)]])
    np.testing.assert_allclose(found["similarity_to"].values, expected, atol=1e-6)
    assert found["similarity_to"].names == ("tumour", "stroma")
    shares = np.exp(expected / 0.5)
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["concept_probability"].values, shares, atol=1e-6)
    np.testing.assert_array_equal(found["concept_class"].values[:, 0], [0, 0, 1])


def test_a_patch_without_direction_has_no_score_and_one_concept_no_classes() -> None:
    found = Concepts.of({"one": [1.0, 0.0]}, "here").scores(np.array([[0, 0], [2, 0]]))
    assert list(found) == ["similarity_to"]
    np.testing.assert_array_equal(found["similarity_to"].values[:, 0], [np.nan, 1])
    with pytest.raises(ScoreError, match="has only one"):
        Concepts.of({"one": [1.0]}, "here").check_drawn("concept_class")


def test_predicted_draws_every_concept_as_they_are_no_outputs() -> None:
    scores = Concepts.of(VECTORS, "here").scores(np.eye(3))["similarity_to"]
    assert [column.name for column in select_columns(scores)] == ["tumour", "stroma"]
    assert [column.name for column in select_columns(scores, classes="stroma")] == ["stroma"]


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".safetensors"])
def test_files_of_every_kind_hold_the_same_concepts(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"concepts{suffix}"
    if suffix == ".csv":
        path.write_text("name;a;b;c\ntumour;3;0;4\nstroma;0;2;0\n")
    elif suffix == ".npz":
        np.savez(path, **{name: np.array(vector) for name, vector in VECTORS.items()})
    else:
        from safetensors.numpy import save_file

        save_file({name: np.array(vector) for name, vector in VECTORS.items()}, path, {"encoder": "plip"})
    concepts = read_concepts(path)
    rows = dict(zip(concepts.names, concepts.vectors.tolist(), strict=True))
    assert rows == {"tumour": pytest.approx([0.6, 0, 0.8]), "stroma": pytest.approx([0, 1, 0])}
    assert concepts.encoders == (("plip",) if suffix == ".safetensors" else ())


def test_prototypes_are_numbered(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.eye(3)[None])  # (1, K, D), as PANTHER keeps them
    assert read_concepts(tmp_path / "k.npy").names == ("prototype 0", "prototype 1", "prototype 2")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    concepts = Concepts.of(VECTORS, "here", encoders=("uni_v2",), temperature=0.02)
    write_concepts(tmp_path / "c.npz", concepts)
    again = read_concepts(tmp_path / "c.npz")
    assert (again.names, again.encoders, again.temperature) == (concepts.names, ("uni_v2",), 0.02)
    np.testing.assert_allclose(again.vectors, concepts.vectors, atol=1e-7)


def test_widths_and_encoders_that_do_not_match_are_refused_with_both() -> None:
    concepts = Concepts.of(VECTORS, "c.npz", encoders=("plip",))
    with pytest.raises(FeatureError, match=r"features are 2 wide, the concepts of c\.npz 3"):
        concepts.check(bag(np.ones((1, 2))))
    with pytest.raises(FeatureError, match=r"features are of conch_v15, the concepts of plip.*TITAN"):
        concepts.check(bag(np.ones((1, 3)), "conch_v15"))
    assert [notice.code for notice in concepts.check(bag(np.ones((1, 3))))] == ["concept_encoder"]
    assert concepts.check(bag(np.ones((1, 3)), "PLIP")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no concept"),
        ("a,1,2\nb,1\n", "a has 2 numbers, b has 1"),
        ("a,0,0\n", "the vector of a is zero"),
        ("a,nan,0\n", "not finite"),
        ("a,1,0\na,0,1\n", "a name of its own"),
        ("a,1,x\n", "cannot read concepts"),
    ],
)
def test_unsound_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(ScoreError, match=words):
        read_concepts(tmp_path / "c.csv")


def test_the_mean_direction_weighs_patches_alike() -> None:
    np.testing.assert_allclose(mean_direction([[10, 0], [0, 1], [0, 0]]), [1 / 3, 1 / 3])
