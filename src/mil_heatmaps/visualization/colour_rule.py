"""How scores become colours, and what the colours mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from mil_heatmaps.choices import Method
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.normalize import default_method
from mil_heatmaps.scores.normalize import normalize as normalize_scores
from mil_heatmaps.scores.patch_scores import FIXED_RANGES, FOR_AND_AGAINST, MIDDLES, PatchScores, Prediction
from mil_heatmaps.scores.scale import CohortScale
from mil_heatmaps.visualization.colour_words import Centre, Meaning, centre_of, meaning_of
from mil_heatmaps.visualization.palette import DEFAULT_CMAP, chosen_cmap, own_cmap

if TYPE_CHECKING:
    import numpy.typing as npt

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
        What the two colours of a diverging map mean, for the words under the bar; empty if there is nothing to say.
    """

    vmin: float = 0.0
    vmax: float = 100.0
    unit: str = "percentile"
    label: str = "percentile"
    center: float | None = None
    meaning: str = ""


@dataclass(frozen=True, eq=False)
class ColourRule:
    """How scores become colours: first shades from 0 to 1, then colours of a colormap.

    Attributes
    ----------
    normalize : Method or None
        How scores become shades. With None, the scores are taken as percentiles from 0 to 100, as in CLAM.
    vmin, vmax, center, reference, scale, kind
        See `mil_heatmaps.scores.normalize.normalize`.
    center_name : str
        What the middle is, such as ``the training median``; empty for zero and for a number from the user.
    meaning : Meaning, optional
        What the scores are, for the words under the bar.
    cmap : str
        Any matplotlib colormap.
    alpha : float
        0 shows only the slide, 1 only the colours.
    binarize, thresh
        Use two colours. A patch counts 1 if its shade is at least `thresh`, else 0; a pixel takes the rounded mean. A
        negative `thresh` means 1 / N, as in CLAM.
    threshold : float, optional
        Colour only pixels whose mean shade is at least this.
    smooth : ``none``, ``bilinear``, ``gaussian``
        Interpolate between patches, normalised by coverage: borders do not fade, and the slide stays sharp.
    blur : bool
        Short for ``smooth="gaussian"``. With ``compat="clam"`` it is CLAM's blur, which also blurs borders and slide.
    compat : ``"clam"``, optional
        Copy CLAM where this program's default differs; that is the blur.

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
    def for_kind(cls, kind: str, normalize: Method | None = None, cmap: str | None = None) -> ColourRule:
        """Return the rule for a kind of score; `normalize` and `cmap` override its defaults.

        Zero is the middle of signed scores, unless they are ranked.
        """
        method = normalize or default_method(kind)
        center = MIDDLES.get(kind) if method in _CENTRED_METHODS else None
        low, high = FIXED_RANGES.get(kind, (None, None)) if method == "none" else (None, None)
        rule = cls(method, low, high, center, kind=kind)
        return replace(rule, cmap=cmap or own_cmap(kind) or chosen_cmap(None, signed=rule.signed))

    @property
    def signed(self) -> bool:
        """Whether the sign of this kind of score tells for from against, even if all values have the same sign."""
        return self.kind in FOR_AND_AGAINST

    def shades(self, scores: npt.NDArray[Any], *, of_region: bool) -> tuple[npt.NDArray[np.floating], ColourScale]:
        """Return the shades of scores, (N,), 0 to 1, and their colour scale; `of_region` changes only its words."""
        if self.normalize is None:
            return scores / 100, ColourScale(label="percentiles as given")
        result = normalize_scores(
            scores, self.normalize, vmin=self.vmin, vmax=self.vmax, reference=self.reference,
            center=self.center, center_name=self.center_name, scale=self.scale, kind=self.kind,
        )  # fmt: skip
        # percentile_ref ranks against the whole slide, also in a region.
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
    ) -> ColourRule:
        """Return the rule with the middle of a column's map and the meaning of its colours; see `centre_of`."""
        centre = centre_of(scores, column, center, prediction, cohort_median)
        rule = replace(self, meaning=meaning_of(scores, column, prediction))
        if centre is None or self.normalize not in _CENTRED_METHODS:
            return rule
        return replace(rule, center=centre.value, center_name=centre.name)
