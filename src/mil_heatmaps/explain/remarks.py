"""What must be known of an explanation before it is believed, as notices: it travels with the slide's results."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.explain.sentences import check_sentences
from mil_heatmaps.notices import Notice

_MAY_BE_ZERO = ("leave_one_out", "gradient_x_input", "integrated_gradients")
"""Scores that are 0 for every patch but one where one patch alone makes the prediction."""


def remarks(
    score: str, targets: Sequence[str], checks: Mapping[str, Any], values: npt.NDArray[np.floating]
) -> list[Notice]:
    """Return the notices of one explanation.

    Parameters
    ----------
    targets : K str
        Names of its columns.
    checks : mapping
        What travels with it, one entry per column where it is a list.
    values : (N, K)
    """
    said = []
    for column, target in enumerate(targets):
        for sentence in check_sentences(score, checks, column):
            words = sentence[0].lower() + sentence[1:].rstrip(".")
            said.append(Notice("explanation_check", f"{score} of {target}: {words}"))
    if score in _MAY_BE_ZERO and len(values) > 1 and ((values != 0).sum(axis=0) == 1).all():
        words = f"{score}: one patch alone makes this prediction, so every other patch has 0"
        said.append(Notice("one_patch_decides", words))
    missing = int(np.isnan(values).any(axis=1).sum())
    if missing and missing == len(values):
        words = f"{score}: nothing is left when every patch is taken away, so no patch has a value"
        said.append(Notice("nothing_left", words))
    return said
