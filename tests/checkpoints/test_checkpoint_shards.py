"""Models cut into several files, as Hugging Face saves large ones; settings stored beside weights; odd weights."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mil_heatmaps.checkpoints.builder import create_model
from mil_heatmaps.checkpoints.load import load_checkpoint, model_from_checkpoint
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.config.config import make_config
from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.stages.model_source import ModelSource

X = np.random.default_rng(5).normal(size=(9, 12)).astype(np.float32)


@pytest.fixture
def model() -> MILModel:
    torch.manual_seed(0)
    return create_model("transformer.base.12.none", num_classes=3, embed_dim=16, num_heads=4, encoder_mlp_dim=8)


def write_shards(folder: Path, model: MILModel, kind: str = "safetensors", config: Any = None) -> Path:
    """Write the model in two files, with the index and the config.json of Hugging Face; return the index."""
    folder.mkdir(exist_ok=True)
    stem = "model" if kind == "safetensors" else "pytorch_model"
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    keys, where = list(tensors), {}
    for number, part in enumerate((keys[:5], keys[5:]), 1):
        name = f"{stem}-0000{number}-of-00002.{kind}"
        content = {key: tensors[key] for key in part}
        if kind == "safetensors":
            save_file(content, folder / name, metadata={"format": "pt"})
        else:
            torch.save(content, folder / name)
        where |= dict.fromkeys(part, name)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    settings = {"model_type": "transformer", "num_heads": 4} if config is None else config
    (folder / "config.json").write_text(json.dumps(settings))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_model_in_several_files_is_one_model(kind: str, model: MILModel, tmp_path: Path) -> None:
    index = write_shards(tmp_path, model, kind)
    for path in (tmp_path, index):
        loaded = model_from_checkpoint(path)
        np.testing.assert_array_equal(loaded.explain(X).logits, model.explain(X).logits)
    text = describe_checkpoint(tmp_path)
    assert "in 2 files" in text
    assert "num_heads 4" in text


def source_of(checkpoint: Path) -> ModelSource:
    values = {"data_arguments": {"data_dir": ".", "h5_dir": "."}, "model_arguments": {"ckpt_path": "m"}}
    values["exp_arguments"] = {"n_classes": 3}  # type: ignore[dict-item]
    return ModelSource(make_config(values, check_files=False), checkpoint)


def test_a_change_in_any_file_changes_what_the_model_is(model: MILModel, tmp_path: Path) -> None:
    index = write_shards(tmp_path, model)
    before = source_of(tmp_path).identity
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    write_shards(tmp_path, model)
    after = source_of(tmp_path).identity
    assert after == {**before, "checkpoint_sha256": after["checkpoint_sha256"]}
    assert after["checkpoint_sha256"] != before["checkpoint_sha256"]
    (tmp_path / "config.json").write_text('{"num_heads": 8}')
    assert source_of(tmp_path).identity["checkpoint_config_sha256"] != before["checkpoint_config_sha256"]
    assert index.is_file()


def test_inspecting_a_checkpoint_names_the_sha256_that_records_and_score_files_hold(
    model: MILModel, tmp_path: Path
) -> None:
    files = [write_shards(tmp_path, model), *sorted(tmp_path.glob("model-*.safetensors"))]
    told = json.dumps(
        {"files": [f"{file.name}:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]},
        separators=(",", ":"),
    )
    expected = hashlib.sha256(told.encode()).hexdigest()  # as in the records of earlier runs
    assert load_checkpoint(tmp_path).sha256 == source_of(tmp_path).checkpoint_sha256 == expected
    assert re.search(rf"SHA-256 +{expected}", describe_checkpoint(tmp_path))
    torch.save(model.state_dict(), tmp_path / "one.pt")
    expected = hashlib.sha256((tmp_path / "one.pt").read_bytes()).hexdigest()
    assert source_of(tmp_path / "one.pt").checkpoint_sha256 == expected
    assert re.search(rf"SHA-256 +{expected}", describe_checkpoint(tmp_path / "one.pt"))


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "sub/part.safetensors", "..", "a\\b", "", "m" * 5000], ids=len
)
def test_an_index_cannot_name_files_elsewhere(name: str, model: MILModel, tmp_path: Path) -> None:
    index = write_shards(tmp_path / "m", model)
    save_file(dict(model.state_dict()), tmp_path / "secret.safetensors")
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], name)
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not a file in its own folder: not read"):
        load_checkpoint(tmp_path / "m")


def test_an_index_that_does_not_agree_with_its_files_is_refused(model: MILModel, tmp_path: Path) -> None:
    index = write_shards(tmp_path, model)
    content = json.loads(index.read_text())
    first = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps({"weight_map": content["weight_map"] | {"model.extra": first}}))
    with pytest.raises(CheckpointError, match=r"00001-of-00002.safetensors lacks model.extra, which model.safetensors"):
        load_checkpoint(tmp_path)
    for wrong in ({}, {"weight_map": []}, {"weight_map": {"a": 1}}, [], {"weight_map": {}}):
        index.write_text(json.dumps(wrong))
        with pytest.raises(CheckpointError, match="is not an index of weights: it needs a weight_map"):
            load_checkpoint(tmp_path)
    index.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"index.json is not JSON that can be read"):
        load_checkpoint(tmp_path)
    index.write_text(json.dumps(content))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"names model-00002-of-00002\.safetensors, not there"):
        load_checkpoint(tmp_path)


SETTINGS = [
    ("8", r"num_heads must be a whole number up to 65,536, got '8' \(str\)"),
    (True, "num_heads must be a whole number"),
    ([8], "num_heads must be a whole number"),
    ({"a": 1}, "num_heads must be a whole number"),
    (2.5, "num_heads must be a whole number"),
    (float("inf"), "num_heads must be a whole number"),
    (-4, "num_heads must be a whole number"),
    (10**12, "num_heads must be a whole number"),
    ("x" * 10_000, r"got '" + "x" * 59 + "…"),
    (0, "multiple of num_heads 0"),
    (3, "multiple of num_heads 3"),
]


@pytest.mark.parametrize(("value", "message"), SETTINGS)
def test_a_stored_setting_that_cannot_be_names_file_and_key(
    value: Any, message: str, model: MILModel, tmp_path: Path
) -> None:
    write_shards(tmp_path, model, config={"num_heads": value})
    with pytest.raises(CheckpointError, match=message) as caught:
        model_from_checkpoint(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "num_heads" in describe_checkpoint(tmp_path)
    assert model_from_checkpoint(tmp_path, num_heads=4).num_classes == 3  # the way out that the message names


@pytest.mark.parametrize("place", ["hyper_parameters", "config", "args"])
def test_settings_inside_a_checkpoint_are_checked_alike(place: str, model: MILModel, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": model.state_dict(), place: {"model": {"num_heads": "many"}}}, path)
    with pytest.raises(CheckpointError, match=r"its setting num_heads .*got 'many' \(str\); correct it there"):
        model_from_checkpoint(path)
    torch.save({"state_dict": model.state_dict(), place: {"model": {"num_heads": 4.0}}}, path)
    np.testing.assert_array_equal(model_from_checkpoint(path).explain(X).logits, model.explain(X).logits)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("wikg", {"topk": 10**9}, "topk must be a whole number up to 65,536"),
        ("wikg", {"act": 3}, r"act must be text, got 3 \(int\)"),
        ("wikg", {"act": "sin"}, "unknown act 'sin'; choose from"),
        ("wikg", {"topk": 0}, "topk must be at least 1"),
        ("dftd", {"distill": "AFSS"}, r"distill must be one of \['MaxMinS', 'MaxS', 'AFS'\], got 'AFSS'"),
        ("dftd", {"num_group": 10**15}, "num_group must be a whole number up to 65,536"),
        ("rrt", {"da_act": 1.5}, r"da_act must be text, got 1\.5"),
    ],
)
def test_settings_of_every_model_are_checked(name: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    widths = {"embed_dim": 16} | ({"mlp_dim": 16} if name == "rrt" else {})
    made = create_model(f"{name}.base.12.none", **widths)
    torch.save({"state_dict": made.state_dict(), "hyper_parameters": settings}, tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match=message) as caught:
        model_from_checkpoint(tmp_path / "m.ckpt")
    assert "m.ckpt" in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_heads": "8"}, r"num_heads must be a whole number up to 65,536, got '8'"),
        ({"dropout": 7}, "dropout must be a number up to 1"),
        ({"embed_dim": -1}, "embed_dim must be a whole number"),
        ({"num_heads": 0}, "multiple of num_heads 0"),
        ({"encoder_mlp_dim": 10**10}, "encoder_mlp_dim must be a whole number"),
    ],
)
def test_overrides_of_the_wrong_type_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model("transformer.base.12.none", **overrides)


def _expanded(weight: torch.Tensor) -> torch.Tensor:
    return torch.zeros(1, dtype=torch.float16).expand(16, 10**10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_expanded, "patch_embed.0.weight is a view that would unpack to 320,000,000,000 bytes"),
        (lambda weight: weight.to("meta"), "is a tensor without data"),
        (lambda weight: weight.to_sparse(), "is a sparse or nested tensor"),
        (lambda weight: weight.to(torch.complex64), "is complex64 numbers"),
        (lambda weight: weight.int(), "is int32 numbers"),
        (lambda weight: weight[0], "is not a known model"),
        (lambda weight: weight[0, 0], "is not a known model"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    tensors = create_model("abmil.base.12.none", embed_dim=16, attn_dim=8).state_dict()
    tensors["model.patch_embed.0.weight"] = change(tensors["model.patch_embed.0.weight"])
    torch.save(tensors, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        model_from_checkpoint(tmp_path / "odd.pt")
    assert "odd.pt" in str(caught.value)
    assert message.split(" is ")[-1] in describe_checkpoint(tmp_path / "odd.pt")


def test_a_file_is_read_as_what_it_is_whatever_it_is_called(model: MILModel, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "torch.safetensors")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "safe.pt")
    for name in ("torch.safetensors", "safe.pt"):
        loaded = model_from_checkpoint(tmp_path / name, num_heads=4)
        np.testing.assert_array_equal(loaded.explain(X).logits, model.explain(X).logits)
