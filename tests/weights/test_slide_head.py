"""Heads of slide encoders: the three file formats say the same, and what does not fit is refused."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.weights.slide_head import read_head, read_slide_vectors

DRAW = np.random.default_rng(0)
PARTS = {
    "W": DRAW.normal(size=(2, 3)), "b": DRAW.normal(size=2), "mean": DRAW.normal(size=3),
    "scale": DRAW.uniform(0.5, 2, 3),
}  # fmt: skip


def written(folder: Path, form: str) -> Path:
    path = folder / f"head.{form}"
    if form == "npz":
        np.savez(path, **PARTS, class_names=["low", "high"], kind="logistic")
    elif form == "csv":
        lines = ["name,b,W0,W1,W2"]
        lines += [",".join([name, *map(repr, map(float, (b, *w)))])
                  for name, b, w in zip(("low", "high"), PARTS["b"], PARTS["W"], strict=True)]  # fmt: skip
        lines += [",".join([name, "", *map(repr, map(float, PARTS[name]))]) for name in ("mean", "scale")]
        path.write_text("\n".join(lines))
    else:
        from safetensors.numpy import save_file

        save_file(PARTS, path, {"class_names": json.dumps(["low", "high"]), "kind": "logistic"})
    return path


@pytest.mark.parametrize("form", ["npz", "csv", "safetensors"])
def test_every_format_gives_the_same_outputs(tmp_path: Path, form: str) -> None:
    head, vector = read_head(written(tmp_path, form)), DRAW.normal(size=3)
    expected = PARTS["W"] @ ((vector - PARTS["mean"]) / PARTS["scale"]) + PARTS["b"]
    np.testing.assert_allclose(head.weight @ vector + head.bias, expected, rtol=1e-12)
    assert (head.names, head.width, len(head)) == (("low", "high"), 3, 2)


def test_what_scikit_learn_calls_it_is_understood(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coef_=PARTS["W"][:1], intercept_=[0.5], class_names=["no", "yes"])
    head = read_head(tmp_path / "a.npz")
    assert head.names == ("no", "yes")
    np.testing.assert_array_equal(head.bias, [0.5])


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"b": [1.0]}, "has no weights W; it has b"),
        ({"W": PARTS["W"], "b": [1.0]}, "b .* has 1 numbers, but W has 2 rows"),
        ({"W": PARTS["W"], "mean": [1.0]}, "mean of the head .* has 1 numbers, but W has 3 columns"),
        ({"W": PARTS["W"], "scale": [1.0, 0.0, 1.0]}, "numbers that are not above 0"),
        ({"W": [np.nan]}, "NaN or infinite"),
        ({"W": PARTS["W"], "class_names": ["a", "b", "c"]}, "names 3 outputs .* but W has 2 rows"),
        ({"W": PARTS["W"], "class_names": ["a", "a"]}, "names two outputs alike"),
        ({"W": PARTS["W"], "kind": "forest"}, "says kind 'forest'; choose from linear, logistic, cox"),
        ({"W": np.array(["x"])}, "cannot read the head"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, held: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "h.npz", **held)
    with pytest.raises(CheckpointError, match=message):
        read_head(tmp_path / "h.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,b\nlow,1\n", "one row per output"),
        ("name,W1,W0\nlow,1,2\n", "out of order"),
        ("name,W0,W1\nlow,1\n", "line 2 .* has 2 cells of 3"),
        ("name,W0\nlow,wide\n", "cannot read the head"),
        ("name,W0\nmean,1\n", "no row of an output"),
        ("", "one row per output"),
    ],
)
def test_a_table_that_is_none_of_a_head_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_head(tmp_path / "h.csv")


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "h.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"must be .npz, .csv or .safetensors"):
        read_head(tmp_path / "h.pt")
    (tmp_path / "h.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(CheckpointError, match="cannot read the head"):
        read_head(tmp_path / "h.safetensors")
    with pytest.raises(CheckpointError, match="cannot read the head"):
        read_head(tmp_path / "gone.npz")


def test_a_head_that_says_its_kind_is_held_to_the_task(tmp_path: Path) -> None:
    head = read_head(written(tmp_path, "npz"))
    head.check_task("multilabel")
    with pytest.raises(CheckpointError, match=r"is a logistic model, but model_arguments.task is survival"):
        head.check_task("survival")
    np.save(tmp_path / "v.npy", np.ones(4))
    with pytest.raises(CheckpointError, match="gives cosines, which are values"):
        read_head(tmp_path / "v.npy", cosine=True).check_task("classification")


def test_the_vector_of_a_slide_is_told_from_features_of_patches(tmp_path: Path) -> None:
    for name, shape in (("one", (5,)), ("row", (1, 5)), ("patches", (7, 5))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["features"], file["coords"] = np.ones(shape, np.float32), np.zeros((7, 2), np.int64)
    assert read_slide_vectors(tmp_path / "one.h5").shape == read_slide_vectors(tmp_path / "row.h5").shape == (1, 5)
    with pytest.raises(CheckpointError, match="features of 7 patches, not the vector of a slide"):
        read_slide_vectors(tmp_path / "patches.h5")
    with pytest.raises(CheckpointError):
        read_slide_vectors(tmp_path / "gone.h5")
    np.save(tmp_path / "zero.npy", np.zeros(4))
    with pytest.raises(CheckpointError, match="no vector or one of length 0"):
        read_head(tmp_path / "zero.npy", cosine=True)
