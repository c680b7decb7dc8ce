"""Find an encoder's weights, in named files, the hub's cache or the hub, and load them into it.

Only safetensors and torch's ``weights_only`` reader are used; nothing in a weights file is ever executed.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mil_heatmaps.encoders.catalogue import EncoderSpec
from mil_heatmaps.encoders.weight_files import named_weights
from mil_heatmaps.errors import CheckpointError, MissingDependencyError
from mil_heatmaps.weights.checkpoint_files import read_stored
from mil_heatmaps.weights.fit import misfits
from mil_heatmaps.weights.hub import HUB_FILES, cached_weights, explain_failure, fetch_weights
from mil_heatmaps.weights.layouts import best_candidates, joined
from mil_heatmaps.words import install_line

INSTALL = install_line("encoders")


def find_weights(spec: EncoderSpec, weights: str | os.PathLike[str] | None) -> Path:
    """Return the file of the weights: `weights`, else the environment variable's, else the hub's.

    A file in the hub's cache is used as it is, so that all slides and all machines of a run use the same weights;
    ``hf download`` gets the newest.

    Raises
    ------
    CheckpointError
        There is no such file, access is not granted, or the cache is empty while offline; the message says what to
        request and where to put the file.
    """
    if weights is not None:
        return _existing(Path(weights), f"the weights given for encoder {spec.name}")
    if (named := named_weights(spec)) is not None:
        return _existing(named, f"the weights of encoder {spec.name} (environment variable {spec.env})")
    if spec.repo is None:
        raise CheckpointError(f"encoder {spec.name} needs weights: give the path of their file")
    return cached_weights(spec.repo) or _from_hub(spec)


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise CheckpointError(f"{what} are not at {path}")
    return path


def _where_to_put_it(spec: EncoderSpec) -> str:
    if spec.builder in ("transformers", "conch_v1_5"):
        return (
            f"or make its folder elsewhere with `hf download {spec.repo} --local-dir FOLDER` and give that folder as "
            "encoder_arguments.weights"
        )
    places = ["give its path as encoder_arguments.weights"]
    if spec.env:
        places.append(f"in the environment variable {spec.env}")
    return f"or download {' or '.join(HUB_FILES)} elsewhere and " + " or ".join(places)


def explain_hub_error(spec: EncoderSpec, error: Exception) -> CheckpointError:
    """Return the error that says what to do about a failed download."""
    what = f"the weights of encoder {spec.name}"
    return explain_failure(error, what, str(spec.repo), _where_to_put_it(spec), gated=spec.gated)


def _from_hub(spec: EncoderSpec) -> Path:
    missing = f"the weights of encoder {spec.name} come from the Hugging Face hub: {INSTALL}; {_where_to_put_it(spec)}"
    try:
        return fetch_weights(str(spec.repo), missing)
    except MissingDependencyError:
        raise
    except Exception as error:  # of many kinds: HTTP, gates, disks
        raise explain_hub_error(spec, error) from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict in a weights file, without other saved data and without a ``module.`` prefix."""
    tensors = joined(best_candidates(read_stored(path).content)[0])
    if not tensors:
        raise CheckpointError(f"{path} holds no encoder weights: no tensors by name")
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def load_strictly(
    module: nn.Module,
    path: Path,
    name: str,
    *,
    ignored: tuple[str, ...] = (),
    convert: Callable[[dict[str, torch.Tensor], nn.Module], Mapping[str, Any]] | None = None,
) -> None:
    """Load the weights at `path` into `module`: every tensor of `module` must be there with the right shape.

    Parameters
    ----------
    name
        Name of the encoder, for messages.
    ignored
        Prefixes of keys in the file that may be left over.
    convert
        Converts tensors of an older layout to the network's current one; only used if they do not fit.

    Raises
    ------
    CheckpointError
        The weights do not fit; the message lists tensors that are missing, unexpected or of another shape.
    """
    tensors = read_tensors(path)
    faults = _misfits(module, tensors, ignored)
    if faults and convert is not None:
        try:
            converted = dict(convert(dict(tensors), module))
        except (KeyError, RuntimeError, ValueError, AssertionError, AttributeError):  # weights of another network
            converted = {}
        if not _misfits(module, converted, ignored):
            tensors, faults = converted, ""
    if faults:
        raise CheckpointError(f"{path} does not hold the weights of encoder {name}; {faults}")
    wanted = module.state_dict()
    kept = {k: tensors[k].to(v.dtype) if k in tensors else torch.zeros_like(v, device="cpu") for k, v in wanted.items()}
    module.load_state_dict(kept, assign=any(v.is_meta for v in wanted.values()))


def _misfits(module: nn.Module, tensors: Mapping[str, torch.Tensor], ignored: tuple[str, ...]) -> str:
    """Say which tensors are missing, which the module does not have, and which have another shape."""
    wanted = module.state_dict()
    # Some files hold counters of training steps and others do not; they have no effect at inference.
    expected = {k: v for k, v in wanted.items() if k in tensors or not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in tensors.items() if k in wanted or not k.startswith(ignored or ("\0",))}
    return misfits(expected, given, most=4)
