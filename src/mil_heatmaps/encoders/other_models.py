"""Encoders whose network comes from a separate package: transformers, CONCH, EfficientNet-Lite."""

import importlib
import os
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mil_heatmaps.encoders.catalogue import EncoderSpec
from mil_heatmaps.encoders.weight_files import LITE, lite0_weights, weights_digest
from mil_heatmaps.encoders.weights import explain_hub_error, find_weights, load_strictly, read_tensors
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.weights.hub import cached_snapshot
from mil_heatmaps.words import lacking

TRUST = "HEATMAP_TRUST_REMOTE_CODE"
"""Environment variable that allows this program to run code from a model's repository on the hub."""

_CONCH = "pip install git+https://github.com/Mahmoodlab/CONCH.git"


def import_package(name: str, package: str, install: str) -> Any:
    """Return a module, or raise MissingDependencyError with the line that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise lacking(f"encoder {name}", package.split(".")[0], install, error) from error


def build_efficientnet_lite0(spec: EncoderSpec, weights: str | os.PathLike[str] | None) -> tuple[nn.Module, str]:
    """Return (network without its classifier, digest)."""
    network = import_package(spec.name, "efficientnet_lite_pytorch", LITE).EfficientNet.from_name("efficientnet-lite0")
    path = find_weights(spec, lite0_weights(spec.name) if weights is None else weights)
    load_strictly(network, path, spec.name)
    _fold_batch_norms(network)

    class Trunk(nn.Module):
        """The convolutions of the network, without the ImageNet classifier that its own `forward` applies."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Any) -> Any:
            return self.network.extract_features(pixels)

    return Trunk(), weights_digest(path)


def _fold_batch_norms(network: Any) -> None:
    """Fold each batch norm into the convolution before it: same features to within 1e-5, in two thirds of the time."""
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    network.eval()
    for owner, conv, norm in pairs:
        setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())


def build_transformers(spec: EncoderSpec, weights: str | os.PathLike[str] | None) -> tuple[nn.Module, str]:
    """Return (network, digest) through transformers; `weights`: a folder of config.json and safetensors."""
    transformers = import_package(spec.name, "transformers", "pip install 'transformers>=4.40'")
    source = str(weights) if weights is not None else str(spec.repo)
    if weights is not None and not Path(weights).is_dir():
        raise CheckpointError(
            f"the weights of encoder {spec.name} must be a folder holding config.json and model.safetensors, "
            f"as `hf download {spec.repo}` makes it; got {weights}"
        )
    extra = {"add_pooling_layer": False} if spec.name == "phikon" else {}
    try:
        network = transformers.AutoModel.from_pretrained(
            source, use_safetensors=True, revision=_revision(spec, weights), **extra
        )
    except Exception as error:  # of many kinds: HTTP, gates, missing files
        raise _explain(spec, weights, error) from error
    return network, _digest(spec, weights, network)


def _revision(spec: EncoderSpec, weights: str | os.PathLike[str] | None) -> str:
    """Return the commit in the hub's cache, so that all machines of a run use the same one; else the newest."""
    snapshot = None if weights is not None else cached_snapshot(str(spec.repo))
    return "main" if snapshot is None else snapshot.name


def _digest(spec: EncoderSpec, weights: str | os.PathLike[str] | None, network: Any) -> str:
    if weights is not None:
        return weights_digest(Path(weights))
    return f"{spec.repo}@{getattr(network.config, '_commit_hash', None)}"


def _explain(spec: EncoderSpec, weights: str | os.PathLike[str] | None, error: Exception) -> CheckpointError:
    """Return the error that says what to do about an incomplete folder of weights, or a failed download."""
    if weights is None:
        return explain_hub_error(spec, error)
    summary = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"the folder {weights} does not hold the whole weights of encoder {spec.name} ({summary}): "
        f"copy it again, or make it with `hf download {spec.repo} --local-dir FOLDER`"
    )


def build_conch_v1(spec: EncoderSpec, weights: str | os.PathLike[str] | None) -> tuple[nn.Module, str]:
    """Return (CONCH's image tower, digest), used as CLAM does: no projection, no normalising."""
    conch = import_package(spec.name, "conch.open_clip_custom", _CONCH)
    path = find_weights(spec, weights)
    # CONCH reads the file itself, and with an old torch unpickles it: a file with more than weights is refused here.
    read_tensors(path)
    model, _ = conch.create_model_from_pretrained("conch_ViT-B-16", str(path))

    class ImageTower(nn.Module):
        """The image half of CONCH."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: Any) -> Any:
            return self.model.encode_image(pixels, proj_contrast=False, normalize=False)

    return ImageTower(), weights_digest(path)


def build_conch_v1_5(spec: EncoderSpec, weights: str | os.PathLike[str] | None) -> tuple[nn.Module, str]:
    """Return (network, digest) of CONCH 1.5, whose code lives in TITAN's repository on the hub.

    That code runs on this machine, so it must be allowed: environment variable HEATMAP_TRUST_REMOTE_CODE=1.
    """
    transformers = import_package(spec.name, "transformers", "pip install 'transformers>=4.40' einops einops-exts")
    if os.environ.get(TRUST) != "1":
        raise CheckpointError(
            f"encoder {spec.name} runs Python code from https://huggingface.co/{spec.repo}: read it there, "
            f"then allow it with {TRUST}=1, or extract the features with TRIDENT and give their "
            "folder as h5_dir"
        )
    source = str(weights) if weights is not None else str(spec.repo)
    try:
        titan = transformers.AutoModel.from_pretrained(
            source, trust_remote_code=True, revision=_revision(spec, weights)
        )
        network, _ = titan.return_conch()
    except ImportError as error:
        code = f"encoder {spec.name}: the code in {source}"
        raise lacking(code, str(error.name), f"pip install {error.name}") from error
    except Exception as error:  # of many kinds: HTTP, gates, missing files
        raise _explain(spec, weights, error) from error
    return network, _digest(spec, weights, titan)
