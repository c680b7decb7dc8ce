"""`create_model`: MIL-Lab's names, defaults and widths; CLAM's settings; every mistake answered with the
choices.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.builder import create_clam, create_model
from mil_heatmaps.config.config import make_config
from mil_heatmaps.errors import CheckpointError, ConfigError, MissingDependencyError, ModelError
from mil_heatmaps.models.registry import ENCODER_WIDTHS, encoder_width, model_types, parse_model_name
from tests.helpers.mil_lab_golden import FOLDER, manifest, needs_golden

STATE_DICTS = json.loads((FOLDER / "state_dicts.json").read_text()) if FOLDER.is_dir() else {}


@needs_golden
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", STATE_DICTS)
def test_default_models_have_mil_labs_keys_and_shapes(name: str, classes: int) -> None:
    made = create_model(f"{name}.base.uni_v2.none", num_classes=classes)
    shapes = {key: list(value.shape) for key, value in made.state_dict().items()}
    assert shapes == STATE_DICTS[name][f"num_classes={classes}"]


@needs_golden
@pytest.mark.parametrize(
    "name", [k for k, v in manifest().items() if isinstance(v, dict) and v.get("create_model_name")]
)
def test_golden_names_and_overrides_make_the_golden_tensors(name: str) -> None:
    entry = manifest()[name]
    made = create_model(entry["create_model_name"], entry["num_classes"], **entry["kwargs"])
    assert {key: list(value.shape) for key, value in made.state_dict().items()} == {
        key: value["shape"] for key, value in entry["tensors"].items()
    }


def test_parts_left_out_are_mil_labs_defaults() -> None:
    for name in ("abmil", "abmil.base", "abmil.base.uni", "abmil.base.uni.none"):
        made = create_model(name)
        assert (made.name, made.in_dim, made.num_classes) == ("abmil", 1024, 2)
        assert not made.training


def test_every_type_is_made_by_its_name() -> None:
    for name in model_types():
        assert create_model(name).name == name


@pytest.mark.parametrize(
    ("encoder", "width"),
    [
        ("uni", 1024), ("uni_v1", 1024), ("uni_v2", 1536), ("conch_v1", 512), ("conch", 512),
        ("conch_v15", 768), ("conch_v1_5", 768), ("gigapath", 1536), ("resnet50", 1024),
        ("resnet50_trunc", 1024), ("virchow", 2560),
        ("virchow2", 2560), ("phikon", 768), ("phikon2", 1024), ("phikon_v2", 1024), ("hoptimus", 1536),
        ("hoptimus0", 1536), ("hoptimus1", 1536), ("musk", 1024), ("ctranspath", 768), ("hibou_l", 1024),
        ("midnight12k", 3072), ("kaiko-vits8", 384), ("1280", 1280),
    ],
)  # fmt: skip
def test_encoders_have_their_widths(encoder: str, width: int) -> None:
    assert encoder_width(encoder) == width
    assert create_model(f"abmil.base.{encoder}.none", embed_dim=8, attn_dim=4).in_dim == width


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("abmill.base.uni.none", "unknown model type 'abmill', did you mean 'abmil'.*choose from .*'wikg'"),
        ("abmil.huge.uni.none", r"unknown configuration 'huge' of abmil; choose from \['base'\]"),
        ("dftd.base_asf.uni.none", "did you mean 'base_afs'"),
        ("abmil.base.univ2.none", "unknown encoder 'univ2', did you mean 'uni_v2'.*choose from .*'hibou_l'"),
        ("abmil..uni.none", "must have one to four parts"),
        ("abmil.base.uni.none.more", "must have one to four parts"),
        ("", "must have one to four parts"),
        ("Abmil.base", "did you mean 'abmil'"),
    ],
)
def test_an_unknown_part_lists_the_choices(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(name)


def test_an_unknown_override_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ModelError, match=r"abmil has no setting 'atn_dim', did you mean 'attn_dim'"):
        create_model("abmil.base.uni.none", atn_dim=3)
    with pytest.raises(ModelError, match=r"rrt has no setting 'num_heads', did you mean"):
        create_model("rrt.base.uni.none", num_heads=4)


def test_mil_labs_clam_is_made_on_a_cpu_without_smooth_topk() -> None:
    made = create_model("clam.base.uni_v2.none", num_classes=3)
    x = torch.zeros(1, 20, 1536)
    results, _ = made(h=x, loss_fn=torch.nn.CrossEntropyLoss(), label=torch.tensor([1]))
    assert torch.isfinite(results["loss"])


def test_clams_settings_make_clams_networks() -> None:
    small = create_clam("clam_sb", "small", 2, 1024, drop_out=0.1)
    big = create_clam("clam_mb", "big", 3, 768, gate=False)
    assert small.state_dict()["attention_net.3.attention_a.0.weight"].shape == (256, 512)
    assert {part.p for part in small.modules() if isinstance(part, torch.nn.Dropout)} == {0.1}
    assert big.state_dict()["attention_net.3.module.3.weight"].shape == (3, 384)
    assert (create_clam("mil", n_classes=2).name, create_clam("mil", n_classes=4).name) == (
        "mil_fc",
        "mil_fc_mc",
    )
    with pytest.raises(ModelError, match="unknown model_type 'clam'"):
        create_clam("clam")
    with pytest.raises(ModelError, match="unknown model_size 'medium'"):
        create_clam(model_size="medium")


def test_a_name_is_taken_apart_and_put_together() -> None:
    name = parse_model_name("dftd.base_afs.uni_v2.pc108-24k")
    assert (name.type, name.config, name.encoder, name.task, name.in_dim) == (
        "dftd", "base_afs", "uni_v2", "pc108-24k", 1536,
    )  # fmt: skip
    assert str(name) == "dftd.base_afs.uni_v2.pc108-24k"
    assert parse_model_name("clam_sb").config == "small"


def test_a_task_downloads_public_weights_only_when_there_is_no_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[Any] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.append((repository, options["revision"], options["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    made = create_model("abmil.base.uni_v2.none", num_classes=0)
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    create_model("abmil.base.uni_v2.none")
    create_model("abmil.base.uni_v2.mine", checkpoint_path=tmp_path)
    assert asked == []
    loaded = create_model("abmil.base.uni_v2.pc108-24k")
    create_model("somebody/abmil.base.uni_v2.none")
    create_model("abmil.base.uni_v2.none", from_pretrained=True)
    create_model("abmil.base.uni_v2.none", checkpoint_path=Path("hf://me/mine@v2"))
    names = [(repository, revision) for repository, revision, _ in asked]
    assert names == [
        ("mahmoodlab/abmil.base.uni_v2.pc108-24k", None),
        ("somebody/abmil.base.uni_v2.none", None),
        ("mahmoodlab/abmil.base.uni_v2.none", None),
        ("me/mine", "v2"),
    ]
    assert all("*.py" not in patterns for _, _, patterns in asked)
    x = np.zeros((2, 1536), np.float32)
    scores = [model.patch_scores(x).values for model in (loaded, made)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("OSError", r"cannot get the weights mahmoodlab/abmil.* from https:.* \(Client Error\); or give a"),
        ("GatedRepoError", r"mahmoodlab/abmil.* are gated: request access at https.*hf auth login.*downloaded folder"),
        ("RepositoryNotFoundError", r"mahmoodlab/abmil.* are not at https.*, or only for those who log in"),
        ("LocalEntryNotFoundError", r"mahmoodlab/abmil.* are not in the local cache.*run `hf download mahmoodlab/ab"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_mend(
    kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    failure = type(kind, (Exception,), {})

    def snapshot_download(repository: str, **options: Any) -> str:
        raise failure("Client Error\nmore")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=message) as caught:
        create_model("abmil.base.uni.pc108-24k")
    assert "more" not in str(caught.value)
    with pytest.raises(CheckpointError, match="must read hf://owner/name"):
        create_model("abmil.base.uni.none", checkpoint_path="hf://abmil")


def test_without_huggingface_hub_the_line_that_installs_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install -e '\.\[hub\]'"):
        create_model("abmil.base.uni.pc108-24k")


def test_widths_are_positive_and_errors_are_value_errors() -> None:
    assert all(width > 0 for width in ENCODER_WIDTHS.values())
    assert issubclass(ModelError, ValueError)
    assert issubclass(ConfigError, ValueError)
    with pytest.raises(ModelError, match="in_dim must be at least 1"):
        create_model("abmil", in_dim=0)


@pytest.mark.parametrize(
    ("name", "hinted"), [("owner/name", True), ("owner/abmil.base.uni_v2.x", True), ("in/m.pt", False), ("m", False)]
)
def test_what_reads_like_a_name_on_the_hub_is_told_how_to_write_it(name: str, hinted: bool, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at") as caught:
        create_model("abmil.base.uni.none", checkpoint_path=name)
    assert (f"named hf://{name}" in str(caught.value)) is hinted
    data = {"data_dir": str(tmp_path), "h5_dir": str(tmp_path)}
    with pytest.raises(ConfigError, match="no such checkpoint") as refused:
        make_config({"data_arguments": data, "model_arguments": {"ckpt_path": name}})
    assert (f"named hf://{name}" in str(refused.value)) is hinted
