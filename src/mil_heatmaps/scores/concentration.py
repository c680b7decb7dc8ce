"""How far the attention of a slide is concentrated on few patches: colours by rank cannot show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import grouped, number_words, share_words

if TYPE_CHECKING:
    import numpy.typing as npt

NEARLY_EVEN = 0.8
"""Attention counts as nearly even from this ratio on: effective number of patches over their number."""

_LOGITS = frozenset({"attention_logit"})
_SHARES = frozenset({"attention_softmax", "attention_mean", "attention_rollout"})


@dataclass(frozen=True)
class Concentration:
    """How attention is spread over the patches of a slide.

    Attributes
    ----------
    patches : int
        Number of patches with a finite score.
    effective : float
        1 / sum(w²) of the weights w, which sum to 1: this many patches of equal weight would be as concentrated (the
        inverse of Simpson's index; in sampling, Kish's effective sample size).
    top_tenth : float
        Share of the total weight in the tenth of the patches with the highest weights.
    ratio : float
        Highest weight over the lowest; infinite where a weight is 0.
    """

    patches: int
    effective: float
    top_tenth: float
    ratio: float

    @property
    def nearly_even(self) -> bool:
        """Whether the colours show differences that hardly matter: see docs/explanation/scores.md."""
        return self.patches > 1 and self.effective >= NEARLY_EVEN * self.patches

    @property
    def words(self) -> str:
        """One sentence without a full stop."""
        if self.patches == 1:
            return "the slide has one patch, which holds all attention"
        even = " (nearly even)" if self.nearly_even else ""
        effective = number_words(self.effective, 3) if self.effective < 100 else grouped(round(self.effective))
        top = "top tenth holds" if self.patches >= 10 else "highest patch holds"
        return (
            f"attention is spread over {effective} of {grouped(self.patches)} patches{even}; "
            f"the {top} {share_words(self.top_tenth)}{self._ratio_words}"
        )

    @property
    def _ratio_words(self) -> str:
        if not np.isfinite(self.ratio):
            return ""
        if self.ratio < 1 + 1e-6:  # what single precision tells apart
            return "; all weights are equal"
        if self.ratio < 1.05:  # "1 times" would be read as equal
            return "; the highest weight is less than 5% above the lowest"
        if self.ratio >= 1e5:
            return "; the highest weight is over 100\N{NARROW NO-BREAK SPACE}000 times the lowest"
        return f"; the highest weight is {number_words(self.ratio, 2 if self.ratio < 100 else 3)} times the lowest"

    def plain(self) -> dict[str, float]:
        """Return the numbers of the tables, by column; an infinite ratio is left out."""
        numbers = {"effective_patches": self.effective, "top_tenth_share": self.top_tenth}
        return numbers | ({"weight_ratio": self.ratio} if np.isfinite(self.ratio) else {})


def concentration(scores: npt.ArrayLike, kind: str) -> Concentration | None:
    """Return how concentrated attention is; None for scores that are not attention weights, or without a patch.

    Weights are the softmax of logits, or the shares themselves, divided by their sum.
    """
    values = np.asarray(scores, np.float64).ravel()
    values = values[np.isfinite(values)]
    if not len(values) or kind not in _LOGITS | _SHARES:
        return None
    weights = np.exp(values - values.max()) if kind in _LOGITS else values
    if (weights < 0).any() or not weights.sum() > 0:
        return None
    weights = weights / weights.sum()
    ordered: npt.NDArray[Any] = np.sort(weights)[::-1]
    top = ordered[: max(1, round(len(ordered) / 10))].sum()
    lowest = float(ordered[-1])
    ratio = float(ordered[0]) / lowest if lowest > 0 else float("inf")
    return Concentration(len(ordered), float(1 / np.square(ordered).sum()), float(top), ratio)
