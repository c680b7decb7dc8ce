"""What --inspect_checkpoint prints: what is known, what is not, and a config that can be copied."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mil_heatmaps.checkpoints.builder import create_model
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.cli.create_heatmaps import main as create_heatmaps
from mil_heatmaps.cli.generate_heatmaps import main as generate_heatmaps
from mil_heatmaps.config.config import make_config
from mil_heatmaps.stages.load_model import load_model


def printed_config(text: str) -> dict[str, Any]:
    """Return the lines named config as the YAML they are."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("config"))
    start = lines[first].index("model_arguments")
    read: dict[str, Any] = yaml.safe_load("\n".join(line[start:] for line in lines[first:]))
    return read


def save(tmp_path: Path, name: str, **settings: Any) -> Path:
    torch.save(create_model(f"{name}.base.12.none", **settings).state_dict(), tmp_path / "m.pt")
    return tmp_path / "m.pt"


@pytest.mark.parametrize(
    ("name", "classes"), [("abmil", 3), ("transformer", 2), ("wikg", 1), ("dftd", 2), ("dsmil", 12)]
)
def test_the_config_it_prints_loads_the_model(name: str, classes: int, tmp_path: Path) -> None:
    path = save(tmp_path, name, num_classes=classes)
    read = printed_config(describe_checkpoint(path))
    if classes > 10:
        assert "class_9: 9, ..." in describe_checkpoint(path)
        return
    read["data_arguments"] |= {"data_dir": ".", "h5_dir": "."}
    config = make_config(read, check_files=False)
    model = load_model(config, Path(read["model_arguments"]["ckpt_path"]), "cpu")
    assert (model.name, model.num_classes) == (name, classes)
    assert len(config.class_names or ()) == max(classes, 2)


def test_what_no_tensor_tells_and_what_cannot_be_given_are_named(tmp_path: Path) -> None:
    text = describe_checkpoint(save(tmp_path, "transformer", num_classes=2))
    assert "num_heads 8: heads of every block, which no tensor tells" in text
    assert re.search(r"no score +class_contribution: blocks and LayerNorm are not linear", text)
    assert printed_config(text)["model_arguments"]["overrides"] == {"num_heads": 8}


def test_settings_that_the_file_tells_are_told_as_its_own(tmp_path: Path) -> None:
    made = create_model("transformer.base.12.none", num_heads=4)
    torch.save({"state_dict": made.state_dict(), "hyper_parameters": {"num_heads": 4}}, tmp_path / "l.ckpt")
    text = describe_checkpoint(tmp_path / "l.ckpt")
    assert re.search(r"from file +num_heads: told by l\.ckpt, not by the tensors", text)
    assert "assumed" not in text


def test_an_unknown_model_shows_the_way_to_bring_it(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.zeros(2, 3)}, tmp_path / "own.pt")
    read = printed_config(describe_checkpoint(tmp_path / "own.pt"))
    assert read["model_arguments"] == {"model_class": "file.py:Class", "ckpt_path": str(tmp_path / "own.pt")}


def test_both_faces_print_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, "abmil")
    texts = []
    for main in (create_heatmaps, generate_heatmaps):
        assert main(["--inspect_checkpoint", str(path)]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].rstrip("\n") == describe_checkpoint(path)
