"""Text encoders, which turn prompts into vectors: those of PLIP and CONCH if installed, or the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import HeatmapError, ModelError
from mil_heatmaps.scores.concepts import Concepts, mean_direction
from mil_heatmaps.weights.import_own import ANYTHING, make_own
from mil_heatmaps.words import kind_and_text, lacking, reason_of

_PLIP, _CONCH = "vinid/plip", "MahmoodLab/conch"


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder.

    Attributes
    ----------
    name : str
    encode : texts -> (n, D) numbers
    encoders : names of the image encoders whose features share its space; empty if unknown
    temperature : float or None
        Temperature of its softmax, 1 / exp(logit_scale).
    """

    name: str
    encode: Callable[[list[str]], Any]
    encoders: tuple[str, ...]
    temperature: float | None


def concepts_of_prompts(
    prompts: Mapping[str, Sequence[str]],
    model: str,
    templates: Sequence[str] = ("{}",),
    temperature: float | None = None,
) -> Concepts:
    """Return one vector for each concept: the mean of the vectors of all its prompts in all templates.

    The prompts' vectors, and then their mean, are scaled to length 1. This is CLIP's prompt ensemble (Radford et al.,
    2021, section 3.1.4).

    Raises
    ------
    HeatmapError
        The text encoder is not there, or gives wrong shapes or numbers that are not finite.
    """
    encoder = load_text_encoder(model)
    named = {}
    for name, texts in prompts.items():
        asked = [template.replace("{}", text) for text in texts for template in templates]
        named[name] = mean_direction(_encoded(encoder, asked))
    return Concepts.of(named, f"the prompts ({encoder.name})", encoders=encoder.encoders,
                       temperature=temperature or encoder.temperature)  # fmt: skip


def _encoded(encoder: TextEncoder, texts: list[str]) -> npt.NDArray[np.float64]:
    try:
        made = encoder.encode(texts)
        made = made.detach().cpu().numpy() if hasattr(made, "detach") else made
        vectors = np.asarray(made, np.float64)
    except HeatmapError:
        raise
    except ANYTHING as error:  # the user's own code
        raise ModelError(f"the text encoder {encoder.name} failed on the prompts, {kind_and_text(error)}") from error
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise ModelError(
            f"the text encoder {encoder.name} gave an array of shape {vectors.shape} for {len(texts)} prompts; one row "
            "of finite numbers a prompt is needed"
        )
    return vectors


def load_text_encoder(model: str) -> TextEncoder:
    """Return ``plip`` or ``conch`` from installed packages and the hub's cache, or the encoder of a ``module:factory``.

    Nothing is downloaded.

    Raises
    ------
    ModelError, MissingDependencyError
        The encoder is not there, or has no method to encode texts.
    """
    known = {"plip": _plip, "conch": _conch}
    if model.lower() in known:
        return known[model.lower()]()
    if ":" not in model:
        raise ModelError(f"unknown text encoder {model!r}; choose plip, conch, or your own as module:factory")
    made = make_own(model, key="data_arguments.concepts.model")
    encode = getattr(made, "encode", made)
    if not callable(encode):
        raise ModelError(f"{model}() gives {type(made).__name__}, which has no method encode(texts)")
    told = getattr(made, "encoder", ())
    names = (told,) if isinstance(told, str) else tuple(map(str, told or ()))
    return TextEncoder(model, encode, names, _temperature(getattr(made, "logit_scale", None), model))


def _temperature(logit_scale: Any, model: str) -> float | None:
    """Return 1 / exp(logit_scale), CLIP's parameter; None without it."""
    if logit_scale is None:
        return None
    try:
        value = math.exp(-float(logit_scale))
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{model}: logit_scale is not a number ({reason_of(error)})") from error
    if not 0 < value < math.inf:
        raise ModelError(f"{model}: logit_scale {float(logit_scale):g} gives no temperature")
    return value


def _plip() -> TextEncoder:
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise lacking("prompts of plip", "transformers", "pip install transformers", error) from error
    try:
        model = transformers.CLIPModel.from_pretrained(_PLIP, local_files_only=True).eval()
        tokenizer = transformers.CLIPTokenizerFast.from_pretrained(_PLIP, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"plip ({_PLIP}) is not in the hub's cache ({reason_of(error)}): download it once (hf download {_PLIP}), "
            "or give vectors in a file"
        ) from error

    def encode(texts: list[str]) -> Any:
        import torch

        with torch.inference_mode():
            made = model.get_text_features(**tokenizer(texts, return_tensors="pt", padding=True, truncation=True))
        return getattr(made, "pooler_output", made)  # newer versions wrap the vectors

    return TextEncoder("plip", encode, ("plip",), _temperature(model.logit_scale.detach(), "plip"))


def _conch() -> TextEncoder:
    try:
        clip = import_module("conch.open_clip_custom")
    except ImportError as error:
        install = "pip install git+https://github.com/mahmoodlab/CONCH.git"
        raise lacking("prompts of conch", "conch", install, error) from error
    try:
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(_CONCH, "pytorch_model.bin", local_files_only=True)
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(
            f"conch ({_CONCH}) is not in the hub's cache ({reason_of(error)}): download it once (hf download {_CONCH})"
            ", or give vectors in a file"
        ) from error
    model, _ = clip.create_model_from_pretrained("conch_ViT-B-16", path)
    model.eval()
    tokenizer = clip.get_tokenizer()

    def encode(texts: list[str]) -> Any:
        import torch

        with torch.inference_mode():
            return model.encode_text(clip.tokenize(texts=texts, tokenizer=tokenizer))

    # Patch features share the space of texts only with the projection, which TRIDENT's conch_v1 leaves out.
    return TextEncoder("conch", encode, ("conch_v1_proj",), _temperature(model.logit_scale.detach(), "conch"))
