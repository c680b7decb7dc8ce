"""Slide encoders that a file of weights tells by its keys, so that no code of the user's own is needed."""

from pathlib import Path

from mil_heatmaps.checkpoints.load import load_checkpoint
from mil_heatmaps.checkpoints.recognise import below_prefixes
from mil_heatmaps.checkpoints.refusals import OWN_ENCODER, refused_by_name
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.layers.roles import attempt, left_over
from mil_heatmaps.models.chief import LAYOUT, Chief
from mil_heatmaps.models.slide_encoder import SlideEncoderModel
from mil_heatmaps.weights.fit import require_plain_weights
from mil_heatmaps.weights.slide_head import SlideHead
from mil_heatmaps.words import first_of


def known_slide_encoder(checkpoint: Path, head: SlideHead) -> SlideEncoderModel:
    """Return the slide encoder in a file, with its head, in eval mode: CHIEF, as yet.

    Raises
    ------
    CheckpointError
        The file cannot be read, or its keys are not those of an encoder that is known.
    """
    tensors = load_checkpoint(checkpoint).tensors
    for prefix, inside in below_prefixes(tensors).items():
        match = attempt(LAYOUT, inside)
        if match.missing:
            continue
        left = [prefix + key for key in left_over(LAYOUT, match, inside)]
        left += [key for key in tensors if not key.startswith(prefix)]
        if match.misfit or left:
            what = prefix + match.misfit if match.misfit else f"it also holds {first_of(sorted(left), 4)}"
            raise CheckpointError(f"{checkpoint} has the keys of CHIEF, but {what}; {OWN_ENCODER}")
        require_plain_weights(match.tensors)
        model = SlideEncoderModel(Chief.of(match).requires_grad_(False), head, "chief").eval()
        assert isinstance(model, SlideEncoderModel)
        return model
    reason = refused_by_name(tensors)
    unknown = f"is not a slide encoder that keys tell, as CHIEF is; {OWN_ENCODER}"
    raise CheckpointError(f"{checkpoint} {f'cannot be used: {reason}' if reason else unknown}")
