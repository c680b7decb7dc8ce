"""What a file says of itself is used where nobody says otherwise: task, class names, settings; and told on request."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.cli.generate_heatmaps import main
from mil_heatmaps.config.config import load_config
from mil_heatmaps.scores.patch_scores import Prediction
from mil_heatmaps.viewer.layers import _prediction
from mil_heatmaps.visualization.visualizer import MILLabVisualizer
from mil_heatmaps.weights.stated import stated
from tests.helpers.features import grid_coords, numbers, write
from tests.helpers.public_models import D, E, Maker, relu
from tests.helpers.slides import make_single_level


def save(path: Path, outputs: int, **settings: Any) -> Path:
    """Write an ABMIL of this many outputs, with settings beside it."""
    maker = Maker()
    maker.plain("model.attention.0", "model.attention.2", E)(relu(maker.linear("model.encoder.0", D, E)(maker.x)))
    maker.linear("model.head", E, outputs)
    torch.save({"state_dict": maker.weights, "hyper_parameters": settings}, path)
    return path


def run(tmp_path: Path, checkpoint: Path, *more: str) -> str:
    """Run the command on a slide; return its table."""
    (tmp_path / "h5").mkdir(exist_ok=True)
    (tmp_path / "slides").mkdir(exist_ok=True)
    make_single_level(tmp_path / "slides" / "S1.tif")
    coords = grid_coords(5, 4, 128)
    write(tmp_path / "h5" / "S1.h5", features=numbers(20, D), coords=coords, attributes={"patch_size_level0": 128})
    flags = {"checkpoint": checkpoint, "h5_dir": tmp_path / "h5", "slide_dir": tmp_path / "slides",
             "output_dir": tmp_path / "out"}  # fmt: skip
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    arguments = [str(part) for flag, value in flags.items() for part in (f"--{flag}", value)]
    assert main([*arguments, "--no_segment", *more]) == 0
    return (tmp_path / "out" / "heatmap_results.csv").read_text()


@pytest.mark.parametrize(("task", "column"), [("regression", "predicted_output"), ("survival", "predicted_risk")])
def test_the_task_in_the_file_is_used_unless_the_user_names_one(task: str, column: str, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "m.ckpt", 1, task=task, categories=["no", "yes"])
    told = run(tmp_path, checkpoint).splitlines()[0].split(",")
    assert column in told
    assert "prediction" not in told
    assert load_config(tmp_path / "out" / "run.yaml").model_arguments.task == task
    assert MILLabVisualizer(checkpoint).task == task
    assert "prediction" in run(tmp_path, checkpoint, "--task", "classification").splitlines()[0].split(",")
    text = describe_checkpoint(checkpoint)
    assert f"{task}, as the file says" in text
    assert f"task: {task}  # as the file says" in text


def test_class_names_in_the_file_are_used_and_a_contradiction_is_an_error(tmp_path: Path, capsys: Any) -> None:
    checkpoint = save(tmp_path / "m.ckpt", 2, categories=["benign", "malignant"])
    table = run(tmp_path, checkpoint)
    assert "benign" in table or "malignant" in table
    assert "2: benign, malignant, as the file names them" in describe_checkpoint(checkpoint)
    assert 'label_dict: {"benign": 0, "malignant": 1}' in describe_checkpoint(checkpoint)
    assert "from file" not in describe_checkpoint(checkpoint)  # what keys tell is not told by settings
    assert '"a"' not in run(tmp_path, checkpoint, "--class_names", "a", "b")
    three = save(tmp_path / "three.ckpt", 3, categories=["benign", "malignant"])
    with pytest.raises(AssertionError):
        run(tmp_path, three)
    assert "3: benign, malignant, as the file names them: this contradicts 3 outputs" in describe_checkpoint(three)
    said = capsys.readouterr().err
    assert "names 2 classes (benign, malignant) but has 3 outputs: name them in" in said


def test_settings_are_flattened_and_ambiguous_ones_left_out() -> None:
    found = stated({
        "a": {"num_heads": 4, "lr": 0.1}, "b": {"lr": 0.2, "depth": np.int64(3)}, "topk": 5, "c": {"topk": 6},
        "params": {"model_kwargs": None}, "outcome_labels": {"1": "y", "0": "x"}, "task": "segmentation",
    })  # fmt: skip
    assert found.settings["num_heads"] == 4
    assert found.settings["depth"] == 3
    assert found.settings["topk"] == 5
    assert "lr" not in found.settings
    nested = {"hyper_parameters": {"n_heads": 4, "model_params": {"vit": {"n_heads": 8}}}}
    assert stated(nested).settings["n_heads"] == 4  # what stands further out
    assert (found.class_names, found.task) == (("x", "y"), None)
    assert stated({"outcome_labels": {"0": "x", "2": "y"}}).class_names is None


def test_a_report_tells_how_a_file_was_recognised_and_what_scores_cost(tmp_path: Path) -> None:
    text = describe_checkpoint(save(tmp_path / "m.ckpt", 2))
    for said in (
        "model       abmil_general", "encoder.{n}: embed", "attention.0: attention.first", "head: head",
        "assumed     embed_activation relu: what follows each layer", "keys        begin with 'model.'",
        "cost: none beside the prediction", "; cost: ",
    ):  # fmt: skip
        assert said in text
    whole = torch.load(tmp_path / "m.ckpt", weights_only=True)["state_dict"]
    whole["model.attention.0.weight"] = torch.zeros(3, E + 2)
    torch.save(whole, tmp_path / "odd.pt")
    text = describe_checkpoint(tmp_path / "odd.pt")
    assert "nearest  abmil_general" in text
    assert "roles    encoder.{n}: embed" in text
    assert "misfit   model.attention.0.weight has shape (3, 10), where (A, E) is needed with E 8" in text


def test_viewer_and_lists_are_told_of_chances_that_are_no_shares() -> None:
    logits, chances = np.array([1.0, -1.0], np.float32), np.array([0.73, 0.27], np.float32)
    own = Prediction(("a", "b"), chances, logits, independent=True)
    assert _prediction(own)["details"] == ["each class a chance of its own", "b 27.0%"]
    assert _prediction(own)["predicted"] == 0
    assert "details" not in _prediction(Prediction(("a", "b"), chances, logits))
    higher = Prediction(("a", "b"), np.array([0.2, 0.6], np.float32), logits, independent=True)
    assert higher.ranking == [1, 0]
    assert higher.summary == "b (p 0.600, each class a chance of its own)"


def test_a_setting_that_the_layout_has_no_place_for_is_not_taken_from_the_file(tmp_path: Path) -> None:
    plain = model_from_checkpoint(save(tmp_path / "m.ckpt", 2))
    told = model_from_checkpoint(save(tmp_path / "t.ckpt", 2, temperature=0.07, attention_gate=0.9))
    x = torch.randn(7, D)
    np.testing.assert_array_equal(told.explain(x).logits, plain.explain(x).logits)
    assert "temperature 1.0" in describe_checkpoint(tmp_path / "t.ckpt")


def test_settings_of_the_file_come_before_defaults_and_overrides_before_both(tmp_path: Path, caplog: Any) -> None:
    checkpoint = save(tmp_path / "m.ckpt", 2, embed_activation="gelu")
    assert model_from_checkpoint(checkpoint).embed.activation == "gelu"  # type: ignore[union-attr]
    assert "assumed" not in caplog.text
    assert model_from_checkpoint(checkpoint, embed_activation="tanh").embed.activation == "tanh"  # type: ignore[union-attr]
