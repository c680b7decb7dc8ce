"""Score files that other programs wrote, or that are damaged: read as far as they tell, or refused by name."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.score_schema import read_scores, write_scores
from tests.helpers.features import grid_coords, tissue_coords
from tests.helpers.scores import example


@pytest.mark.parametrize(
    ("file", "n", "size"),
    [
        ("E1/LUAD/B/B_blockmap.h5", 122, 256),
        ("E1/LSCC/D_single/D_single_blockmap.h5", 17, 256),
        ("E1/LUAD/B/B_0.5_roi_False.h5", 452, 256),
    ],
)
def test_clams_own_score_files_are_read(golden: Path, file: str, n: int, size: int) -> None:
    path = golden / "clam/e2e/tree/heatmaps/heatmap_raw_results" / file
    got = read_scores(path, patch_size_l0=size)
    with h5py.File(path) as stored:
        np.testing.assert_array_equal(got.attention, stored["attention_scores"][:, 0])
        np.testing.assert_array_equal(got.grid.coords_l0, stored["coords"][()])
    assert got.scores.values.shape == (n, 1)
    assert got.grid.size_l0 == (256, 256)
    assert got.grid.step_l0 == ((128, 128) if "0.5" in file else (256, 256))
    assert (got.scores.kind, got.scores.score, got.scores.names) == (
        "attention_logit",
        "attention",
        ("attention",),
    )
    assert got.slide_id is got.prediction is None


def write(path: Path, attributes: dict[str, Any] | None = None, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
        file.attrs.update(attributes or {})
    return path


@pytest.mark.parametrize("shape", [(20,), (20, 1), (1, 20), (20, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_the_least_file_is_read(tmp_path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    got = read_scores(write(tmp_path / "s.h5", coords=grid_coords(), scores=data))
    wanted = data.reshape(20, -1) if shape != (1, 20) else data.T
    np.testing.assert_array_equal(got.scores.values, wanted)
    assert got.scores.values.dtype == np.float32
    assert got.scores.kind == "external"
    assert len(got.scores.names) == wanted.shape[1]
    assert got.notes == ("patch size 256 x 256 px taken from the coordinates, assuming no overlap",)


def test_attributes_may_lie_on_the_file_itself(tmp_path: Path) -> None:
    attributes = {"patch_size_level0": 512, "kind": "instance_logit", "level0_mpp": 0.5, "name": "slide"}
    got = read_scores(write(tmp_path / "s.h5", attributes, coords=grid_coords(), scores=np.zeros(20)))
    assert (got.grid.size_l0, got.grid.step_l0) == ((512, 512), (256, 256))
    assert (got.scores.kind, got.level0_mpp, got.slide_id) == ("instance_logit", 0.5, "slide")


def test_a_grid_with_holes_gives_its_step(tmp_path: Path) -> None:
    coords = tissue_coords()
    got = read_scores(write(tmp_path / "s.h5", coords=coords, scores=np.zeros(len(coords))))
    assert got.grid.step_l0 == (256, 256)


@pytest.mark.parametrize(
    ("datasets", "attributes", "message"),
    [
        ({"scores": np.zeros(20)}, {}, r"no dataset 'coords'; it holds scores float64 \(20,\)"),
        ({"coords": grid_coords()}, {}, "neither 'scores' nor 'attention_scores'; it holds coords int64"),
        ({"coords": grid_coords(), "scores": np.zeros(19)}, {}, r"20 patches but /scores has shape \(19,\)"),
        ({"coords": grid_coords(), "scores": np.zeros((3, 20))}, {}, r"\(20, K\) is needed"),
        ({"coords": grid_coords(), "scores": np.zeros((20, 0))}, {}, r"\(20, K\) is needed"),
        ({"coords": grid_coords(), "scores": np.full(20, b"x")}, {}, "numbers are needed"),
        ({"coords": grid_coords() + 0.5, "scores": np.zeros(20)}, {}, "no whole numbers"),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {"kind": "attn"},
            "unknown kind 'attn'; choose from",
        ),
        ({"coords": grid_coords(1, 1), "scores": np.zeros(1)}, {}, "pass patch_size_l0"),
        (
            {"coords": grid_coords(), "scores": np.zeros((20, 2))},
            {"names": ["a", "b", "c"]},
            r"2 columns but 3 names",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros((20, 2)), "attention_scores": np.zeros((20, 2))},
            {},
            "attention_scores have shape",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {"format": "mil-heatmaps scores", "format_version": 99},
            "version 99; this program reads up to 1",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {"prediction_classes": ["a", "b"], "prediction_logits": [1.0]},
            "2 classes, 0 probabilities and 1 logits",
        ),
        (
            {"coords": grid_coords(), "scores": np.zeros(20)},
            {
                "prediction_classes": ["a"], "prediction_logits": [1.0], "prediction_probabilities": [1.0],
                "prediction_task": "divination",
            },
            "prediction_task: unknown task 'divination'; choose from",
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_file(
    tmp_path: Path, datasets: dict[str, Any], attributes: dict[str, Any], message: str
) -> None:
    names = attributes.pop("names", None) if "names" in attributes else None
    path = write(tmp_path / "bad.h5", attributes, **datasets)
    if names:
        with h5py.File(path, "a") as file:
            file["scores"].attrs["names"] = names
    with pytest.raises(ScoreError, match=message) as caught:
        read_scores(path)
    assert "bad.h5" in str(caught.value)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"no\.h5: does not exist"):
        read_scores(tmp_path / "no.h5")
    write_scores(tmp_path / "s.h5", example())
    (tmp_path / "s.h5").write_bytes((tmp_path / "s.h5").read_bytes()[:-100])
    with pytest.raises(ScoreError, match="damaged or incomplete"):
        read_scores(tmp_path / "s.h5")


def test_scores_of_another_slide_are_refused(tmp_path: Path) -> None:
    write_scores(tmp_path / "s.h5", example())
    assert len(read_scores(tmp_path / "s.h5", slide_size_l0=(5000, 4000))) == 20
    with pytest.raises(ScoreError, match="another slide"):
        read_scores(tmp_path / "s.h5", slide_size_l0=(9000, 4000))
