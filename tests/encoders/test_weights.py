"""Where the weights of encoders come from, and what is said when they are missing, gated, unsafe or wrong."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mil_heatmaps.encoders.catalogue import ENCODERS
from mil_heatmaps.encoders.create import create_encoder
from mil_heatmaps.encoders.weight_files import weights_digest
from mil_heatmaps.encoders.weights import explain_hub_error, load_strictly
from mil_heatmaps.errors import CheckpointError
from tests.helpers.encoders import Tiny, install_fake_timm, write_tiny_weights


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    return install_fake_timm(monkeypatch)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_tiny_weights(tmp_path / "weights.pt")


class Runaway:
    """A pickle of this would run code when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_clams_environment_variable_names_the_weights(
    fake_timm: list[Any], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNI_CKPT_PATH", str(tmp_path / "not_there.bin"))
    with pytest.raises(CheckpointError, match=r"environment variable UNI_CKPT_PATH\) are not at .*not_there"):
        create_encoder("uni_v1")
    torch.save(Tiny().state_dict(), weights)
    monkeypatch.setenv("UNI_CKPT_PATH", str(weights))
    monkeypatch.setitem(ENCODERS, "uni_v1", ENCODERS["uni_v1"].__class__(**{**vars(ENCODERS["uni_v1"]), "width": 4}))
    assert create_encoder("uni_v1").encode(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_a_weights_file_that_would_run_code_is_refused(
    fake_timm: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Runaway()}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="could run any code"):
        create_encoder("uni_v1", weights=tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_list_what_does_not_fit(fake_timm: list[Any], tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.ones(2, 3, 8, 8), "other": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(
        CheckpointError, match=r"missing: conv1.bias; unexpected: other; of another shape: conv1.weight \(2, 3"
    ):
        create_encoder("timm:tiny_model", weights=tmp_path / "w.pt")


def test_weights_of_an_older_layout_are_brought_into_the_present_one_as_timm_does(
    fake_timm: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tests.helpers.encoders as timms

    def convert(tensors: dict[str, torch.Tensor], network: Any) -> dict[str, torch.Tensor]:
        return {key.replace("stem.", "conv1."): tensors["stem." + key.partition(".")[2]] for key in tensors}

    torch.save({f"stem.{k.partition('.')[2]}": v for k, v in Tiny().state_dict().items()}, tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match=r"missing: conv1\.bias, conv1\.weight; unexpected: stem\.bias"):
        create_encoder("timm:tiny_model", weights=tmp_path / "old.pt")
    monkeypatch.setattr(timms, "checkpoint_filter_fn", convert, raising=False)
    assert create_encoder("timm:tiny_model", weights=tmp_path / "old.pt").width == 4
    torch.save({"other": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"missing: conv1\.bias, conv1\.weight; unexpected: other"):
        create_encoder("timm:tiny_model", weights=tmp_path / "w.pt")


def test_weights_fill_a_network_without_values_in_its_own_precision(tmp_path: Path) -> None:
    """Files may be in half precision, and without the counters of training steps."""
    trained = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).half()
    stored = {k: v for k, v in trained.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(stored, tmp_path / "w.pt")
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    load_strictly(network, tmp_path / "w.pt", "mine")
    pixels = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(network.eval()(pixels), trained.float().eval()(pixels))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": {"state_dict": {f"module.{key}": value for key, value in weights.items()}}},
        lambda weights: {"teacher": weights, "student": {key: value + 1 for key, value in weights.items()}},
        lambda weights: {"model": {key: value + 1 for key, value in weights.items()}, "model_ema": weights},
    ],
)
def test_weights_are_found_in_whatever_was_saved_around_them(wrap: Any, tmp_path: Path) -> None:
    """By the same rules as in checkpoints of models."""
    weights = Tiny().state_dict()
    torch.save(wrap(weights), tmp_path / "w.pt")
    network = Tiny()
    load_strictly(network, tmp_path / "w.pt", "mine")
    assert torch.equal(network.conv1.weight, weights["conv1.weight"])


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_cut_short_says_so(fake_timm: list[Any], tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"weights.{suffix}"
    (torch.save if suffix == "pt" else save_file)(Tiny().state_dict(), path)
    whole = path.read_bytes()
    for length in (len(whole) - 100, len(whole) // 2, 9, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=rf"weights\.{suffix} .*(copy|download) it again"):
            create_encoder("timm:tiny_model", weights=path)


def test_a_folder_that_is_not_whole_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers: Any = ModuleType("transformers")

    def from_pretrained(source: str, **options: Any) -> Any:
        raise OSError("no file named model.safetensors found")

    transformers.AutoModel = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    with pytest.raises(CheckpointError, match=r"does not hold the whole weights of encoder phikon \(no file named"):
        create_encoder("phikon", weights=tmp_path)


def test_a_gate_that_transformers_wraps_is_still_told_as_one() -> None:
    wrapped = OSError("You are trying to access a gated repo.")
    wrapped.__cause__ = GatedRepoError("403")
    text = str(explain_hub_error(ENCODERS["conch_v1_5"], wrapped))
    assert "request access at https://huggingface.co/MahmoodLab/TITAN" in text
    assert "hf download MahmoodLab/TITAN --local-dir FOLDER" in text


class GatedRepoError(Exception):
    """Named as huggingface_hub's, and its `LocalEntryNotFoundError` below."""


class LocalEntryNotFoundError(Exception):
    pass


def test_gated_weights_say_what_to_request_and_where_to_put_them() -> None:
    text = str(explain_hub_error(ENCODERS["uni_v1"], GatedRepoError("403")))
    assert "request access at https://huggingface.co/MahmoodLab/UNI" in text
    assert "encoder_arguments.weights" in text
    assert "UNI_CKPT_PATH" in text


def test_weights_not_cached_while_offline_say_so() -> None:
    text = str(explain_hub_error(ENCODERS["phikon"], LocalEntryNotFoundError()))
    assert "not in the local cache" in text
    assert "hf download owkin/phikon" in text


def test_offline_mode_of_the_hub_is_respected(
    fake_timm: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"not in the local cache.*HF_HUB_OFFLINE"):
        create_encoder("uni_v2")


def test_the_hubs_second_file_name_is_tried(
    fake_timm: list[Any], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    asked = []

    def download(repo: str, name: str) -> str:
        asked.append((repo, name))
        if name.endswith("safetensors"):
            raise hub.errors.EntryNotFoundError("404")
        return str(weights)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub.errors.EntryNotFoundError, "__init__", lambda self, text: None)
    torch.save(Tiny().state_dict(), weights)
    create_encoder("timm:tiny_model")
    assert asked == [("timm/tiny", "model.safetensors"), ("timm/tiny", "pytorch_model.bin")]


def test_a_digest_is_taken_from_the_hubs_cache_without_reading(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"x")
    (tmp_path / "model.safetensors").symlink_to(blob)
    assert weights_digest(tmp_path / "model.safetensors") == "ab" * 32
    (tmp_path / "own").write_bytes(b"")
    assert weights_digest(tmp_path / "own").startswith("e3b0c442")
