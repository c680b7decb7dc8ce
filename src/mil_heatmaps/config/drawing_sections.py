"""What is drawn and which patches are saved: the config sections of heatmap and samples.

The attribute names are the YAML names. A description that starts with "New:" marks a key CLAM does not have.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mil_heatmaps.choices import ColorProfile, Method
from mil_heatmaps.config.figure_section import Figure
from mil_heatmaps.config.section_types import (
    AsWritten,
    Float,
    Int,
    Section,
    Text,
    file_name,
    none_word,
    shown,
)
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.palette import DEFAULT_CMAP, chosen_cmap, own_cmap
from mil_heatmaps.words import repeated, whole_number

if TYPE_CHECKING:
    from mil_heatmaps.visualization.colour_rule import ColourRule
    from mil_heatmaps.visualization.sampling import Choice


def _classes(value: Any) -> Any:
    """Check ``predicted``, ``label``, ``all``, a class, or a list of classes (names or numbers)."""
    if isinstance(value, (list, tuple)):
        if not value or any(isinstance(v, bool) or not isinstance(v, (str, int)) for v in value):
            raise ValueError(
                f"must be predicted, label, all, a class or a list of classes; got {shown(value)}"
            )
        return [str(v) for v in value]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"must be predicted, label, all, a class or a list of classes; got {shown(value)}")
    return str(value)


def _head(value: Any) -> Any:
    if isinstance(value, str) and (number := whole_number(value)) is not None:
        value = number
    if value in ("mean", "all") or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"must be mean, all, or the number of a head from 0; got {shown(value)}")


def _center(value: Any) -> Any:
    if value in ("auto", "cohort_median"):
        return value
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"must be auto, cohort_median or a number, got {shown(value)}")
    return number


def _picture_ext(value: Any) -> Any:
    return value.strip().lstrip(".").lower() if isinstance(value, str) else value


class HeatmapArguments(Section):
    """What the heatmap shows and how it looks."""

    later: ClassVar[frozenset[str]] = frozenset({"cmap_signed", "color_profile"})

    vis_level: Int = Field(
        default=-1,
        description="Pyramid level of the picture; negative: the one shrunk about 32 times.",
    )
    alpha: Float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Weight of the colours over the slide: 0 shows the slide only, 1 the colours only.",
    )
    blank_canvas: bool = Field(default=False, description="Draw on white instead of the slide.")
    save_orig: bool = Field(default=True, description="Also save the slide without colours.")
    save_ext: Annotated[
        Literal["jpg", "jpeg", "png", "webp", "tif", "tiff"], BeforeValidator(_picture_ext)
    ] = Field(default="jpg", description="Format of the pictures.")
    use_ref_scores: bool = Field(
        default=True,
        description="Rank the scores of the fine map among those of the coarse map.",
    )
    blur: bool = Field(
        default=False,
        description="CLAM's Gaussian smoothing; with compat: clam the slide is smoothed too, as CLAM does.",
    )
    use_center_shift: bool = Field(
        default=True,
        description="Test patches of the fine map near their corners, not only at the centre.",
    )
    use_roi: bool = Field(
        default=False,
        description="Draw only the box x1, y1, x2, y2 of the process list (level-0 pixels).",
    )
    calc_heatmap: bool = Field(
        default=True,
        description="Make the fine map: patches with overlap, encoded and scored again. false draws "
        "the scores of the bag. Left out: false when h5_dir or scores_dir is given.",
    )
    binarize: bool = Field(default=False, description="Colour only patches at or above binary_thresh, all alike.")
    binary_thresh: AsWritten = Field(
        default=-1,
        le=1,
        description="Where binarize cuts, 0 to 1 on the colour scale; negative: 0.5.",
    )
    custom_downsample: Int = Field(
        default=1,
        ge=1,
        description="Shrink the finished picture this many times.",
    )
    cmap: Text | None = Field(
        default=None,
        description="Any Matplotlib colormap. Left out: jet, CLAM's. auto: viridis, whose equal steps look equal. Of "
        "scores that speak for or against a class only one with a middle is taken; see cmap_signed.",
    )
    cmap_signed: Text | None = Field(
        default=None,
        description="New: colormap of scores that speak for or against a class. Left out: cmap if that has a middle, "
        "else BrBG_r, blue-green to brown, unlike eosin and haematoxylin. compat: clam keeps cmap.",
    )
    normalize: Method | None = Field(
        default=None,
        description="New: how scores become colours. percentile ranks them within the slide, "
        "percentile_ref among the scores of the coarse map, minmax and robust stretch them, "
        "softmax shows pooling weights, none takes them as they are. Left out: CLAM's "
        "rule (percentile_ref for a fine map with use_ref_scores, else percentile); robust, "
        "with zero in the middle, for scores that speak for or against a class.",
    )
    vmin: Float | None = Field(
        default=None,
        description="New: score, after normalize, at the lower end of the colours.",
    )
    vmax: Float | None = Field(
        default=None,
        description="New: score, after normalize, at the upper end of the colours.",
    )
    center: Annotated[Float | Literal["auto", "cohort_median"], BeforeValidator(_center)] = Field(
        default="auto",
        description="New: score in the middle of a diverging map. auto: zero; for maps of values and risks (single) "
        "the median over the training set where the checkpoint knows it, else the slide's own. cohort_median: that of "
        "the run's slides. Or a number.",
    )
    scale: Literal["slide", "case", "cohort"] = Field(
        default="slide",
        description="New: one colour scale per slide, one for the slides of a case, or one for all slides of the run, "
        "so that colours can be compared. Left out: slide; with data_arguments.bag: case, case.",
    )
    score: Text | None = Field(
        default=None,
        description="New: which of the model's scores to draw, by name. null: its usual one.",
    )
    classes: Annotated[
        str | list[str], BeforeValidator(_classes, json_schema_input_type=str | int | list[str | int])
    ] = Field(
        default="predicted",
        description="New: predicted, label, all, a class name, or a list of names; for scores with one "
        "column per class.",
    )
    head: Annotated[int | Literal["mean", "all"], BeforeValidator(_head)] = Field(
        default="mean",
        description="New: mean, all, or the number of one attention head; for models with several.",
    )
    threshold: Float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="New: colour only patches at or above this place on the colour scale; 0.9 with "
        "percentiles is the highest tenth.",
    )
    smooth: Annotated[Literal["none", "bilinear", "gaussian"], BeforeValidator(none_word)] = Field(
        default="none",
        description="New: smooth between patches, without fading at the borders of the tissue.",
    )
    compat: Annotated[Literal["none", "clam"], BeforeValidator(none_word)] = Field(
        default="none",
        description="New: clam repeats CLAM's pixels even where they are wrong, and lays the bag's patches as CLAM's "
        "heatmaps do.",
    )
    downsample: Float | None = Field(
        default=None,
        ge=1,
        description="New: draw at this factor below level 0 instead of a level.",
    )
    mpp: Float | None = Field(
        default=None,
        gt=0,
        description="New: draw at this many µm per pixel instead of a level.",
    )
    segment: bool = Field(default=True, description="New: colour only inside the tissue.")
    color_profile: ColorProfile = Field(
        default="convert",
        description="New: what is done with the ICC profile of a slide. convert: figure, contact sheets, samples and "
        "exports are converted to sRGB, CLAM's own pictures keep their pixels and carry the profile. embed: all keep "
        "their pixels and carry the profile. ignore: none has the profile.",
    )
    use_holes: bool = Field(default=True, description="New: leave holes in the tissue uncoloured.")
    max_size: Int | None = Field(
        default=None,
        ge=1,
        description="New: longest side of the picture in pixels.",
    )
    figure: Figure = Field(
        default=True,
        validate_default=True,
        description="New: also draw the figure for people: slide and map side by side, with their meaning. true, "
        "false, journal_single, journal_double, slide_16_9, or a mapping of the options below.",
    )
    legend: bool = Field(default=True, description="New: colour bar and scale bar in the figure.")

    evidence: Annotated[Literal["none", "outline"], BeforeValidator(none_word)] = Field(
        default="none",
        description="New: outline outlines the evidence set of the drawn map on figure and viewer, and exports it: the "
        "fewest patches that alone are sufficient for this model. Needs faithfulness_arguments.",
    )

    @model_validator(mode="after")
    def _check_range(self) -> "HeatmapArguments":
        if self.vmin is not None and self.vmax is not None and self.vmin >= self.vmax:
            raise ValueError(f"vmin must be less than vmax, got {self.vmin:g} and {self.vmax:g}")
        if self.downsample is not None and self.mpp is not None:
            raise ValueError("downsample and mpp exclude each other; give one")
        return self

    def colours(self, kind: str, *, fine: bool) -> "ColourRule":
        """Return how scores of a kind become colours: as asked for, or as is usual for the kind; CLAM's for ranks.

        Without the keys of the finished map alone: `binarize`, `threshold`, `smooth` and `blur`.
        """
        from mil_heatmaps.visualization.colour_rule import ColourRule

        if self.compat == "clam":
            rule = ColourRule.for_kind(kind, self.normalize or "percentile", self.cmap or DEFAULT_CMAP)
        else:
            rule = ColourRule.for_kind(kind, self.normalize)
            # Ranks have no middle: there a colormap that was asked for is taken as it is.
            signed = rule.signed and (self.cmap is None or rule.center is not None)
            own = own_cmap(kind)
            rule = replace(rule, cmap=own or chosen_cmap(self.cmap, self.cmap_signed, signed=signed))
        if self.normalize is None and rule.normalize == "percentile" and fine and self.use_ref_scores:
            rule = replace(rule, normalize="percentile_ref")
        vmin, vmax = (given if given is not None else usual
                      for given, usual in ((self.vmin, rule.vmin), (self.vmax, rule.vmax)))  # fmt: skip
        return replace(rule, vmin=vmin, vmax=vmax, alpha=self.alpha)

    @property
    def of_cohort(self) -> bool:
        """Whether a slide's map needs the scores of all slides."""
        return self.scale == "cohort" or self.center == "cohort_median"


    @property
    def figure_style(self) -> FigureStyle | None:
        """How the figure is made; None when there is none."""
        return None if self.figure is None else self.figure.style

    @property
    def for_people(self) -> ColorProfile:
        """What pictures that are not CLAM's do with a slide's ICC profile."""
        return self.color_profile

    @property
    def as_clam(self) -> ColorProfile:
        """What CLAM's own pictures, whose pixels are those of the slide, do with it."""
        return "ignore" if self.color_profile == "ignore" else "embed"


