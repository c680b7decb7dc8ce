"""Make the user's own slide encoder by its factory, load a checkpoint into it, and add its head."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mil_heatmaps.checkpoints.own_model import load_weights
from mil_heatmaps.models.slide_encoder import SlideEncoderModel
from mil_heatmaps.weights.import_own import make_own
from mil_heatmaps.weights.slide_head import SlideHead


def load_slide_encoder(
    factory: str, init_args: Mapping[str, Any] | None, head: SlideHead, checkpoint: Path | None = None
) -> SlideEncoderModel:
    """Return a slide encoder with its head, in eval mode.

    Parameters
    ----------
    factory : str
        ``package.module:factory`` or ``path/to/file.py:factory``; a function or class that returns the encoder.
    init_args : dict, optional
        Keyword arguments of the factory.
    checkpoint : file or folder, optional
        Loaded strictly into the object that the factory returns, as in `load_custom_model`.

    Raises
    ------
    ModelError
        The factory cannot be imported or fails, or its result does not follow the contract.
    CheckpointError
        The checkpoint does not fit.
    """
    encoder = make_own(factory, init_args or {}, key="slide_encoder")
    if checkpoint is not None:
        load_weights(encoder, factory, checkpoint)
    if isinstance(encoder, nn.Module):
        encoder = encoder.eval().requires_grad_(False)
    model = SlideEncoderModel(encoder, head, factory).eval()
    assert isinstance(model, SlideEncoderModel)
    return model
