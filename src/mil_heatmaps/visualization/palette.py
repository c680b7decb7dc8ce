"""Colour tables: a matplotlib colormap as a small uint8 array, looked up once a grid cell, not a pixel."""

from difflib import get_close_matches
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.scores.patch_scores import FOR_AND_AGAINST
from mil_heatmaps.slides.pixels import UInt8Array

DEFAULT_CMAP = "jet"
"""CLAM's."""

DIVERGING_CMAP = "coolwarm"
"""For scores around a middle."""

CATEGORICAL_CMAP = "tab20"
"""For numbers that are names: a colour each."""


@lru_cache(maxsize=32)
def colour_table(cmap: str) -> UInt8Array:
    """Return the colours of a matplotlib colormap, lowest value first.

    A shade v in [0, 1] has the colour ``table[min(trunc(v * len(table)), len(table) - 1)]``, as matplotlib
    looks it up. Channels are ``trunc(c * 255)``, as CLAM makes them (matplotlib's own bytes are rounded).

    Parameters
    ----------
    cmap : str
        Any name matplotlib knows.

    Returns
    -------
    (n, 3) uint8, read-only
        RGB; n is 256 for most maps, 510 for the twilights, 8 to 20 for the qualitative ones.

    Raises
    ------
    ConfigError
        When there is no such colormap; names those nearest to it.
    """
    from matplotlib import colormaps  # 0.2 s, and not every caller draws

    if cmap not in colormaps:
        near = get_close_matches(cmap, list(colormaps), n=4, cutoff=0.5)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else "for example 'jet', 'viridis', 'coolwarm'"
        raise ConfigError(f"unknown colormap {cmap!r}; {hint} (any of matplotlib's {len(colormaps)} names will do)")
    colours = colormaps[cmap]
    table = (colours(np.arange(colours.N))[:, :3] * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def colour_index(shades: npt.NDArray[np.floating], colours: int) -> npt.NDArray[np.intp]:
    """Return each shade's row in a colour table of `colours` rows; shades outside [0, 1] take its ends."""
    index = (shades * colours).astype(np.intp)
    return np.clip(index, 0, colours - 1, out=index)


def default_cmap(kind: str) -> str:
    """Return the colormap of a kind of score: CLAM's, or one with a middle where the sign tells for from against."""
    if kind == "cluster":
        return CATEGORICAL_CMAP
    return DIVERGING_CMAP if kind in FOR_AND_AGAINST or kind == "consensus_spread" else DEFAULT_CMAP
