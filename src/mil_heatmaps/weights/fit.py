"""Whether tensors from a file fit a network, by their names, shapes and kinds."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.words import first_of

MOST_REPEATED = 2**26
"""Bytes that a tensor may unpack to beyond those in the file, as one row repeated does."""


def misfits(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], most: int = 12) -> str:
    """Return which tensors are missing, unexpected and of another shape, `most` of each by name; "" when all fit."""
    problems = {
        "missing": sorted(expected.keys() - given.keys()),
        "unexpected": sorted(given.keys() - expected.keys()),
        "of another shape": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in sorted(expected.keys() & given.keys())
            if given[key].shape != expected[key].shape
        ],
    }
    return "; ".join(f"{what}: {first_of(keys, most)}" for what, keys in problems.items() if keys)


def require_same_keys(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], title: str) -> None:
    """Raise a `CheckpointError` that lists missing, unexpected and differently shaped tensors, if there are any."""
    if found := misfits(expected, given):
        raise CheckpointError(f"the checkpoint does not fit {title}: {found}")


def require_plain_weights(tensors: Mapping[str, Tensor]) -> None:
    """Raise a `CheckpointError` for a tensor that is not a plain array of real numbers, or would unpack to far more."""
    for key, value in tensors.items():
        what = ""
        if value.is_meta or value.layout != torch.strided or value.is_quantized or value.is_nested:
            kind = "quantized" if value.is_quantized else "sparse or nested"
            what = "a tensor without data" if value.is_meta else f"a {kind} tensor"
        elif not value.is_floating_point():
            what = f"{str(value.dtype).removeprefix('torch.')} numbers"
        elif (size := value.numel() * value.element_size()) > max(value.untyped_storage().nbytes(), MOST_REPEATED):
            what = f"a view that would unpack to {size:,} bytes"
        if what:
            raise CheckpointError(f"{key} is {what}, where plain weights are needed: save the model's state dict again")
