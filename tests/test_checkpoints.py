"""Checkpoints: every layout loads to the same model, nothing in a file is run, nothing is left to chance."""

import argparse
import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from src.builder import create_clam, create_model
from src.checkpoints import describe_checkpoint, identify, load_checkpoint, model_from_checkpoint
from src.errors import CheckpointError, HeatmapError, ModelError
from src.models.abmil import ABMIL
from src.models.clam import ClamSB
from src.models.registry import config_names, model_types
from src.scores.inference import infer
from tests.mil_lab_golden import FOLDER, SHARED, needs_golden

LAYOUTS = FOLDER / "layouts"
DEMO = SHARED / "data" / "checkpoints" / "clam_demo_s_0_checkpoint.pt"
Tensors = dict[str, torch.Tensor]


def features(count: int = 9, width: int = 12) -> Any:
    return np.random.default_rng(5).normal(size=(count, width)).astype(np.float32)


@pytest.fixture
def model() -> ABMIL:
    torch.manual_seed(0)
    return ABMIL(in_dim=12, embed_dim=8, attn_dim=6, num_classes=3).eval()


def bare(model: ABMIL) -> Tensors:
    return {key.removeprefix("model."): value for key, value in model.state_dict().items()}


def renamed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def zeros(tensors: Tensors) -> Tensors:
    return {key: torch.zeros_like(value) for key, value in tensors.items()}


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
    from src.models.registry import constructor_arguments, model_class

    for name in model_types():
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
    with pytest.raises(CheckpointError, match="is not a clam_mb, its tensors are those of a clam_sb"):
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


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["BOMB_TARGET"],)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_a_pickle_bomb_is_refused_and_does_not_go_off(
    how: str, model: ABMIL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, path = tmp_path / "went_off", tmp_path / "bomb.pt"
    monkeypatch.setenv("BOMB_TARGET", str(target))
    content = {"state_dict": model.state_dict(), "extra": Bomb()}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(CheckpointError, match=r"bomb\.pt"):
        load_checkpoint(path)
    assert not target.exists()


def test_a_pickled_module_is_refused_with_the_way_out(model: ABMIL, tmp_path: Path) -> None:
    torch.save(model, tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"src\.models\.abmil\.ABMIL.*could run any code.*state_dict\(\)"):
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
    with pytest.raises(CheckpointError, match="is not a dsmil, its tensors are those of a abmil"):
        create_model("dsmil.base.12.none", 3, path)
    with pytest.raises(ModelError, match="no setting 'attention_dim', did you mean 'attn_dim'"):
        create_model("abmil.base.12.none", 3, path, attention_dim=6)


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


def test_settings_that_fan_out_end_soon(model: ABMIL, tmp_path: Path) -> None:
    level: dict[str, Any] = {"lr": 0.1}
    for _ in range(5):
        level = {str(i): level for i in range(100)}  # 100^5 paths, six objects
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": level}, tmp_path / "fan.ckpt")
    assert model_from_checkpoint(tmp_path / "fan.ckpt").num_classes == 3


def test_a_head_beside_the_model_is_not_passed_over(model: ABMIL, tmp_path: Path) -> None:
    tensors = renamed(bare(model), "backbone.") | {"head.weight": torch.ones(2, 8), "head.bias": torch.ones(2)}
    torch.save(tensors, tmp_path / "tuned.pt")
    with pytest.raises(CheckpointError, match=r"begin with 'backbone\.', it holds head\.weight, which may change"):
        model_from_checkpoint(tmp_path / "tuned.pt")
    assert "does not load" in describe_checkpoint(tmp_path / "tuned.pt")


def test_what_had_to_be_assumed_is_a_warning_when_no_name_was_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = create_model("transformer.base.12.none", embed_dim=16, encoder_mlp_dim=8)
    torch.save(made.state_dict(), tmp_path / "t.pt")
    create_model("transformer.base.12.none", checkpoint_path=tmp_path / "t.pt")
    assert not caplog.records
    model_from_checkpoint(tmp_path / "t.pt")
    assert "num_heads is not in the checkpoint, assumed 8" in caplog.text


@pytest.mark.parametrize("missing", ["classifiers.weight", "attention_net.0.weight"])
def test_a_named_model_lists_the_keys_its_checkpoint_lacks(tmp_path: Path, missing: str) -> None:
    from src.builder import create_clam

    weights = create_clam("clam_sb", "small", 2, 16).state_dict()
    del weights[missing]
    torch.save(weights, tmp_path / "clam.pt")
    with pytest.raises(CheckpointError, match=f"missing {missing}"):
        create_clam("clam_sb", "small", 2, 16, tmp_path / "clam.pt")
