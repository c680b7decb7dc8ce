"""Turn patch scores into shades, on the scale 0 to 1 that a colour table needs, and describe the mapping in words.

Everything here is pure: arrays in, arrays out. NaN and infinite scores are left out of every statistic, are
returned as NaN (drawn as uncovered) and are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import METHODS, Method
from mil_heatmaps.errors import ScoreError
from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.patch_scores import FIXED_RANGES, FOR_AND_AGAINST, SHARE_KINDS
from mil_heatmaps.scores.percentiles import rank_percentiles, reference_percentiles
from mil_heatmaps.scores.scale import ROBUST_QUANTILES, CohortScale, summarize_scores
from mil_heatmaps.words import grouped, number_words, numbers_apart

if TYPE_CHECKING:
    import numpy.typing as npt

_PERCENT_METHODS = {"percentile", "percentile_ref"}


@dataclass(frozen=True, repr=False)
class NormalizedScores:
    """Scores ready for a colour table, and the words for its colour bar.

    Attributes
    ----------
    shades : (N,) float64; float32 for ``percentile_ref``, as in CLAM
        In [0, 1]; NaN where there is nothing to draw.
    method : Method
    vmin, vmax : float
        The values of 0 and 1, in `unit`.
    unit : ``percentile``, ``share`` or ``score``
        Percentiles run from 0 to 100; a share is a softmax weight.
    scope : ``slide``, ``cohort``, ``reference`` or ``fixed``
        The scores that set the range.
    center : float or None
        The score at 0.5 for a diverging map, None when the range is not centred.
    excluded : int
        Number of scores that were NaN or infinite.
    constant : bool
        True when all finite scores are equal (and there are at least two).
    label : str
        A phrase for the colour bar, without the name of the score.
    """

    shades: npt.NDArray[np.floating]
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
        return f"NormalizedScores(n={len(self.shades)}, {self.label!r}, excluded={self.excluded})"


def normalize(
    scores: npt.ArrayLike,
    method: str = "percentile",
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    reference: npt.ArrayLike | None = None,
    center: float | None = None,
    center_name: str = "",
    scale: CohortScale | None = None,
    kind: str | None = None,
) -> NormalizedScores:
    """Return `scores` as shades, on the scale 0 to 1.

    >>> shown = normalize([2.0, 4.0, 3.0], "minmax")
    >>> shown.shades.tolist(), shown.label
    ([0.0, 1.0, 0.5], 'minimum to maximum of the slide: 2 to 4')

    Parameters
    ----------
    scores : (N,) or (N, 1)
        Of one slide, as the model returned them.
    method : Method
        ``percentile`` (average rank / N), ``percentile_ref`` (percentile among `reference`), ``minmax``,
        ``robust`` (1st to 99th percentile, clipped), ``softmax`` (share of the slide's attention, 0 to the
        largest share), ``none`` (unchanged: 0 to 1 unless `vmin` and `vmax` say otherwise).
    vmin, vmax : float, optional
        Fixed ends in the method's unit: scores, percentiles 0 to 100, or shares. Scores beyond them get the colour
        of the nearer end.
    reference : (M,), optional
        Scores of the coarse map, for ``percentile_ref``.
    center : float, optional
        Widen the range so that this score is in the middle, for diverging maps. Percentiles and shares have no
        such middle and ignore it; two fixed ends are kept.
    scale : CohortScale, optional
        One scale for a whole run; without it the slide's own scores set the range.
    kind : ScoreKind, optional
        With ``attention_softmax`` or ``attention_mean`` the scores are already shares, and `softmax` leaves
        them unchanged.

    Raises
    ------
    ScoreError
        The method is unknown, the ends are in the wrong order, or ``percentile_ref`` has no reference.
    """
    if method not in METHODS:
        raise ScoreError(f"unknown normalisation {method!r}; choose from {list(METHODS)}")
    flat = _flat(scores)
    finite = np.isfinite(flat)
    kept = flat if finite.all() else flat[finite]
    numbers = _transform(kept, method, reference, scale, kind)
    center = None if method in _PERCENT_METHODS or method == "softmax" else center
    ends = _own_ends(kept, numbers, method, scale).given(vmin, vmax, center)
    stretched = ends.stretch(numbers)
    shades = stretched
    if len(kept) < len(flat):
        shades = np.full(flat.shape, np.nan, stretched.dtype)
        shades[finite] = stretched
    words = reference_words(reference) if method == "percentile_ref" and reference is not None else ""
    return NormalizedScores(
        shades=shades,
        method=method,
        vmin=ends.low,
        vmax=ends.high,
        unit=_unit(method),
        scope=ends.scope,
        center=ends.center,
        excluded=int(len(flat) - len(kept)),
        constant=len(kept) > 1 and bool((kept == kept[0]).all()),
        label=ends.label(method, scale, words, center_name),
    )


def default_method(kind: str) -> Method:
    """Return how scores of a kind become colours by default.

    By rank. Scores whose sign separates for from against are stretched instead, so that zero can be the middle.
    Numbers that mean the same on every slide are unchanged.
    """
    if kind in FIXED_RANGES:
        return "none"
    return "robust" if kind in FOR_AND_AGAINST else "percentile"


def reference_words(reference: npt.ArrayLike) -> str:
    """Return the words for percentiles among the scores of the coarse map, for a colour bar."""
    count = int(np.isfinite(np.asarray(reference)).sum())
    return f"percentile among the slide's {grouped(count)} coarse patches"


def _flat(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return one score per patch; integers become float64, floats keep their type."""
    scores = np.asarray(values)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.ndim != 1:
        raise ScoreError(f"one score per patch is needed, shape (N,) or (N, 1); got {scores.shape}")
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
    if method == "softmax" and scale is not None and scale.log_total is not None:
        return np.asarray(np.exp(numbers - scale.log_total))
    if method == "softmax" and kind not in SHARE_KINDS and len(numbers):
        weights = np.exp(numbers - numbers.max())
        return np.asarray(weights / weights.sum())
    return numbers


