"""The content of another program's score file, before its patches are placed on the slide."""

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from mil_heatmaps.notices import Notice


@dataclass(frozen=True)
class ToldScores:
    """Scores and positions as stored in a file.

    Attributes
    ----------
    places : (N, 2)
        Top-left corners as stored, or centres if `attributes` say so.
    attributes : what the file says about positions, patches and slide, under the names that HDF5 files use
    names : K texts
    values : (N, K), NaN where there is no score
    notes : tuple of Notice
    """

    places: npt.NDArray[Any]
    attributes: dict[str, Any]
    names: tuple[str, ...]
    values: npt.NDArray[Any]
    notes: tuple[Notice, ...] = field(default=())
