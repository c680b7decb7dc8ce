"""Where an encoder's weights are, and how they get into it: named files, the hub's cache, the hub.

Only safetensors and torch's ``weights_only`` reader are used; nothing in a weights file is ever executed.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mil_heatmaps.encoders.catalogue import EncoderSpec
from mil_heatmaps.encoders.weight_files import HUB_FILES, cached_weights, named_weights
from mil_heatmaps.errors import CheckpointError, MissingDependencyError
from mil_heatmaps.words import first_of, install_line

logger = logging.getLogger(__name__)

INSTALL = install_line("encoders")
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def find_weights(spec: EncoderSpec, weights: str | os.PathLike[str] | None) -> Path:
    """Return the file of the weights: `weights`, else the environment variable's, else the hub's.

    What is in the hub's cache is taken as it is, so that all slides and all machines of a run have the same;
    ``hf download`` brings the newest.

    Raises
    ------
    CheckpointError
        No such file, access not granted, or nothing in the cache while offline; says what to request and
        where the file may go.
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


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and what it came from: transformers wraps the hub's errors in an OSError."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def explain_hub_error(spec: EncoderSpec, error: Exception) -> CheckpointError:
    """Return the error that says what to do about a failed download."""
    page = f"https://huggingface.co/{spec.repo}"
    kinds = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    if kinds & {"GatedRepoError", "RepositoryNotFoundError", "LocalTokenNotFoundError"}:
        return CheckpointError(
            f"the weights of encoder {spec.name} are gated: request access at {page}, then log in with "
            f"`hf auth login` or set HF_TOKEN; {_where_to_put_it(spec)}"
        )
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}:
        first = f"request access at {page}, then, " if spec.gated else ""
        return CheckpointError(
            f"the weights of encoder {spec.name} are not in the local cache, and the hub cannot be asked "
            f"(offline, or HF_HUB_OFFLINE is set): {first}where there is a network, run `hf download "
            f"{spec.repo}` and copy the cache (HF_HOME); {_where_to_put_it(spec)}"
        )
    summary = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"cannot get the weights of encoder {spec.name} from {page} ({summary}); {_where_to_put_it(spec)}"
    )


def _from_hub(spec: EncoderSpec) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise MissingDependencyError(
            f"the weights of encoder {spec.name} come from the Hugging Face hub: {INSTALL}; {_where_to_put_it(spec)}"
        ) from None
    failures: list[Exception] = []
    for name in HUB_FILES:
        try:
            return Path(huggingface_hub.hf_hub_download(spec.repo, name))
        except LocalEntryNotFoundError as error:  # not cached and no network: the other name may be cached
            failures.append(error)
        except EntryNotFoundError as error:
            failures.append(error)
        except Exception as error:  # of many kinds: HTTP, gates, disks
            raise explain_hub_error(spec, error) from error
    worst = next((e for e in failures if isinstance(e, LocalEntryNotFoundError)), failures[0])
    raise explain_hub_error(spec, worst) from worst


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict in a weights file, without a wrapping ``state_dict`` and ``module.`` prefix."""
    from mil_heatmaps.weights.checkpoint_files import read_stored

    content: Any = read_stored(path).content
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = content if isinstance(content, Mapping) else {}
    kept = {str(k).removeprefix("module."): v for k, v in tensors.items() if isinstance(v, torch.Tensor)}
    if not kept:
        raise CheckpointError(f"{path} holds no encoder weights: no tensors by name")
    return kept


def load_strictly(
    module: nn.Module,
    path: Path,
    name: str,
    *,
    ignored: tuple[str, ...] = (),
    convert: Callable[[dict[str, torch.Tensor], nn.Module], Mapping[str, Any]] | None = None,
) -> None:
    """Put the weights at `path` into `module`: every tensor of it must be there, and of the right shape.

    Parameters
    ----------
    name
        Of the encoder, for messages.
    ignored
        Beginnings of keys in the file that may be left over.
    convert
        Makes tensors of the network's present layout of those of an older one; only asked when they do not fit.

    Raises
    ------
    CheckpointError
        Lists what is missing, unexpected, and of another shape.
    """
    tensors = read_tensors(path)
    faults = _misfits(module, tensors, ignored)
    if faults and convert is not None:
        try:
            converted = dict(convert(dict(tensors), module))
        except (KeyError, RuntimeError, ValueError, AssertionError, AttributeError):  # weights of something else
            converted = {}
        if not _misfits(module, converted, ignored):
            tensors, faults = converted, []
    if faults:
        raise CheckpointError(f"{path} does not hold the weights of encoder {name}; {'; '.join(faults)}")
    wanted = module.state_dict()
    kept = {k: tensors[k].to(v.dtype) if k in tensors else torch.zeros_like(v, device="cpu") for k, v in wanted.items()}
    module.load_state_dict(kept, assign=any(v.is_meta for v in wanted.values()))


def _misfits(module: nn.Module, tensors: Mapping[str, torch.Tensor], ignored: tuple[str, ...]) -> list[str]:
    """Say what is missing in `tensors`, what the module does not have, and what is of another shape."""
    wanted = module.state_dict()
    # Counters of training steps are in some files and not in others; they do nothing in use.
    missing = sorted(k for k in wanted.keys() - tensors.keys() if not k.endswith("num_batches_tracked"))
    unexpected = sorted(k for k in tensors.keys() - wanted.keys() if not k.startswith(ignored or ("\0",)))
    shapes = [
        f"{k} {tuple(tensors[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in sorted(wanted.keys() & tensors.keys())
        if tensors[k].shape != wanted[k].shape
    ]
    return [
        f"{what}: {first_of(keys, 4)}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if keys
    ]
