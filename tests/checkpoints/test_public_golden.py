"""Checkpoints of public repositories, as their users have them, give what the reference code gave."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.checkpoints.load import load_checkpoint, model_from_checkpoint
from mil_heatmaps.cli.generate_heatmaps import main
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.public_golden import (
    FOLDER,
    assert_near,
    assert_public_golden,
    needs_public_golden,
    public_manifest,
)  # fmt: skip

pytestmark = needs_public_golden

FAMILIES = {
    "attention_deep_mil": "abmil_general", "acmil_abmil": "abmil_general", "abmil_branches": "abmil_general",
    "slideflow_attention_mil": "abmil_general", "acmil_ga": "acmil_ga", "acmil_mha": "acmil_mha",
    "attrimil": "attrimil", "additive_mil": "additive_mil", "additive_mil_relu": "additive_mil",
    "dsmil_original": "dsmil_original", "dsmil_2021": "dsmil_original", "dtfd_original": "dtfd_original",
}  # fmt: skip
THROUGH_THE_COMMAND = ("acmil_ga", "dsmil_original", "slideflow_attention_mil")


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_and_every_score_are_the_references(name: str) -> None:
    assert assert_public_golden(name).name == FAMILIES[name]


@pytest.mark.parametrize("name", THROUGH_THE_COMMAND)
def test_the_command_line_draws_them(name: str, tmp_path: Path, capsys: Any) -> None:
    case = public_manifest()[name]
    for part, file in (("h5", FOLDER / case["features"]), ("slides", FOLDER.parent / "features/slides/a/S1.svs")):
        (tmp_path / part).mkdir()
        shutil.copy(file, tmp_path / part / f"S1{file.suffix}")
    flags = {"checkpoint": FOLDER / case["checkpoint"], "h5_dir": tmp_path / "h5", "slide_dir": tmp_path / "slides",
             "output_dir": tmp_path / "out"}  # fmt: skip
    assert main([*(str(part) for flag, value in flags.items() for part in (f"--{flag}", value)), "--no_segment"]) == 0
    scores = read_scores(next((tmp_path / "out").rglob("*_blockmap.h5")))
    with np.load(FOLDER / case["expected"]) as expected:
        values = expected[f"score_{case['default_score']}"]
        assert_near(scores.scores.values, values.reshape(len(values), -1), case)
        logits = expected["logits"].astype(float)
    assert scores.prediction is not None
    assert_near(scores.prediction.logits, logits, case)
    own, shifted = 1 / (1 + np.exp(-logits)), np.exp(logits - logits.max())
    chances = own if case["probabilities"] == "sigmoid" else shifted / shifted.sum()
    np.testing.assert_allclose(scores.prediction.probabilities, chances, atol=1e-4)
    assert scores.prediction.independent == (case["probabilities"] == "sigmoid")
    assert (tmp_path / "out" / "S1_heatmap.png").is_file()
    table = (tmp_path / "out" / "heatmap_results.csv").read_text()
    assert ("LUAD" in table) == (name == "slideflow_attention_mil")


@pytest.mark.parametrize("name", ["refused_pixels", "refused_layer_left_over"])
def test_what_cannot_be_run_is_refused_in_words(name: str) -> None:
    case = public_manifest()[name]
    with pytest.raises(CheckpointError) as caught:
        model_from_checkpoint(FOLDER / case["checkpoint"])
    assert any(word in str(caught.value) for word in case["message_must_contain_one_of"])


def test_settings_are_read_from_objects_and_from_files_beside() -> None:
    struct = load_checkpoint(FOLDER / "acmil_ga" / "checkpoint-best.pth").said
    assert (struct.settings["n_token"], struct.settings["arch"]) == (5, "ga")
    stamp = load_checkpoint(FOLDER / "stamp_vit" / "model.ckpt").said
    assert (stamp.settings["n_heads"], stamp.settings["stamp_version"]) == (4, "2.5.0")
    assert stamp.task == "classification"
    assert stamp.class_names is not None
    assert len(stamp.class_names) == 2
    assert load_checkpoint(FOLDER / "slideflow_attention_mil").said.class_names == ("LUAD", "LUSC")
