"""Put patch scores on the scale 0 to 1 that a colour table needs, and say in words what was done.

Everything here is pure: arrays in, arrays out. Scores that are NaN or infinite stay out of every statistic,
come back as NaN (drawn as uncovered) and are counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import METHODS, Method
from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.patch_scores import FOR_AND_AGAINST
from mil_heatmaps.scores.percentiles import rank_percentiles, reference_percentiles, to_percentiles
from mil_heatmaps.scores.scale import ROBUST_QUANTILES, CohortScale, summarize_scores
from mil_heatmaps.words import grouped, number_words

__all__ = [
    "ROBUST_QUANTILES",
    "CohortScale",
    "NormalizedScores",
    "default_method",
    "normalize",
    "rank_percentiles",
    "reference_percentiles",
    "reference_words",
    "summarize_scores",
    "to_percentiles",
]

_SHARE_KINDS = {"attention_softmax", "attention_mean"}
_PERCENT_METHODS = {"percentile", "percentile_ref"}


@dataclass(frozen=True, repr=False)
class NormalizedScores:
    """Scores ready for a colour table, and the words for its colour bar.

    Attributes
    ----------
    values : (N,) float64
        In [0, 1]; NaN where there is nothing to draw.
    method : Method
    vmin, vmax : float
        What 0 and 1 stand for, in `unit`.
    unit : ``percentile``, ``share`` or ``score``
        Percentiles run from 0 to 100; a share is a softmax weight.
    scope : ``slide``, ``cohort``, ``reference`` or ``fixed``
        Whose scores set the range.
    center : float or None
        The score at 0.5 for a diverging map, None when the range is not centred.
    excluded : int
        How many scores were NaN or infinite.
    constant : bool
        True when the finite scores are all equal (and there are at least two).
    label : str
        One phrase for the colour bar, without the score's own name.
    """

    values: npt.NDArray[np.float64]
    method: str
    vmin: float
    vmax: float
    unit: str
    scope: str
    center: float | None
    excluded: int
    constant: bool
    label: str

    def __repr__(self) -> str:
        return f"NormalizedScores(n={len(self.values)}, {self.label!r}, excluded={self.excluded})"


def normalize(
    values: npt.ArrayLike,
    method: str = "percentile",
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    reference: npt.ArrayLike | None = None,
    center: float | None = None,
    scale: CohortScale | None = None,
    kind: str | None = None,
) -> NormalizedScores:
    """Return `values` on the scale 0 to 1.

    Parameters
    ----------
    values : (N,) or (N, 1)
        Raw scores of one slide.
    method : Method
        ``percentile`` (average rank / N), ``percentile_ref`` (percentile among `reference`), ``minmax``,
        ``robust`` (1st to 99th percentile, clipped), ``softmax`` (share of the slide's attention, 0 to the
        largest share), ``none`` (as they are: 0 to 1 unless `vmin` and `vmax` say otherwise).
    vmin, vmax : float, optional
        Fixed ends in the method's unit: scores, percentiles 0 to 100, or shares. Beyond them colours
        saturate.
    reference : (M,), optional
        Raw scores of the coarse map, for ``percentile_ref``.
    center : float, optional
        Widen the range so that this score lies in its middle, for diverging maps. Percentiles and shares have
        no such middle and ignore it; when both ends are fixed they are kept as they are.
    scale : CohortScale, optional
        One scale for a whole run; without it the slide's own scores set the range.
    kind : ScoreKind, optional
        With ``attention_softmax`` or ``attention_mean`` the values are shares already and `softmax` leaves
        them so.

    Raises
    ------
    ScoreError
        An unknown method, ends in the wrong order, or ``percentile_ref`` without a reference.
    """
    if method not in METHODS:
        raise ScoreError(f"unknown normalisation {method!r}; choose from {list(METHODS)}")
    scores = _flat(values)
    finite = np.isfinite(scores)
    kept = scores[finite]
    center = None if method in _PERCENT_METHODS or method == "softmax" else center
    numbers = _transform(kept, method, reference, scale, kind)
    low, high, scope, fell_back = _range(kept, numbers, method, scale)
    low, high, scope, center = _apply_ends(low, high, scope, vmin, vmax, center)
    out = np.full(scores.shape, np.nan)
    out[finite] = _stretch(numbers, low, high)
    return NormalizedScores(
        values=out,
        method=method,
        vmin=low,
        vmax=high,
        unit=_unit(method),
        scope=scope,
        center=center,
        excluded=int(len(scores) - len(kept)),
        constant=len(kept) > 1 and bool((kept == kept[0]).all()),
        label=_label(method, low, high, scope, center, scale, fell_back, reference),
    )


def default_method(kind: str) -> Method:
    """Return how scores of a kind become colours when nothing else is asked.

    By rank; those whose sign tells for from against are stretched instead, so that zero can be the middle.
    """
    return "robust" if kind in FOR_AND_AGAINST else "percentile"


def reference_words(reference: npt.ArrayLike) -> str:
    """Return what a percentile among the scores of the coarse map is, for a colour bar."""
    count = int(np.isfinite(np.asarray(reference)).sum())
    return f"percentile among the slide's {grouped(count)} coarse patches"


def _flat(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return one score a patch; integers become float64, floats keep their type."""
    scores = np.asarray(values)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.ndim != 1:
        raise ScoreError(f"one score a patch is needed, shape (N,) or (N, 1); got {scores.shape}")
    return scores if scores.dtype.kind == "f" else scores.astype(np.float64)


