"""Colour tables: a matplotlib colormap as a small uint8 array, looked up once per grid cell, not per pixel."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.patch_scores import FOR_AND_AGAINST

if TYPE_CHECKING:
    import numpy.typing as npt

    from mil_heatmaps.slides.pixels import UInt8Array

DEFAULT_CMAP = "jet"
"""CLAM's colormap."""

DIVERGING_CMAP = "BrBG_r"
"""For scores around a middle: blue-green below it and brown above. Neither is a colour of H&E."""

EVEN_CMAP = "viridis"
"""Equal steps look equal, also when printed in grey. ``auto`` means this one for scores without a middle."""

AUTO = "auto"

_DIVERGING = frozenset(
    {
        "PiYG", "PRGn", "BrBG", "PuOr", "RdGy", "RdBu", "RdYlBu", "RdYlGn", "Spectral", "coolwarm", "bwr", "seismic",
        "berlin", "managua", "vanimo",
    }
)  # fmt: skip
_LEAST_LIGHTNESS = 20.0

CATEGORICAL_CMAP = "tab20"
"""For category numbers: one colour per category."""


@lru_cache(maxsize=32)
def colour_table(cmap: str) -> UInt8Array:
    """Return the colours of a matplotlib colormap, lowest value first.

    A shade v in [0, 1] has the colour ``table[min(trunc(v * len(table)), len(table) - 1)]``, as in matplotlib.
    Channels are ``trunc(c * 255)``, as in CLAM; matplotlib's own bytes are rounded.

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
        If there is no such colormap; the message names similar ones.
    """
    from matplotlib import colormaps  # takes 0.2 s, and not every caller draws

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


def own_cmap(kind: str) -> str | None:
    """Return the colormap that a kind of score has regardless of the usual settings; None for most kinds."""
    return {"cluster": CATEGORICAL_CMAP, "consensus_spread": DIVERGING_CMAP}.get(kind)


def default_cmap(kind: str) -> str:
    """Return the default colormap of a kind of score: CLAM's, or a diverging one if the sign tells for from against."""
    return own_cmap(kind) or (DIVERGING_CMAP if kind in FOR_AND_AGAINST else DEFAULT_CMAP)


def chosen_cmap(cmap: str | None, cmap_signed: str | None = None, *, signed: bool) -> str:
    """Return the colormap of scores, `signed` or not, for the user's settings.

    Signed scores take `cmap_signed`, else `cmap` if it is diverging, else the default diverging colormap, because zero
    needs a distinct colour. ``auto`` means `EVEN_CMAP`, or `DIVERGING_CMAP` for signed scores.
    """
    if signed:
        middle = cmap is not None and is_diverging(cmap)
        named = cmap_signed if cmap_signed != AUTO else None
        return named or (cmap if middle and cmap is not None else DIVERGING_CMAP)
    return EVEN_CMAP if cmap == AUTO else cmap or DEFAULT_CMAP


def is_diverging(cmap: str) -> bool:
    """Whether a colormap has a distinct middle colour, which a scale around a centre needs."""
    return cmap.removesuffix("_r") in _DIVERGING


def is_even(cmap: str) -> bool:
    """Whether equal steps of a colormap look about equal.

    The lightness of its colours must run evenly in one direction or, for a diverging colormap, to the middle and back.

    Lightness is L* of CIE 1976 from linear sRGB, white D65.
    """
    return _is_even(cmap)


@lru_cache(maxsize=64)
def _is_even(cmap: str) -> bool:
    table = colour_table(cmap).astype(np.float64) / 255
    linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    light = np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, luminance * (29 / 3) ** 3)
    halves = np.array_split(light, 2) if is_diverging(cmap) else [light]
    return all(_runs_evenly(half) for half in halves)


def _runs_evenly(light: npt.NDArray[np.float64]) -> bool:
    steps = np.diff(light[:: max(1, len(light) // 16)])
    return bool(abs(light[-1] - light[0]) >= _LEAST_LIGHTNESS and (steps * np.sign(light[-1] - light[0]) > 0).all())
