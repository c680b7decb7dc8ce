"""Build the model a config names, on the device it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.choices import KNOWN_ENCODER
from mil_heatmaps.devices import choose_device
from mil_heatmaps.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.models.base import MILModel


def load_model(config: Config, checkpoint: Path | None, device: str) -> MILModel:
    """Return the model in eval mode on `device` (``auto``, ``cpu``, ``cuda``, ``cuda:N``).

    Chosen by `model_class`, `slide_encoder`, `model_name` (MIL-Lab), `model_type` (CLAM), or from the checkpoint.

    Raises
    ------
    CheckpointError, ModelError
        The model cannot be built or does not fit its checkpoint, or there is no such device.
    """
    arguments = config.model_arguments
    given = arguments.model_fields_set
    n_classes = _outputs(config, checkpoint)
    where = choose_device(device)
    if arguments.model_class is not None:
        from mil_heatmaps.checkpoints.own_model import load_custom_model

        model = load_custom_model(arguments.model_class, arguments.init_args, checkpoint)
        _check_bags(config, model)
    elif arguments.slide_encoder is not None:
        from mil_heatmaps.checkpoints.known_slide_encoders import known_slide_encoder
        from mil_heatmaps.checkpoints.own_slide_encoder import load_slide_encoder
        from mil_heatmaps.weights.slide_head import read_head

        if config.inputs.head is None:
            raise ModelError("model_arguments.slide_encoder needs a head that makes outputs of its vector")
        head = read_head(config.inputs.head, cosine=isinstance(arguments.head, dict))
        if arguments.slide_encoder == KNOWN_ENCODER and checkpoint is not None:
            model = known_slide_encoder(checkpoint, head)
        else:
            model = load_slide_encoder(arguments.slide_encoder, arguments.init_args, head, checkpoint)
    elif arguments.model_type is not None and arguments.model_name is None:
        from mil_heatmaps.checkpoints.builder import create_clam

        model = create_clam(
            arguments.model_type,
            arguments.model_size if "model_size" in given else None,
            n_classes,
            arguments.embed_dim if "embed_dim" in given else None,
            checkpoint,
        )
    else:
        from mil_heatmaps.checkpoints.builder import create_model

        model = create_model(arguments.model_name, n_classes, checkpoint, **arguments.overrides)
    return model.to(where).eval()


def _check_bags(config: Config, model: MILModel) -> None:
    """Raise a ModelError for a class that takes several bags where the config gives one, or the other way round."""
    from mil_heatmaps.models.several_inputs import SeveralInputsModel

    named, bags = config.model_arguments.model_class, ", ".join(config.bags)
    if isinstance(model, SeveralInputsModel):
        if not bags:
            raise ModelError(f"{named} takes bags: give h5_dir as a mapping, such as {{x20: DIR, x5: DIR}}")
        model.check_extra(tuple(config.data_arguments.extra or ()))
    elif bags:
        raise ModelError(f"h5_dir gives the bags {bags}, but {named} takes one: its forward has no argument bags")


def _outputs(config: Config, checkpoint: Path | None) -> int | None:
    """Return how many outputs the model should have: one logit may separate two classes."""
    n_classes, arguments = config.exp_arguments.n_classes, config.model_arguments
    own = arguments.own_code or arguments.slide_encoder
    if n_classes != 2 or checkpoint is None or own or arguments.task != "classification":
        return n_classes
    from mil_heatmaps.checkpoints.load import identify, load_checkpoint

    try:
        return 1 if identify(load_checkpoint(checkpoint)).num_classes == 1 else n_classes
    except CheckpointError:  # reported in more detail when the model is built
        return n_classes
