"""Models that are known and cannot be run on the features of one slide: told by their keys, refused by their names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

OWN_MODEL = "bring it as model_class (docs/how-to/own_model.md)"
OWN_ENCODER = "name code that makes its vector in model_arguments.slide_encoder (docs/how-to/slide_encoders.md)"
_KERNEL = "its state-space kernel is not part of this program"


@dataclass(frozen=True)
class Refusal:
    """A known model that is not run.

    Attributes
    ----------
    name : str
    keys : tuple of str
        Regular expressions, each of which must be found in some key.
    reason : str
        Why, and the way on, after "is a <name>: ".
    """

    name: str
    keys: tuple[str, ...]
    reason: str


_NEIGHBOURS = "it needs which patches are neighbours (an adjacency), which features do not tell"

REFUSALS = (
    Refusal(
        "Additive MIL with its own image encoder", (r"\bfeaturizer\.", r"\bpointer\.model\."),
        "it was trained end to end from pictures: extract features with that encoder, and save a file without its "
        "keys featurizer.*",
    ),
    Refusal("HIPT", (r"local_phi\b", r"global_transformer\b"), f"it reads regions of 4096 px; {OWN_MODEL}"),
    Refusal("MCAT or SurvPath", (r"\bsig_networks\b",), f"it takes genes too; {OWN_MODEL}"),
    Refusal("TOAD", (r"\bsite_classifier\b|\bclassifier_site\b",), f"it takes the patient's sex too; {OWN_MODEL}"),
    Refusal(
        "CHIEF", (r"\borgan_embedding\b",),
        "it makes a vector of the slide: give model_arguments.head, what turns that vector into outputs",
    ),
    Refusal("COBRA", (r"\bmamba_enc\b",), f"{_KERNEL}; {OWN_ENCODER}"),
    Refusal("Madeleine", (r"\bwsi_embedders\b",), f"its pooling is known by its own code alone; {OWN_ENCODER}"),
    Refusal("MambaMIL", (r"\bA_log\b",), f"{_KERNEL}; {OWN_MODEL}"),
    Refusal("S4MIL", (r"\bs4_block\b|\bkernel\.log_dt\b",), f"{_KERNEL}; {OWN_MODEL}"),
    Refusal(
        "attention_mil of several magnifications", (r"\bencoder_0\b", r"\battention_0\b"),
        f"it takes the slide at several magnifications at once; {OWN_MODEL}",
    ),
    Refusal(
        "barspoon (STAMP's EncDecTransformer)", (r"\btransformer_decoder\b", r"\bclass_tokens\b"),
        f"it predicts several targets at once; {OWN_MODEL}",
    ),
    Refusal(
        "DTFDMIL of torchmil", (r"\bu_attention_pool\b",),
        f"it cuts the patches into random groups, whose number its file does not hold; {OWN_MODEL}",
    ),
    Refusal("SmABMIL or SmTransformerABMIL", (r"\bsm\.(sm\.)?coef\b|\bsm\.sm\b",), f"{_NEIGHBOURS}; {OWN_MODEL}"),
    Refusal("CAMIL", (r"\bcamil_(self|att)",), f"{_NEIGHBOURS}; {OWN_MODEL}"),
    Refusal(
        "graph network (PatchGCN, DeepGraphSurv, GTP)",
        (r"\b(gcn|gnn)\w*\b|\bpath_phi\b|\bgraph_\w+|\blayers_rep\b",), f"{_NEIGHBOURS}; {OWN_MODEL}",
    ),
    Refusal("SETMIL", (r"\bse_transf\b|\brpe_k\b",), f"{_NEIGHBOURS}; {OWN_MODEL}"),
    Refusal(
        "IIBMIL", (r"\bprototypes$", r"\bbag_classifier\b"),
        f"its decoder and prototypes are no part of this program; {OWN_MODEL}",
    ),
    Refusal("VAEABMIL", (r"\bvae\b|\bfeat_ext\.decoder\b",), f"its embedding is drawn at random; {OWN_MODEL}"),
    Refusal(
        "ProbSmoothABMIL or TransformerProbSmoothABMIL", (r"\bmu_(f_)?nn\b|\blog_diag_Sigma_nn\b",),
        f"its attention is drawn at random, around what neighbours say; {OWN_MODEL}",
    ),
)  # fmt: skip


def refused_by_name(tensors: Mapping[str, Tensor]) -> str | None:
    """Return which model that is not run the keys are, and why; None for another."""
    for one in REFUSALS:
        if all(any(re.search(pattern, key) for key in tensors) for pattern in one.keys):
            return f"it is a {one.name}: {one.reason}"
    return None


def known_refusal(tensors: Mapping[str, Tensor]) -> str | None:
    """Return why a model that no family explains cannot be run, None where its keys tell nothing."""
    if reason := refused_by_name(tensors):
        return reason
    images = [key for key, value in tensors.items() if is_image_convolution(key, value)]
    if images:
        return (
            f"it was trained on pictures: {images[0]} is a convolution of pixels, and a slide's features go in here; "
            f"extract features with the part that takes pictures and save the rest alone, or {OWN_MODEL}"
        )
    return None


def is_image_convolution(key: str, value: Tensor) -> bool:
    """Say whether a tensor is a convolution over pictures; those that mix tokens have one channel in each group."""
    named = key.startswith("feature_extractor_part1.") or ".feature_extractor_part1." in key
    return value.ndim == 4 and (value.shape[1] > 1 or named)
