"""What readers must know before they believe an explanation, as notices stored with the slide's results."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.explain.sentences import check_sentences, one_patch_sentence
from mil_heatmaps.notices import Notice


def remarks(
    score: str, targets: Sequence[str], checks: Mapping[str, Any], values: npt.NDArray[np.floating]
) -> list[Notice]:
    """Return the notices of one explanation.

    Parameters
    ----------
    targets : K str
        Names of its columns.
    checks : mapping
        The checks stored with it; a list has one entry per column.
    values : (N, K)
    """
    said = []
    for column, target in enumerate(targets):
        for sentence in check_sentences(score, checks, column):
            said.append(Notice("explanation_check", f"{score} of {target}: {_clause(sentence)}"))
    zeros = [one_patch_sentence(score, column) for column in values.T]
    if zeros and all(zeros):
        said.append(Notice("one_patch_decides", f"{score}: {_clause(zeros[0][0])}"))
    missing = int(np.isnan(values).any(axis=1).sum())
    if missing and missing == len(values):
        words = f"{score}: nothing is left when every patch is taken away, so no patch has a value"
        said.append(Notice("nothing_left", words))
    return said


def _clause(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")
