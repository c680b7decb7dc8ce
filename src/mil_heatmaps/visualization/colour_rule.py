"""How scores become colours, and what the colours mean."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import Method
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.scores.normalize import default_method
from mil_heatmaps.scores.normalize import normalize as normalize_scores
from mil_heatmaps.scores.patch_scores import FIXED_RANGES, FOR_AND_AGAINST, MIDDLES, PatchScores, Prediction
from mil_heatmaps.scores.scale import CohortScale
from mil_heatmaps.visualization.colour_words import Centre, Meaning, centre_of, meaning_of
from mil_heatmaps.visualization.palette import DEFAULT_CMAP, chosen_cmap, own_cmap

Smooth = Literal["none", "bilinear", "gaussian"]
Compat = Literal["clam"]

_CENTRED_METHODS = ("minmax", "robust", "none")


@dataclass(frozen=True)
class ColourScale:
    """What the two ends of the colour table stand for; drawn as the figure's colour bar.

    Attributes
    ----------
    vmin, vmax : float
        In `unit`.
    unit : ``percentile``, ``share``, ``score`` or ``category``
    label : str
        How scores became colours, in one phrase.
    center : float or None
        The score in the middle of a diverging map.
    meaning : str
        What the two colours of a diverging map mean, under the bar; empty where there is nothing to say.
    """

    vmin: float = 0.0
    vmax: float = 100.0
    unit: str = "percentile"
    label: str = "percentile"
    center: float | None = None
    meaning: str = ""


@dataclass(frozen=True, eq=False)
class ColourRule:
    """From scores to colours: first to shades, 0 to 1, then to a colormap.

    Attributes
    ----------
    normalize : Method or None
        How scores become shades; None takes them as percentiles, 0 to 100, as CLAM does.
    vmin, vmax, center, reference, scale, kind
        See `mil_heatmaps.scores.normalize.normalize`.
    center_name : str
        What the middle is, such as ``the training median``; empty for zero and for a number that was given.
    meaning : Meaning, optional
        What the numbers are, for the words under the bar.
    cmap : str
        Any matplotlib colormap.
    alpha : float
        0 shows the slide alone, 1 the colours alone.
    binarize, thresh
        Two colours: a patch is 1 at or above the shade `thresh`, else 0; a pixel is the rounded mean. A negative
        `thresh` means 1 / N, as in CLAM.
    threshold : float, optional
        Tint only where the mean shade is at least this.
    smooth : ``none``, ``bilinear``, ``gaussian``
        Interpolate between patches, normalised by coverage: borders do not fade, the slide stays sharp.
    blur : bool
        Short for ``smooth="gaussian"``; with ``compat="clam"`` CLAM's blur of shades, borders, slide and all.
    compat : ``"clam"``, optional
        Copy CLAM where this program draws otherwise by default, which is the blur.

    Raises
    ------
    ConfigError
        For an alpha or threshold outside 0 to 1, or an unknown `smooth` or `compat`.
    """

    normalize: Method | None = "percentile"
    vmin: float | None = None
    vmax: float | None = None
    center: float | None = None
    reference: npt.ArrayLike | None = None
    scale: CohortScale | None = None
    kind: str | None = None
    cmap: str = DEFAULT_CMAP
    alpha: float = 0.4
    binarize: bool = False
    thresh: float = 0.5
    threshold: float | None = None
    smooth: Smooth = "none"
    blur: bool = False
    compat: Compat | None = None
    center_name: str = ""
    meaning: Meaning | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha must be between 0 (slide only) and 1 (colours only), got {self.alpha}")
        if self.smooth not in get_args(Smooth):
            raise ConfigError(f"unknown smoothing {self.smooth!r}; choose from 'none', 'bilinear', 'gaussian'")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must be between 0 and 1, got {self.threshold}")
        if self.compat not in (None, "clam"):
            raise ConfigError(f"unknown compat {self.compat!r}; choose 'clam' or None")

    @classmethod
    def for_kind(cls, kind: str, normalize: Method | None = None, cmap: str | None = None) -> "ColourRule":
        """Return the rule for a kind of score, as far as it is not given.

        Zero is the middle of signed scores, unless they are ranked.
        """
        method = normalize or default_method(kind)
        center = MIDDLES.get(kind) if method in _CENTRED_METHODS else None
        low, high = FIXED_RANGES.get(kind, (None, None)) if method == "none" else (None, None)
        rule = cls(method, low, high, center, kind=kind)
        return replace(rule, cmap=cmap or own_cmap(kind) or chosen_cmap(None, signed=rule.signed))

    @property
    def signed(self) -> bool:
        """Whether the kind of score tells for from against: its values may all be of one sign."""
        return self.kind in FOR_AND_AGAINST

    def shades(self, scores: npt.NDArray[Any], *, of_region: bool) -> tuple[npt.NDArray[np.floating], ColourScale]:
        """Return the shades of scores, (N,), 0 to 1, and what they mean; `of_region` is for the words alone."""
        if self.normalize is None:
            return scores / 100, ColourScale(label="percentiles as given")
        result = normalize_scores(
            scores, self.normalize, vmin=self.vmin, vmax=self.vmax, reference=self.reference,
            center=self.center, center_name=self.center_name, scale=self.scale, kind=self.kind,
        )  # fmt: skip
        # The reference of a percentile_ref is the whole slide's.
        of_region = of_region and result.method != "percentile_ref"
        label = result.label.replace("the slide", "the region") if of_region else result.label
        if self.kind == "cluster" and result.method == "none":
            return result.shades, ColourScale(result.vmin, result.vmax, "category", "a colour a cluster")
        centre = None if result.center is None else Centre(result.center, self.center_name)
        meaning = "" if self.meaning is None or self.binarize else self.meaning.words(self.cmap, centre)
        return result.shades, ColourScale(result.vmin, result.vmax, result.unit, label, result.center, meaning)

    def of_column(
        self,
        scores: PatchScores,
        column: str,
        prediction: Prediction | None,
        *,
        center: str | float = "auto",
        cohort_median: float | None = None,
    ) -> "ColourRule":
        """Return the rule with the middle of a column's map, and what its colours mean; see `centre_of`."""
        centre = centre_of(scores, column, center, prediction, cohort_median)
        rule = replace(self, meaning=meaning_of(scores, column, prediction))
        if centre is None or self.normalize not in _CENTRED_METHODS:
            return rule
        return replace(rule, center=centre.value, center_name=centre.name)
