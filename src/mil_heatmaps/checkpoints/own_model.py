"""A model of the user's own: made, filled with the weights of a checkpoint, and wrapped to behave like the others."""

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mil_heatmaps.checkpoints.load import load_checkpoint
from mil_heatmaps.errors import ModelError
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.custom import CustomModel, takes_bags
from mil_heatmaps.models.several_inputs import SeveralInputsModel
from mil_heatmaps.weights.fit import require_plain_weights, require_same_keys
from mil_heatmaps.weights.import_own import construct


def load_custom_model(
    model_class: str,
    init_args: Mapping[str, Any] | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
) -> MILModel:
    """Return the user's model, in eval mode, behind the interface of `MILModel`.

    Parameters
    ----------
    model_class : str
        ``package.module:Class`` or ``path/to/file.py:Class``.
    init_args : dict, optional
        Keyword arguments of the class.
    checkpoint_path : file or folder, optional
        Its tensors are loaded strictly, with ``module.``, ``model.`` and the like in front of all keys or
        not. Without one the class has loaded what it needs itself.

    Raises
    ------
    ModelError
        The class cannot be imported or made, or keeps to no contract.
    CheckpointError
        The checkpoint does not fit.
    """
    inner = construct(model_class, init_args)
    if checkpoint_path is not None:
        load_weights(inner, model_class, checkpoint_path)
    if isinstance(inner, MILModel):
        return inner.eval()
    return (SeveralInputsModel if takes_bags(inner) else CustomModel)(inner, model_class).eval()


def load_weights(inner: Any, model_class: str, path: str | os.PathLike[str]) -> None:
    """Load a checkpoint strictly into the user's object; errors are those of `load_custom_model`."""
    if not isinstance(inner, nn.Module):
        raise ModelError(f"{model_class} is not a torch.nn.Module: give it the checkpoint's path in init_args")
    checkpoint, expected = load_checkpoint(path), inner.state_dict()
    tensors = _without_prefix(checkpoint.tensors, expected)
    require_same_keys(expected, tensors, f"{model_class} ({checkpoint.source})")
    require_plain_weights({key: value for key, value in tensors.items() if expected[key].is_floating_point()})
    inner.load_state_dict(tensors, strict=True)


def _without_prefix(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` without what a wrapper put in front of all keys, if that makes them the expected ones."""
    if tensors.keys() == expected.keys() or not tensors or not expected:
        return dict(tensors)
    some = min(expected, key=len)
    for prefix in sorted({key[: -len(some)] for key in tensors if key.endswith(some)}, key=len):
        if all(key.startswith(prefix) for key in tensors):
            shorter = {key[len(prefix) :]: value for key, value in tensors.items()}
            if shorter.keys() == expected.keys():
                return shorter
    return dict(tensors)