@dataclass(frozen=True)
class _Ends:
    """The range of numbers mapped to 0 to 1, and its origin; `fell_back` when `robust` had to use min-max."""

    low: float
    high: float
    scope: str
    fell_back: bool = False
    center: float | None = None

    def given(self, vmin: float | None, vmax: float | None, center: float | None) -> _Ends:
        """Return the ends after applying the caller's ends and centre."""
        for name, end in (("vmin", vmin), ("vmax", vmax)):
            if end is not None and not np.isfinite(end):
                raise ScoreError(f"{name} must be a finite number, got {end}")
        low, high, scope = self.low, self.high, self.scope
        if center is not None and (vmin is None or vmax is None):
            reached = [end for end in (vmin, vmax) if end is not None] or [low, high]
            half = max(abs(end - center) for end in reached)
            low, high = center - half, center + half
        else:
            low, high = (low if vmin is None else vmin), (high if vmax is None else vmax)
            if center is not None and not np.isclose(center, (low + high) / 2, rtol=0, atol=1e-9 * (high - low)):
                center = None
        if vmin is not None or vmax is not None:
            scope = "fixed"
            if low >= high:
                raise ScoreError(f"the colour range is empty: vmin {low:g} must be below vmax {high:g}")
        return _Ends(float(low), float(high), scope, self.fell_back, center)

    def stretch(self, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Map the range to [0, 1] and clip; 0.5 where it has no width."""
        if self.low == self.high:
            return np.full(len(numbers), 0.5)
        # From zero, a single division in the numbers' dtype: percentiles then keep CLAM's bits (float32 / 100 too).
        part = numbers / self.high if self.low == 0 else (numbers - self.low) / (self.high - self.low)
        return np.clip(part, 0.0, 1.0, out=part)

    def label(self, method: str, scale: CohortScale | None, reference: str, center_name: str = "") -> str:
        """Return the phrase for the colour bar; `reference` names the scores that ``percentile_ref`` ranks among,
        `center_name` the middle.
        """
        whose = "the slide" if scale is None else scale.words
        words = {
            "percentile": f"percentile within {whose}",
            "percentile_ref": reference,
            "minmax": f"minimum to maximum of {whose}",
            "robust": f"1st to 99th percentile of {whose}, clipped",
            "softmax": f"share of the {'slide' if scale is None or scale.log_total is None else 'case'}'s attention "
            "(softmax)" + ("" if scale is None else f", scaled to {whose}"),
            "none": "as given, clipped",
        }[method]
        if self.fell_back:
            words = f"minimum to maximum of {whose} (1st and 99th percentile coincide)"
        if self.scope == "fixed" and method in {"minmax", "robust"}:
            words = "fixed range, clipped"
        if self.center is not None:
            middle = number_words(self.center)
            words += f", centred at {center_name} ({middle})" if center_name else f", centred at {middle}"
        if method in _PERCENT_METHODS and (self.low, self.high) == (0.0, 100.0):
            return words
        low, high = numbers_apart([self.low, self.high])
        return f"{words}: {low} to {high}"


def _own_ends(kept: npt.NDArray[Any], numbers: npt.NDArray[Any], method: str, scale: CohortScale | None) -> _Ends:
    """Return the ends that the method chooses."""
    scope = "slide" if scale is None else "cohort"
    if method in _PERCENT_METHODS:
        return _Ends(0.0, 100.0, "reference" if method == "percentile_ref" else scope)
    if method == "none":
        return _Ends(0.0, 1.0, "fixed")
    if method == "softmax":
        if scale is not None and scale.count:
            return _Ends(0.0, scale.max_share, scope)
        top = float(numbers.max()) if len(numbers) else 1.0
        # Equal shares are neither high nor low: they belong in the middle of the bar.
        flat = len(numbers) > 1 and float(numbers.min()) == top
        return _Ends(0.0, (2 * top if flat else top) or 1.0, "slide")
    own = CohortScale([summarize_scores(kept)]) if scale is None else scale
    if not own.count:
        return _Ends(0.0, 1.0, scope)
    if method == "robust":
        low, high = _exact_bounds(kept) if scale is None else own.robust_bounds
        if low < high:
            return _Ends(low, high, scope)
    return _Ends(own.minimum, own.maximum, scope, fell_back=method == "robust")


def _exact_bounds(kept: npt.NDArray[Any]) -> tuple[float, float]:
    low, high = np.quantile(kept.astype(np.float64), ROBUST_QUANTILES)
    return float(low), float(high)


def _unit(method: str) -> str:
    return "percentile" if method in _PERCENT_METHODS else "share" if method == "softmax" else "score"
