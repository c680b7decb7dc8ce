"""One answer to which device is there, for models, encoders and the Python API."""

from pathlib import Path

import pytest
import torch

from mil_heatmaps.config.config import make_config
from mil_heatmaps.devices import choose_device
from mil_heatmaps.encoders.create import create_encoder
from mil_heatmaps.errors import ModelError
from mil_heatmaps.stages.load_model import load_model
from mil_heatmaps.visualization.visualizer import MILLabVisualizer
from tests.helpers.small_models import small_model


@pytest.mark.parametrize(("gpus", "auto"), [(0, "cpu"), (2, "cuda")])
def test_auto_takes_a_gpu_where_there_is_one(gpus: int, auto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert choose_device("auto") == auto
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == "cpu"


def test_gpus_are_numbered_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(name) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    with pytest.raises(ModelError, match="no device 'cuda:2': there are 2 CUDA devices; use auto or cpu"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", ""])
def test_what_is_no_device_lists_the_choices(name: str) -> None:
    with pytest.raises(ModelError, match=f"no device '{name}': choose from auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_a_gpu_that_is_not_there_reads_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    model = small_model("abmil")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    values = {"data_arguments": {"data_dir": ".", "h5_dir": "."}, "model_arguments": {"ckpt_path": "m.pt"}}
    config = make_config({**values, "exp_arguments": {"n_classes": 3}}, check_files=False)
    said = []
    for ask in (
        lambda: load_model(config, tmp_path / "m.pt", "cuda:1"),
        lambda: MILLabVisualizer(model=model, device="cuda:1"),
        lambda: create_encoder("tests.helpers.stub_encoder:create", device="cuda:1"),
    ):
        with pytest.raises(ModelError, match=r"no device 'cuda:1': torch .* sees no CUDA device") as caught:
            ask()
        said.append(str(caught.value))
    assert len(set(said)) == 1
