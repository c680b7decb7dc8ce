"""Checkpoints: every layout loads to the same model, and what a file tells is used."""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mil_heatmaps.checkpoints.builder import create_clam, create_model
from mil_heatmaps.checkpoints.load import identify, load_checkpoint, model_from_checkpoint
from mil_heatmaps.checkpoints.report import describe_checkpoint
from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.models.clam import ClamSB
from mil_heatmaps.models.inference import infer
from mil_heatmaps.models.registry import config_names, model_types
from tests.helpers.checkpoints import Tensors, bare, features, renamed, small_abmil, zeros
from tests.helpers.mil_lab_golden import FOLDER, SHARED, needs_golden

LAYOUTS = FOLDER / "layouts"
DEMO = SHARED / "data" / "checkpoints" / "clam_demo_s_0_checkpoint.pt"


@pytest.fixture
def model() -> ABMIL:
    return small_abmil()


def parts(tensors: Tensors) -> dict[str, Tensors]:
    """The state dict cut up by module, each part with its own keys."""
    cut: dict[str, Tensors] = {}
    for key, value in tensors.items():
        name, _, rest = key.partition(".")
        cut.setdefault(name, {})[rest] = value
    return cut


WRAPPINGS: dict[str, Callable[[Tensors], Any]] = {
    "bare": lambda t: t,
    "data parallel": lambda t: renamed(t, "module.model."),
    "compiled": lambda t: {"state_dict": renamed(t, "_orig_mod.model.")},
    "lightning": lambda t: {
        "state_dict": renamed(t, "net.model.") | {"criterion.weight": torch.ones(3)},
        "pytorch-lightning_version": "2.4.0",
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2, 2)}}}],
        "hyper_parameters": {"lr": 1e-4, "model": {"embed_dim": 8}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
    },
    "net": lambda t: {"net": t, "acc": 0.5, "epoch": 3},
    "model state dict": lambda t: {
        "model_state_dict": t,
        "optimizer_state_dict": {"state": {0: torch.ones(4)}},
    },
    "nested wrappers": lambda t: {"checkpoint": {"model": {"state_dict": t}}, "step": torch.tensor(7)},
    "in parts": lambda t: {"model": parts(t), "epoch": 1},
    "in parts at top level": parts,
    "ema beside": lambda t: {"model_ema": t, "state_dict": zeros(t)},
    "ema inside": lambda t: renamed(t, "ema_model.") | renamed(zeros(t), "online_model.") | {"step": torch.tensor(1)},
    "averaged": lambda t: renamed(t, "module.") | {"n_averaged": torch.tensor(5)},
    "numpy values": lambda t: {
        "state_dict": t,
        "auc": np.float64(0.9),
        "curve": np.arange(3.0),
        "n": np.int64(2),
    },
    "options and paths": lambda t: {
        "state_dict": t,
        "args": argparse.Namespace(lr=0.1),
        "out": Path("/tmp/x"),
    },
    "double precision": lambda t: {key: value.double() for key, value in t.items()},
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_a_layout_gives_the_same_model(name: str, model: ABMIL, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(WRAPPINGS[name](bare(model)), path)
    loaded = model_from_checkpoint(path, num_classes=3)
    expected = model.explain(features(), ["class_contribution"])
    found = loaded.explain(features(), ["class_contribution"])
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(
        found.scores["class_contribution"].values, expected.scores["class_contribution"].values
    )
    assert not loaded.training


@needs_golden
@pytest.mark.parametrize("name", sorted(p.name for p in LAYOUTS.glob("*") if p.suffix != ".npz"))
def test_a_layout_met_in_practice_gives_the_golden_result(name: str) -> None:
    expected = np.load(LAYOUTS / "expected.npz")
    loaded = model_from_checkpoint(LAYOUTS / name)
    prediction, scores = infer(loaded, expected["features"])
    np.testing.assert_allclose(scores["attention"].values[:, 0], expected["attention"].ravel(), atol=1e-5)
    if "headless" in name:
        assert prediction is None
    else:
        assert prediction is not None
        np.testing.assert_allclose(prediction.logits, expected["logits"][0], atol=1e-5)
    named = create_model(
        "abmil.base.uni_v2.none", 3, LAYOUTS / name, in_dim=64, embed_dim=32, attn_dim=16, num_fc_layers=1
    )
    np.testing.assert_array_equal(named.patch_scores(expected["features"]).values, scores["attention"].values)


def test_every_model_comes_back_from_its_own_state_dict(tmp_path: Path) -> None:
    small = {
        "embed_dim": 32, "mlp_dim": 32, "attn_dim": 8, "attention_dim": 8, "hidden_dim": 16, "head_dim": 8,
        "encoder_mlp_dim": 64, "num_heads": 8, "trans_dim": 4, "topk": 4,
    }  # fmt: skip
    from mil_heatmaps.models.public import PublicModel
    from mil_heatmaps.models.registry import constructor_arguments, model_class

    for name in model_types():
        if issubclass(model_class(name), PublicModel):  # recognised by the keys of their own repositories
            continue
        known = constructor_arguments(model_class(name))
        sizes = {key: value for key, value in small.items() if key in known} | {"in_dim": 12}
        torch.manual_seed(1)
        made = create_model(f"{name}.{config_names(name)[0]}.uni.none", **sizes)
        expected = made.explain(features(30))
        for prefix in ("", "model.", "module."):
            file = tmp_path / "weights.safetensors"
            keys = {prefix + key.removeprefix(made.key_prefix): value for key, value in made.state_dict().items()}
            save_file(keys, file)
            identity = identify(load_checkpoint(file))
            assert (identity.model_type, identity.in_dim) == (name, 12)
            again = model_from_checkpoint(file, **{key: sizes[key] for key in identity.assumed if key in sizes})
            found = again.explain(features(30))
            if expected.logits is not None:
                np.testing.assert_allclose(found.logits, expected.logits, atol=1e-6)
            score = made.default_score
            np.testing.assert_allclose(found.scores[score].values, expected.scores[score].values, atol=1e-6)
            assert name in describe_checkpoint(file)


@pytest.mark.skipif(not DEMO.is_file(), reason=f"no {DEMO} (set HEATMAP_TEST_DATA)")
def test_clams_legacy_demo_checkpoint_with_cuda_storages_loads_on_a_cpu() -> None:
    loaded = create_clam("clam_sb", "small", 2, 1024, DEMO)
    assert isinstance(loaded, ClamSB)
    prediction, scores = infer(loaded, features(5, 1024), class_names=["LUAD", "LSCC"])
    assert prediction is not None
    assert prediction.classes == ("LUAD", "LSCC")
    assert scores["attention"].values.shape == (5, 1)
    with pytest.raises(CheckpointError, match="has 2 classes, num_classes"):
        create_clam("clam_sb", "small", 3, 1024, DEMO)
    with pytest.raises(CheckpointError, match="in_dim 1024, not 1536"):
        create_clam("clam_sb", embed_dim=1536, ckpt_path=DEMO)
    with pytest.raises(CheckpointError, match="attn_dim 256, not 384"):
        create_clam("clam_sb", "big", ckpt_path=DEMO)
    with pytest.raises(CheckpointError, match="is not a clam_mb, its tensors are those of clam_sb"):
        create_clam("clam_mb", ckpt_path=DEMO)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("parallel", [True, False])
def test_clam_checkpoints_from_before_dropout_load(gate: bool, parallel: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = ClamSB(in_dim=12, hidden_dim=8, attn_dim=6, gate=gate).eval()
    old = {
        key.replace("attention_net.3.", "attention_net.2.").replace("module.3.", "module.2."): value
        for key, value in made.state_dict().items()
    }
    if parallel:
        old = {key.replace("attention_net.", "attention_net.module."): value for key, value in old.items()}
    torch.save(old | {"instance_loss_fn.labels": torch.tensor([0, 1])}, tmp_path / "s_0_checkpoint.pt")
    loaded = create_clam(ckpt_path=tmp_path / "s_0_checkpoint.pt")
    np.testing.assert_array_equal(loaded.explain(features()).logits, made.explain(features()).logits)


def test_settings_that_no_tensor_tells_come_from_the_file(tmp_path: Path) -> None:
    made = create_model("transformer.base.uni.none", in_dim=12, embed_dim=16, num_heads=4, encoder_mlp_dim=8)
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": made.state_dict(), "hyper_parameters": {"net": {"num_heads": 4}}}, path)
    identity = identify(load_checkpoint(path))
    assert identity.config["num_heads"] == 4
    assert identity.assumed == {}
    torch.save(made.state_dict(), path)
    assert identify(load_checkpoint(path)).assumed == {"num_heads": 8}
    assert "num_heads 8" in describe_checkpoint(path)
    assert model_from_checkpoint(path, num_heads=4).explain(features()).logits is not None


def test_a_headless_checkpoint_never_predicts(model: ABMIL, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    headless = {key: value for key, value in model.state_dict().items() if "classifier" not in key}
    torch.save(headless, tmp_path / "feather.pt")
    loaded = create_model("abmil.base.12.none", num_classes=3, checkpoint_path=tmp_path / "feather.pt")
    prediction, scores = infer(loaded, features())
    assert prediction is None
    np.testing.assert_array_equal(scores["attention"].values, model.explain(features()).scores["attention"].values)
    assert "no classifier" in caplog.text
    assert "no classifier" in describe_checkpoint(tmp_path / "feather.pt")
    with pytest.raises(ModelError, match="no classifier"):
        infer(loaded, features(), scores="class_contribution")
    torch.save(model.state_dict(), tmp_path / "whole.pt")
    assert model_from_checkpoint(tmp_path / "whole.pt", keep_classifier=False).num_classes == 0


def test_the_checksum_is_the_files(model: ABMIL, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "m.pt")
    checkpoint = load_checkpoint(tmp_path / "m.pt")
    assert checkpoint.sha256 == hashlib.sha256((tmp_path / "m.pt").read_bytes()).hexdigest()


def test_settings_that_fan_out_end_soon(model: ABMIL, tmp_path: Path) -> None:
    level: dict[str, Any] = {"lr": 0.1}
    for _ in range(5):
        level = {str(i): level for i in range(100)}  # 100^5 paths, six objects
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": level}, tmp_path / "fan.ckpt")
    assert model_from_checkpoint(tmp_path / "fan.ckpt").num_classes == 3


def test_what_had_to_be_assumed_is_a_warning_when_no_name_was_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = create_model("transformer.base.12.none", embed_dim=16, encoder_mlp_dim=8)
    torch.save(made.state_dict(), tmp_path / "t.pt")
    create_model("transformer.base.12.none", checkpoint_path=tmp_path / "t.pt")
    assert not caplog.records
    model_from_checkpoint(tmp_path / "t.pt")
    assert "num_heads is not in the checkpoint, assumed 8" in caplog.text
