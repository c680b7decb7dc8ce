"""Checkpoints that are refused: nothing in a file is run, nothing is left to chance, and the error says what to do."""

import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mil_heatmaps.checkpoints.builder import create_clam, create_model
from mil_heatmaps.checkpoints.load import load_checkpoint, model_from_checkpoint
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.errors import CheckpointError, HeatmapError, ModelError
from mil_heatmaps.models.abmil import ABMIL
from tests.helpers.checkpoints import bare, renamed, small_abmil, zeros


@pytest.fixture
def model() -> ABMIL:
    return small_abmil()


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["BOMB_TARGET"],)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_a_pickle_bomb_does_not_go_off(
    how: str, model: ABMIL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, path = tmp_path / "went_off", tmp_path / "bomb.pt"
    monkeypatch.setenv("BOMB_TARGET", str(target))
    content = {"state_dict": model.state_dict(), "extra": Bomb()}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    if how == "pickle":  # not a file of torch.save
        with pytest.raises(CheckpointError, match=r"bomb\.pt"):
            load_checkpoint(path)
    else:
        assert load_checkpoint(path).tensors.keys() == model.state_dict().keys()
    assert not target.exists()


def test_a_pickled_module_is_refused_with_the_way_out(model: ABMIL, tmp_path: Path) -> None:
    torch.save(model, tmp_path / "whole.pt")
    said = r"mil_heatmaps\.models\.abmil\.ABMIL.*could run any code.*state_dict\(\)"
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(tmp_path / "whole.pt")


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, files of it are not gone
def test_a_torchscript_program_is_refused_with_the_way_out(tmp_path: Path) -> None:
    scripted: Any = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(scripted, tmp_path / "scripted.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(CheckpointError, match="TorchScript program"):
        load_checkpoint(tmp_path / "scripted.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n" + b"0" * 40, "HDF5 file"),
        (b"hello, I am a text file", "not a PyTorch or safetensors checkpoint"),
        (b"PK\x03\x04 torn", "damaged, truncated or foreign"),
    ],
)
def test_a_file_that_is_no_checkpoint_says_what_it_is(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "file.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_says_so(suffix: str, model: ABMIL, tmp_path: Path) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), whole)
    else:
        save_file(model.state_dict(), whole)
    data = whole.read_bytes()
    for kept in (len(data) - 1, len(data) // 2, 100, 9):
        (tmp_path / f"torn{suffix}").write_bytes(data[:kept])
        with pytest.raises(CheckpointError, match="copy or download it again"):
            load_checkpoint(tmp_path / f"torn{suffix}")


def test_a_missing_file_and_unclear_folders_are_refused(model: ABMIL, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nothing.pt")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_checkpoint(tmp_path)
    for fold in range(2):
        torch.save(model.state_dict(), tmp_path / f"s_{fold}_checkpoint.pt")
    with pytest.raises(CheckpointError, match=r"several checkpoints \(s_0_checkpoint.pt, s_1_checkpoint.pt\)"):
        load_checkpoint(tmp_path)


def test_several_models_in_one_file_are_not_guessed_between(model: ABMIL, tmp_path: Path) -> None:
    path = tmp_path / "folds.pt"
    torch.save({"fold_0": model.state_dict(), "fold_1": zeros(model.state_dict())}, path)
    with pytest.raises(CheckpointError, match=r"2 models \(fold_0, fold_1\)"):
        model_from_checkpoint(path)
    torch.save(renamed(bare(model), "student.") | renamed(bare(model), "teacher."), path)
    with pytest.raises(CheckpointError, match=r"'student.', 'teacher.'"):
        model_from_checkpoint(path)


def test_no_tensors_says_what_there_is(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "best": 0.5}, tmp_path / "log.pt")
    with pytest.raises(CheckpointError, match=r"holds no tensors \(its keys: epoch, best"):
        load_checkpoint(tmp_path / "log.pt")


def test_a_file_that_refers_to_itself_ends(tmp_path: Path) -> None:
    loop: dict[str, Any] = {"a": {}}
    loop["a"]["b"] = loop
    torch.save(loop, tmp_path / "loop.pt")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_checkpoint(tmp_path / "loop.pt")


def test_missing_unexpected_and_misshapen_tensors_are_listed(model: ABMIL, tmp_path: Path) -> None:
    tensors = model.state_dict()
    del tensors["model.classifier.bias"]
    tensors["model.surprise"] = torch.zeros(2)
    tensors["model.global_attn.attention_b.0.weight"] = torch.zeros(5, 8)
    torch.save(tensors, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError) as raised:
        model_from_checkpoint(tmp_path / "odd.pt")
    message = str(raised.value)
    assert "missing: classifier.bias" in message
    assert "unexpected: surprise" in message
    assert "global_attn.attention_b.0.weight (5, 8) instead of (6, 8)" in message


def test_a_foreign_model_is_named_as_unknown_and_can_be_inspected(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(4, 2).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(CheckpointError, match=r"is none of abmil.*weight, bias.*model_class"):
        model_from_checkpoint(tmp_path / "linear.pt")
    text = describe_checkpoint(tmp_path / "linear.pt")
    assert "weight (2, 4) float32" in text


def test_contradictions_name_both_sides(model: ABMIL, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(model.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"m.pt has 3 classes, num_classes \(n_classes\) says 6"):
        create_model("abmil.base.12.none", 6, path)
    with pytest.raises(CheckpointError, match=r"features 12 wide, uni_v2 .* gives 1536"):
        create_model("abmil.base.uni_v2.none", 3, path)
    with pytest.raises(CheckpointError, match="embed_dim 8, not 16"):
        create_model("abmil.base.12.none", 3, path, embed_dim=16)
    with pytest.raises(CheckpointError, match="is not a dsmil, its tensors are those of abmil"):
        create_model("dsmil.base.12.none", 3, path)
    with pytest.raises(ModelError, match="no setting 'attention_dim', did you mean 'attn_dim'"):
        create_model("abmil.base.12.none", 3, path, attention_dim=6)


def test_damaged_bytes_end_in_a_clear_error_or_in_the_model(model: ABMIL, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "m.pt")
    data, rng = (tmp_path / "m.pt").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):  # any other kind of error fails the test
        broken = bytearray(data)
        for place in rng.integers(0, 1500, 4):
            broken[place] = rng.integers(0, 256)
        (tmp_path / "b.pt").write_bytes(broken)
        with suppress(HeatmapError):
            model_from_checkpoint(tmp_path / "b.pt")
            refused -= 1
        refused += 1
    assert refused > 10


def test_an_archive_that_grows_when_unpacked_is_refused(model: ABMIL, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(CheckpointError, match=r"would unpack to 50,000,\d+ bytes"):
        load_checkpoint(tmp_path / "bomb.pt")


def test_a_head_beside_the_model_is_not_passed_over(model: ABMIL, tmp_path: Path) -> None:
    tensors = renamed(bare(model), "backbone.") | {"head.weight": torch.ones(2, 8), "head.bias": torch.ones(2)}
    torch.save(tensors, tmp_path / "tuned.pt")
    with pytest.raises(CheckpointError, match=r"begin with 'backbone\.', it holds head\.weight, which may change"):
        model_from_checkpoint(tmp_path / "tuned.pt")
    assert "does not load" in describe_checkpoint(tmp_path / "tuned.pt")


@pytest.mark.parametrize("missing", ["classifiers.weight", "attention_net.0.weight"])
def test_a_named_model_lists_the_keys_its_checkpoint_lacks(tmp_path: Path, missing: str) -> None:
    weights = create_clam("clam_sb", "small", 2, 16).state_dict()
    del weights[missing]
    torch.save(weights, tmp_path / "clam.pt")
    with pytest.raises(CheckpointError, match=f"missing {missing}"):
        create_clam("clam_sb", "small", 2, 16, tmp_path / "clam.pt")
