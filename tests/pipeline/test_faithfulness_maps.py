"""Which maps of a run are measured for faithfulness, and what stands there of those that cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.features.read import read_features
from mil_heatmaps.pipeline.runner import Runner
from tests.helpers.cohort import PATCH, SmallCohort, grid_coords, write_abmil, write_features
from tests.helpers.faithfulness import cohort_of, document, run, small_abmil
from tests.helpers.small_models import small_model

pytestmark = pytest.mark.usefixtures("no_curves")


def test_a_checkpoint_without_a_classifier_is_not_measured(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    write_abmil(cohort.checkpoint, classes=0)
    del cohort.config["data_arguments"]["label_dict"]
    cohort.rows[0].pop("label")
    run(cohort)
    (path,) = cohort.raw.rglob("s1_faithfulness.json")
    entry = json.loads(path.read_text())["maps"]["attention"]
    assert (entry["status"], entry["foot"]) == (
        "not measured", "Faithfulness not measured: the checkpoint has no classifier.",
    )  # fmt: skip
    assert "srg" not in entry


@pytest.mark.parametrize(
    ("values", "status"),
    [(np.ones(48), "constant map"), (np.where(np.arange(48) < 30, np.nan, np.arange(48.0)), "too few patches")],
)
def test_maps_that_cannot_be_measured_have_a_status_and_no_number(
    values: np.typing.NDArray[np.float64], status: str, tmp_path: Path
) -> None:
    cohort = own_scores(tmp_path, values)
    run(cohort)
    entry = document(cohort)["maps"]["mine"]
    assert (entry["status"], entry["verdict"], "srg" in entry) == (status, status, False)
    assert cohort.process_list()["s1"]["faithfulness"] == status


def own_scores(root: Path, values: np.typing.NDArray[np.float64], coords: Any = None, **model: Any) -> SmallCohort:
    """Return a cohort whose scores are brought in a table; its model measures them."""
    cohort = cohort_of(root, data_arguments={"scores_dir": str(root / "own")}, model_arguments=model)
    corners = grid_coords() if coords is None else coords
    (root / "own").mkdir()
    lines = [f"{x},{y},{'' if np.isnan(v) else v}" for (x, y), v in zip(corners.tolist(), values.tolist(), strict=True)]
    (root / "own" / "s1.csv").write_text("\n".join(["x,y,mine", *lines]) + "\n")
    cohort.config["data_arguments"]["patch_size_level0"] = PATCH
    return cohort


def test_scores_from_elsewhere_are_measured_by_the_model_in_the_bags_own_order(tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(48)[:40]  # eight patches have no score
    values = np.random.default_rng(4).normal(size=48)
    cohort = own_scores(tmp_path, values[order], grid_coords()[order])
    run(cohort)
    numbers = np.full(48, np.nan)
    numbers[order] = values[order].astype(np.float32)
    model = Runner(load_config(cohort.write())).model.load("cpu")
    expected = model.faithfulness(read_features(cohort.features / "s1.h5"), {"mine": numbers}, ["a", "b"]).as_dict()
    found = document(cohort)
    assert found["maps"]["mine"]["srg"] == expected["maps"]["mine"]["srg"]
    assert found["maps"]["mine"]["scored_patches"] == 40
    assert found["maps"]["mine"]["drawn"]
    assert found["maps"]["attention"]["status"] == "measured"  # the model's usual one stands beside it


def test_scores_of_another_slide_are_told_apart_and_never_measured(tmp_path: Path) -> None:
    cohort = own_scores(tmp_path, np.arange(48.0), grid_coords() + 64)
    run(cohort)
    entry = document(cohort)["maps"]["mine"]
    assert entry["status"] == "failed"
    assert "scores of another slide, or of other patches" in entry["error"]


def test_scores_without_a_model_are_not_measured(tmp_path: Path) -> None:
    cohort = own_scores(tmp_path, np.arange(48.0))
    del cohort.config["model_arguments"]["ckpt_path"]
    run(cohort)
    assert document(cohort)["maps"]["mine"]["foot"] == "Faithfulness not measured: there is no prediction."
    assert document(cohort)["checkpoint_sha256"] is None


def test_columns_that_are_no_classes_are_maps_of_their_own(tmp_path: Path) -> None:
    cohort = own_scores(tmp_path, np.arange(48.0))
    path = tmp_path / "own" / "s1.csv"
    rows = [f"{line},{number % 7}" for number, line in enumerate(path.read_text().splitlines()[1:])]
    path.write_text("\n".join(["x,y,mine,other", *rows]) + "\n")
    run(cohort)
    found = document(cohort)["maps"]
    assert list(found) == ["mine", "attention", "other"]
    assert [entry["drawn"] for entry in found.values()] == [True, False, False]


def test_a_measurement_that_would_take_too_long_is_not_begun(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, faithfulness_arguments={"level": "quick", "max_minutes": 1e-7})
    torch.save(small_model("transmil", in_dim=16, num_classes=2).state_dict(), cohort.checkpoint)
    cohort.config["model_arguments"]["model_name"] = "transmil.base.uni_v2.none"
    cohort.config["model_arguments"]["overrides"] = {"in_dim": 16, "embed_dim": 16}
    run(cohort)
    entry = document(cohort)["maps"][next(iter(document(cohort)["maps"]))]
    assert entry["status"] == "not measured"
    assert entry["foot"].endswith("here; --faithfulness full does it.")


def test_the_class_that_is_drawn_by_name_is_the_one_measured(tmp_path: Path) -> None:
    cohort = cohort_of(
        tmp_path, heatmap_arguments={"score": "class_contribution", "classes": "a"},
        faithfulness_arguments={"level": "quick", "scores": ["leave_one_out"]},
    )  # fmt: skip
    run(cohort)
    found = document(cohort)
    assert found["target"] == {"index": 0, "name": "a"}
    assert list(found["maps"]) == ["class_contribution", "leave_one_out"]
    assert found["maps"]["leave_one_out"]["verdict"] == "better than random"


def test_an_unknown_map_is_refused_before_any_work(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, faithfulness_arguments={"scores": ["gradcam"]})
    with pytest.raises(ConfigError, match=r"faithfulness_arguments\.scores: .* has no score 'gradcam'"):
        run(cohort)


def test_features_of_fewer_patches_than_scores_are_told(tmp_path: Path) -> None:
    cohort = own_scores(tmp_path, np.arange(48.0))
    write_features(cohort.features / "s1.h5", 1, coords=grid_coords()[:45])
    run(cohort)
    assert "3 of 48 patches with a score have no features and were not measured" in cohort.process_list()["s1"]["notes"]
    assert document(cohort)["maps"]["mine"]["scored_patches"] == 45
    assert replace(Runner(load_config(cohort.write())).settings).model.external


def test_explanations_of_the_run_are_measured_with_what_must_be_said_beside_them(tmp_path: Path) -> None:
    cohort = cohort_of(
        tmp_path,
        explanation_arguments={
            "scores": ["mask_regression", "leave_one_out", "class_contribution"], "groups": 2, "masks": 4, "ridge": 0.0
        },
        heatmap_arguments={"score": "leave_one_out"},
    )  # fmt: skip
    run(cohort)
    maps = document(cohort)["maps"]
    assert list(maps) == ["leave_one_out", "attention", "mask_regression", "class_contribution"]
    assert maps["leave_one_out"]["drawn"]
    assert {entry["status"] for entry in maps.values()} == {"measured"}
    with h5py.File(cohort.raw / "a" / "s1" / "s1_blockmap.h5") as file:
        told = json.loads(file["extra/mask_regression"].attrs["checks"])
    said = f"A sum over patches explains only {100 * max(told['r2'][0], 0):.0f} % of the model here."
    assert (said in maps["mask_regression"]["foot"]) == (told["r2"][0] < 0.5)


def test_an_explanation_kept_for_another_class_is_made_for_the_one_measured(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, explanation_arguments={"scores": ["leave_one_out"], "targets": ["a"]})
    run(cohort)
    found = document(cohort)
    model = small_abmil(cohort)
    bag = read_features(cohort.features / "s1.h5")
    expected = model.faithfulness(bag, ["leave_one_out"], ["a", "b"]).as_dict()
    assert found["target"]["name"] == "b"
    assert found["maps"]["leave_one_out"]["srg"] == expected["maps"]["leave_one_out"]["srg"]