def _transform(
    kept: npt.NDArray[Any],
    method: str,
    reference: npt.ArrayLike | None,
    scale: CohortScale | None,
    kind: str | None,
) -> npt.NDArray[Any]:
    """Return the finite scores in the method's unit."""
    if method == "percentile":
        return rank_percentiles(kept) if scale is None else scale.percentiles(kept)
    if method == "percentile_ref":
        if reference is None:
            raise ScoreError("'percentile_ref' needs the reference scores; without them use 'percentile'")
        return reference_percentiles(kept, reference)
    numbers = kept.astype(np.float64)
    if method == "softmax" and kind not in _SHARE_KINDS and len(numbers):
        weights = np.exp(numbers - numbers.max())
        return np.asarray(weights / weights.sum())
    return numbers


def _range(
    kept: npt.NDArray[Any], numbers: npt.NDArray[Any], method: str, scale: CohortScale | None
) -> tuple[float, float, str, bool]:
    """Return the ends the method chooses, whose they are, and whether `robust` fell back to min-max."""
    if method in _PERCENT_METHODS:
        scope = "reference" if method == "percentile_ref" else "slide" if scale is None else "cohort"
        return 0.0, 100.0, scope, False
    if method == "none":
        return 0.0, 1.0, "fixed", False
    if method == "softmax":
        if scale is not None and scale.count:
            return 0.0, scale.max_share, "cohort", False
        top = float(numbers.max()) if len(numbers) else 1.0
        # Equal shares are neither hot nor cold: they belong in the middle of the bar.
        flat = len(numbers) > 1 and float(numbers.min()) == top
        return 0.0, (2 * top if flat else top) or 1.0, "slide", False
    own = CohortScale([summarize_scores(kept)]) if scale is None else scale
    scope = "slide" if scale is None else "cohort"
    if not own.count:
        return 0.0, 1.0, scope, False
    if method == "robust":
        low, high = _exact_bounds(kept) if scale is None else own.robust_bounds
        if low < high:
            return low, high, scope, False
    return own.minimum, own.maximum, scope, method == "robust"


def _exact_bounds(kept: npt.NDArray[Any]) -> tuple[float, float]:
    low, high = np.quantile(kept.astype(np.float64), ROBUST_QUANTILES)
    return float(low), float(high)


def _apply_ends(
    low: float, high: float, scope: str, vmin: float | None, vmax: float | None, center: float | None
) -> tuple[float, float, str, float | None]:
    """Return the ends after the caller's own ones and the wish for a centre."""
    for name, end in (("vmin", vmin), ("vmax", vmax)):
        if end is not None and not np.isfinite(end):
            raise ScoreError(f"{name} must be a finite number, got {end}")
    if center is not None and (vmin is None or vmax is None):
        given = [end for end in (vmin, vmax) if end is not None] or [low, high]
        half = max(abs(end - center) for end in given)
        low, high = center - half, center + half
    else:
        low, high = (low if vmin is None else vmin), (high if vmax is None else vmax)
        if center is not None and not np.isclose(center, (low + high) / 2, rtol=0, atol=1e-9 * (high - low)):
            center = None
    if vmin is not None or vmax is not None:
        scope = "fixed"
        if low >= high:
            raise ScoreError(f"the colour range is empty: vmin {low:g} must be below vmax {high:g}")
    return float(low), float(high), scope, center


def _stretch(numbers: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[Any]:
    """Map [low, high] to [0, 1] and clip; one half where the range has no width."""
    if low == high:
        return np.full(len(numbers), 0.5)
    # From zero, one division in the numbers' own type: percentiles then keep CLAM's bits (float32 / 100 too).
    part = numbers / high if low == 0 else (numbers - low) / (high - low)
    return np.clip(part, 0.0, 1.0)


def _unit(method: str) -> str:
    return "percentile" if method in _PERCENT_METHODS else "share" if method == "softmax" else "score"


def _label(
    method: str,
    low: float,
    high: float,
    scope: str,
    center: float | None,
    scale: CohortScale | None,
    fell_back: bool,
    reference: npt.ArrayLike | None,
) -> str:
    cohort = "" if scale is None else scale.words
    whose = cohort or "the slide"
    words = {
        "percentile": f"percentile within {whose}",
        "percentile_ref": "" if reference is None else reference_words(reference),
        "minmax": f"minimum to maximum of {whose}",
        "robust": f"1st to 99th percentile of {whose}, clipped",
        "softmax": "share of the slide's attention (softmax)" + (f", scaled to {cohort}" if cohort else ""),
        "none": "as given, clipped",
    }[method]
    if fell_back:
        words = f"minimum to maximum of {whose} (1st and 99th percentile coincide)"
    if scope == "fixed" and method in {"minmax", "robust"}:
        words = "fixed range, clipped"
    if center is not None:
        words += f", centred at {number_words(center)}"
    if method in _PERCENT_METHODS and (low, high) == (0.0, 100.0):
        return words
    return f"{words}: {number_words(low)} to {number_words(high)}"
