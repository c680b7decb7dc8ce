"""Create encoders by name."""

import importlib
import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mil_heatmaps.devices import choose_device
from mil_heatmaps.encoders.base import ModuleEncoder, PatchEncoder
from mil_heatmaps.encoders.catalogue import ENCODERS, EncoderSpec
from mil_heatmaps.encoders.preprocessing import Preprocessing
from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.words import did_you_mean, said_by

PathLike = str | os.PathLike[str]


def create_encoder(
    name: str,
    *,
    weights: PathLike | None = None,
    device: str | torch.device = "cpu",
    target_img_size: int | None = None,
) -> PatchEncoder:
    """Return the patch encoder of that name, with its weights, ready to use.

    Parameters
    ----------
    name
        A name in `ENCODERS`; ``timm:NAME`` for any timm model, with timm's own preprocessing; or
        ``module:factory`` for your own encoder: a callable that takes any of `weights`, `device`,
        `target_img_size` by name and returns a `PatchEncoder`.
    weights
        File (or folder) of the weights; without it, the encoder's environment variable, then the hub.
    target_img_size
        CLAM's key: patches are resized to this size and not cropped. With 0 or less they are not resized at all.
        None takes the encoder's own size. conch_v1_5 always takes 448.

    Raises
    ------
    ModelError
        The name is unknown (the message has the nearest), a factory returns no encoder, or there is no such device.
    CheckpointError
        The weights are missing, gated, unsafe, or of another network.
    MissingDependencyError
        A package is missing; the message has the line that installs it.
    """
    device = torch.device(choose_device(device))
    if name in ENCODERS:
        return _from_catalogue(ENCODERS[name], weights, device, target_img_size)
    kind, colon, rest = name.partition(":")
    if colon and kind == "timm":
        from mil_heatmaps.encoders.timm_models import spec_for_timm

        spec, network = spec_for_timm(rest)
        return _from_catalogue(spec, weights, device, target_img_size, network)
    if colon and rest:
        return _from_factory(name, weights, device, target_img_size)
    raise ModelError(
        f"unknown encoder {name!r}: {did_you_mean(name, ENCODERS)}choose from {', '.join(sorted(ENCODERS))}, "
        "timm:NAME, or your own module:factory"
    )


def check_width(encoder: PatchEncoder, in_dim: int, model: str) -> None:
    """Raise a FeatureError that names both if a model does not take this encoder's features."""
    if encoder.width != in_dim:
        raise FeatureError(
            f"encoder {encoder.name} makes {encoder.width}-d features, but model {model} takes {in_dim}-d ones"
        )


def _for_target(spec: EncoderSpec, target: int | None) -> Preprocessing:
    made_for = spec.preprocessing
    if target is None or spec.builder == "conch_v1_5":
        return made_for
    if made_for.float_sizes:
        return replace(made_for, float_sizes=(*made_for.float_sizes[:-1], target) if target > 0 else ())
    return replace(made_for, resize_px=target if target > 0 else None, crop_px=None)


def _from_catalogue(
    spec: EncoderSpec,
    weights: PathLike | None,
    device: torch.device,
    target: int | None,
    network: nn.Module | None = None,
) -> ModuleEncoder:
    from mil_heatmaps.encoders import other_models, timm_models
    from mil_heatmaps.encoders.weight_files import weights_digest
    from mil_heatmaps.encoders.weights import find_weights, load_strictly

    if spec.builder == "timm":
        # Weights of any timm model may have an older layout; those of the catalogue fit as published.
        convert = None if network is None else timm_models.converter_of(network)
        timm_models.import_timm(spec.name)
        path = find_weights(spec, weights)  # first, because building the network takes long
        network = timm_models.build_timm(spec) if network is None else network
        load_strictly(network, path, spec.name, ignored=spec.ignored, convert=convert)
        digest = weights_digest(path)
    else:
        network, digest = getattr(other_models, f"build_{spec.builder}")(spec, weights)
    return ModuleEncoder(
        spec.name,
        network,
        spec.width,
        _for_target(spec, target),
        device=device,
        weights=digest,
        pool=pooling_of(spec),
    )


def pooling_of(spec: EncoderSpec) -> Callable[[Any], torch.Tensor] | None:
    """Return the step from the network's output to features (B, width)."""
    first_patch = 1 + spec.registers

    def mean_map(returned: Any) -> torch.Tensor:
        maps: torch.Tensor = returned[-1] if isinstance(returned, list | tuple) else returned
        return maps.mean((2, 3))

    def class_token(returned: Any) -> torch.Tensor:
        tokens: torch.Tensor = returned.last_hidden_state
        return tokens[:, 0]

    def class_and_mean(returned: Any) -> torch.Tensor:
        return torch.cat([returned[:, 0], returned[:, first_patch:].mean(1)], 1)

    pools = {"mean_map": mean_map, "class_token": class_token, "class_and_mean": class_and_mean}
    return pools.get(spec.pool)


def _from_factory(name: str, weights: PathLike | None, device: torch.device, target: int | None) -> PatchEncoder:
    module_name, _, attribute = name.partition(":")
    try:
        factory: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"encoder {name!r}: {said_by(error)}; "
            "expected module:factory, a callable in a module that Python can import"
        ) from error
    offered = {"weights": weights, "device": device, "target_img_size": target}
    parameters = inspect.signature(factory).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters}
    encoder = factory(**{k: v for k, v in offered.items() if takes_all or k in names})
    if not isinstance(encoder, PatchEncoder) or not isinstance(encoder.width, int):
        raise ModelError(
            f"encoder {name!r} returned a {type(encoder).__name__}; expected an object with name, width, "
            "preprocess(batch) and encode(tensor)"
        )
    return encoder