class Sample(Section):
    """One set of patches saved as pictures."""

    name: Annotated[Text, AfterValidator(file_name)] = Field(description="Folder of the set.")
    sample: bool = Field(default=True, description="false leaves the set out.")
    seed: Int = Field(default=1, ge=0, lt=2**32, description="Seed of range_sample.")
    k: Int = Field(default=15, ge=1, description="How many patches.")
    mode: Literal["topk", "reverse_topk", "range_sample"] = Field(
        default="topk",
        description="The highest, the lowest, or any between score_start and score_end.",
    )
    score_start: Float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Lowest percentile of range_sample, 0 to 1 or 0 to 100.",
    )
    score_end: Float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Highest percentile of range_sample, 0 to 1 or 0 to 100.",
    )

    @model_validator(mode="after")
    def _check_window(self) -> "Sample":
        if self.score_start > self.score_end:
            raise ValueError(
                f"score_start must not exceed score_end, got {self.score_start:g} and {self.score_end:g}"
            )
        return self

    @property
    def choice(self) -> "Choice":
        """Which patches of a slide these are."""
        from mil_heatmaps.visualization.sampling import Choice

        return Choice(self.k, self.mode, self.seed, self.score_start, self.score_end)


class SampleArguments(Section):
    """Which patches are saved as pictures."""

    samples: list[Sample] = Field(
        default_factory=lambda: [Sample(name="topk_high_attention")],
        description="The sets; an empty list saves none.",
    )
    contact_sheet: bool = Field(default=True, description="New: one picture with all patches of a set.")
    csv: bool = Field(
        default=True,
        description="New: a table of the patches: rank, position, score, percentile.",
    )

    @model_validator(mode="after")
    def _check_names(self) -> "SampleArguments":
        names = [sample.name for sample in self.samples]
        if twice := repeated(names):
            raise ValueError(f"samples holds two sets named {twice[0]!r}, whose files would mix")
        return self
