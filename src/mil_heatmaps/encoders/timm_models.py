"""Encoders whose network is timm's."""

import importlib
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from mil_heatmaps.encoders.catalogue import EncoderSpec
from mil_heatmaps.encoders.preprocessing import Preprocessing
from mil_heatmaps.encoders.torchvision_version import encoders_line, misfit
from mil_heatmaps.encoders.weights import INSTALL
from mil_heatmaps.errors import MissingDependencyError, ModelError
from mil_heatmaps.slides.resize_patches import Interpolation
from mil_heatmaps.words import lacking, said_by


def import_timm(name: str) -> Any:
    """Return the timm package, or say how to get it to work."""
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        missing = getattr(error, "name", None) or "timm"
        package = "timm" if missing.split(".")[0] == "timm" else missing
        raise lacking(f"encoder {name}", package, encoders_line(INSTALL), error) from error
    except RuntimeError as error:
        # torchvision made for another torch: "operator torchvision::nms does not exist".
        found = misfit() or ("", "install both from the same index: pip install --force-reinstall torch torchvision")
        raise MissingDependencyError(
            f"encoder {name} needs timm, whose torchvision does not fit the installed torch "
            f"{torch.__version__} ({said_by(error)}): {found[1]}"
        ) from error


def _options(timm: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with names of classes replaced by the classes."""
    classes = {"SiLU": nn.SiLU}
    if options.get("mlp_layer") == "SwiGLUPacked":
        classes["SwiGLUPacked"] = timm.layers.SwiGLUPacked
    return {k: classes.get(v, v) if isinstance(v, str) else v for k, v in options.items()}


def build_timm(spec: EncoderSpec) -> nn.Module:
    """Return the network of a catalogue entry without values, on the device meta.

    Random ones would take a minute for the largest, and as much memory again as the weights that replace them.
    """
    timm = import_timm(spec.name)
    with torch.device("meta"):
        network: nn.Module = timm.create_model(spec.architecture, pretrained=False, **_options(timm, spec.options))
    return network


def converter_of(network: nn.Module) -> Callable[..., Mapping[str, Any]] | None:
    """Return timm's own function that brings older weights of such a network into its present layout, if it has one."""
    module = sys.modules.get(type(network).__module__)
    convert: Callable[..., Mapping[str, Any]] | None = getattr(module, "checkpoint_filter_fn", None)
    return convert


def spec_for_timm(name: str) -> tuple[EncoderSpec, nn.Module]:
    """Return the entry and the untrained network of any timm model, prepared as timm itself says.

    Parameters
    ----------
    name
        timm's name, with or without its tag, as ``vit_small_patch16_224.augreg_in1k``.
    """
    timm = import_timm(f"timm:{name}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        near = timm.list_models(f"*{name.split('.')[0][:12]}*")[:6]
        raise ModelError(f"timm has no model {name!r}; near it: {', '.join(near) or 'none'}") from error
    config = getattr(network, "pretrained_cfg", None) or {}
    heads = config.get("classifier") or ()
    spec = EncoderSpec(
        f"timm:{name}",
        int(getattr(network, "head_hidden_size", None) or getattr(network, "num_features", None) or 0),
        "timm",
        timm_preprocessing(name, config),
        repo=config.get("hf_hub_id"),
        architecture=name,
        ignored=tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads)),
    )
    return spec, network


def timm_preprocessing(name: str, config: dict[str, Any]) -> Preprocessing:
    """Return what timm's own evaluation transform does for a model with this ``pretrained_cfg``.

    Raises
    ------
    ModelError
        A way of resizing that is not offered here.
    """
    height, width = config.get("input_size", (3, 224, 224))[1:]
    mode, interpolation = config.get("crop_mode") or "center", config.get("interpolation") or "bicubic"
    if height != width or mode not in ("center", "squash") or interpolation not in ("bilinear", "bicubic"):
        raise ModelError(
            f"timm:{name} wants {width} x {height} pixels, crop_mode {mode!r}, "
            f"interpolation {interpolation!r}; only squares, 'center' or 'squash', 'bilinear' or 'bicubic' "
            "are done here: use module:factory"
        )
    share = float(config.get("crop_pct") or 0.875)
    kind: Interpolation = "bilinear" if interpolation == "bilinear" else "bicubic"
    mean, std = (tuple(float(v) for v in config[key]) for key in ("mean", "std"))
    return Preprocessing(
        resize_px=math.floor(height / share),
        interpolation=kind,
        crop_px=height if share != 1 else None,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
    )
