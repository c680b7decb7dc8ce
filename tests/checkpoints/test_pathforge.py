"""PathForge's packages load by their state dict; the pickled object in them never runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.builder import create_model
from mil_heatmaps.checkpoints.load import load_checkpoint, model_from_checkpoint
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.models.torchmil_abmil import ABMILTorchmil
from mil_heatmaps.weights.pathforge_package import package_lines


class Runs:
    """An object whose pickle would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def package(tmp_path: Path, state: dict[str, torch.Tensor], **changes: Any) -> Path:
    path = tmp_path / "package.pt"
    held = {
        "format": "pathforge_model_package", "format_version": 1, "state_dict": state, "model": Runs(tmp_path / "ran"),
        "model_name": "abmil", "task": "classification", "input_dim": 32, "output_dim": 3, "config": {"lr": 1e-4},
        "inference_metadata": {"bag_id": "S1", "feature_extractor": "uni", "tile_px": 224, "tile_mpp": 0.5},
    }  # fmt: skip
    torch.save(held | changes, path)
    return path


def test_a_package_of_a_model_of_mil_labs_loads_and_nothing_in_it_runs(tmp_path: Path) -> None:
    model = create_model("abmil.base.32.none", num_classes=3)
    path = package(tmp_path, model.state_dict())
    loaded = model_from_checkpoint(path)
    assert loaded.name == "abmil"
    assert not (tmp_path / "ran").exists()
    x = torch.randn(9, 32)
    np.testing.assert_array_equal(loaded.explain(x).logits, model.eval().explain(x).logits)
    told = package_lines(load_checkpoint(path).said.settings)
    lines = describe_checkpoint(path).splitlines()
    assert any(line.startswith("package") and "model abmil" in line for line in lines)
    assert told == ["PathForge's, model abmil, features of uni, tiles of 224 px, at 0.5 µm per pixel, "
                    "exported with the bag S1"]  # fmt: skip


def test_a_package_of_a_model_of_torchmils_loads_by_its_layers(tmp_path: Path) -> None:
    state = {
        "pool.fc1.module.weight": torch.randn(5, 32), "pool.fc1.module.bias": torch.randn(5),
        "pool.fc2.weight": torch.randn(1, 5), "classifier.module.weight": torch.randn(1, 32),
        "classifier.module.bias": torch.randn(1),
    }  # fmt: skip
    loaded = model_from_checkpoint(package(tmp_path, {f"model.{k}": v for k, v in state.items()}, output_dim=1))
    assert isinstance(loaded, ABMILTorchmil)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_dim": 64}, r"says input_dim 64, and its tensors have 32.*export it again"),
        ({"output_dim": 2}, r"says output_dim 2, and its tensors have 3"),
        ({"format_version": 2}, r"format_version 2, and version 1 is read: save its state_dict alone"),
    ],
)
def test_a_package_that_contradicts_itself_or_is_of_another_version_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    state = create_model("abmil.base.32.none", num_classes=3).state_dict()
    with pytest.raises(CheckpointError, match=words):
        model_from_checkpoint(package(tmp_path, state, **changes))


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("mambamil", {"mixer.A_log": (4, 4), "mixer.dt_proj.weight": (4, 4)}, "MambaMIL.*model_class"),
        ("s4mil", {"s4_block.kernel.log_dt": (4,), "s4_block.D": (2, 4)}, "S4MIL.*model_class"),
        ("homegrown", {"a.weight": (4, 4), "b.weight": (2, 4)}, "model_class"),
    ],
)
def test_packages_of_models_that_are_not_run_are_refused_by_name(
    tmp_path: Path, name: str, state: dict[str, tuple[int, ...]], words: str
) -> None:
    tensors = {key: torch.zeros(shape) for key, shape in state.items()}
    with pytest.raises(CheckpointError, match=f"is a PathForge package of the model '{name}' and .*{words}"):
        model_from_checkpoint(package(tmp_path, tensors, model_name=name))
