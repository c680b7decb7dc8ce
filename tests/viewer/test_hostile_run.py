"""A run's folder from elsewhere: whatever its config and its records say, the viewer lists the slide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mil_heatmaps.viewer.run_folder import catalog_of_runs
from tests.helpers.viewer import write_score_file

ODD: list[Any] = [
    5, [5], {"a": 5}, {"a": [None]}, "x" * 5000, "a\0b", 10**400, float("nan"), float("inf"), [[]], True, {},
]  # fmt: skip
KEYS = {
    "exp_arguments": ("save_exp_code", "raw_save_dir", "production_save_dir", "results_dir", "layout"),
    "data_arguments": ("data_dir", "h5_dir", "coords_dir", "scores_dir", "roi_dir", "slide_ext", "label_dict", "bag",
                       "data_dir_key", "slide_mpp", "process_list"),
    "patching_arguments": ("overlap", "grid"),
    "encoder_arguments": ("model_name",),
    "heatmap_arguments": ("alpha", "threshold", "normalize", "vmin", "vmax", "cmap", "cmap_signed", "center", "smooth",
                          "use_roi", "scale", "calc_heatmap", "segment", "compat", "evidence"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a" / "s1").mkdir(parents=True)
    write_score_file(tmp_path / "a" / "s1" / "s1_blockmap.h5", (256, 192), patch=64)
    return tmp_path


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_odd_values_in_a_config_are_as_if_they_were_not_there(folder: Path, value: Any) -> None:
    config = {name: dict.fromkeys(keys, value) for name, keys in KEYS.items()}
    config["heatmap_arguments"]["use_roi"] = True
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (entry,) = catalog_of_runs([folder]).slides
    assert (entry.slide_id, len(entry.scores)) == ("s1", 1)


@pytest.mark.parametrize("value", [5, "x", [1], {"a": "b"}, float("inf"), None], ids=range(6))
def test_an_odd_record_counts_as_none(folder: Path, value: Any) -> None:
    stage = {"inputs": value, "fingerprint": value, "outputs": {}, "seconds": value, "notes": [value]}
    note = {"code": "c", "words": "w", "counts": {"n": value}}
    for told in (
        value, {"status": value, "stages": value}, {"status": "processed", "failed_stage": value, "error": value,
        "seconds": value, "summary": value, "files": value, "stages": {"attention": stage}},
        {"status": "processed", "failed_stage": None, "error": None, "seconds": 1.0, "summary": {},
         "stages": {"attention": {**stage, "seconds": 1.0, "notes": [note]}}},
    ):  # fmt: skip
        (folder / "a" / "s1" / "record.json").write_text(json.dumps(told))
        assert [entry.slide_id for entry in catalog_of_runs([folder]).slides] == ["s1"]
