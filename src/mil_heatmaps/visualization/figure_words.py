"""The words of a figure about slide, score, model and drawing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mil_heatmaps.scores.patch_scores import Prediction
from mil_heatmaps.scores.score_words import plain_words, score_words
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.faithfulness_words import EvidenceOutline, Faithfulness
from mil_heatmaps.visualization.figure_ground import shown_extent
from mil_heatmaps.visualization.figure_parts import BAD, GOOD, GREY, INK, join, short
from mil_heatmaps.visualization.palette import is_even
from mil_heatmaps.visualization.second_slide import SecondSlide
from mil_heatmaps.words import share_words

_DETAILS = 4
"""At most this many further classes or survival probabilities stand beside the prediction."""
_HASH = 8
"""How many digits of a checkpoint's SHA-256 the figure shows."""

Run = tuple[str, str, bool]
"""Words, their colour, and whether they are bold."""


class Artefact(NamedTuple):
    """Share of an artefact, 0 to 1, in a slide's attention, its highest patches and its tissue."""

    name: str
    attention: float
    top: float
    tissue: float

    @property
    def swatch(self) -> tuple[tuple[int, int, int], str]:
        """The artefact's colour, and the words beside it."""
        shares = f"{share_words(self.tissue)} of the tissue, {share_words(self.attention)} of the attention"
        words = f"{self.name}: {shares}, {share_words(self.top)} of the top 5 %"
        return _ARTEFACT_COLOURS.get(self.name, (105, 112, 122)), words


_ARTEFACT_COLOURS = {
    "fold": (140, 86, 75), "dark": (77, 77, 77), "pen": (44, 160, 44), "edge": (23, 162, 184), "blur": (199, 139, 214),
}  # fmt: skip


@dataclass(frozen=True)
class SmallMap:
    """The map of another slide, one pixel per patch on white, and the words below it."""

    picture: UInt8Array
    title: str


@dataclass(frozen=True)
class FigureText:
    """The words of a figure; anything left out is not shown.

    Attributes
    ----------
    score_name : str
        Name of the score, such as ``attention``.
    class_name : str or None
        Class or head of the score, if there is one score per class or head.
    slide_id, label, model : str or None
    prediction : Prediction or None
    group : str or None
        Whether a risk or value is high or low, and compared with what.
    method : str or None
        How the map was made, on a separate line.
    notices : tuple of str
        Notices about the slide, in red at the foot, before those about the drawing.
    kind : ScoreKind or None
        Kind of the score, for its name in words with its unit; None shows `score_name` as it is.
    checkpoint, encoder, run, date, version : str or None
        Where the scores come from: SHA-256 of the checkpoint, encoder, name of the run, date and program version.
    case : str or None
        The slide's place in its case, and its share of the attention.
    others, others_title : tuple of SmallMap, and str
        The other slides of the case, and the words above them.
    foot : tuple of str
        Further lines of the foot, not red.
    even : bool
        Whether attention is nearly even; the map's title says so.
    curves : mapping or None
        A slide's faithfulness file; its curves are drawn if the panels include ``curves``.
    map_name : str
        The map of the `curves`, by its name in that file.
    faithfulness : Faithfulness or None
        How far the map can be trusted, at the foot.
    evidence : EvidenceOutline or None
        The evidence set, outlined on the map and described at the foot.
    unreadable : int
        Tiles of the slide that cannot be read.
    artefacts : tuple of Artefact
        Shares of attention and tissue that are artefacts, as swatches below the pictures.
    region_names : tuple of str
        Names of a region's outlines, in their order; empty for outlines without a name.
    facts : name -> text
        Written into the file: program, hashes of config and checkpoint.
    of : str
        Which bag of the slide the map shows, such as ``of x5``, if the model takes several bags.
    beside : SecondSlide or None
        Another stain of the same tissue, shown in the same frame.
    """

    score_name: str = "score"
    class_name: str | None = None
    slide_id: str | None = None
    label: str | None = None
    model: str | None = None
    prediction: Prediction | None = None
    group: str | None = None
    method: str | None = None
    notices: tuple[str, ...] = ()
    kind: str | None = None
    checkpoint: str | None = None
    encoder: str | None = None
    run: str | None = None
    date: str | None = None
    version: str | None = None
    case: str | None = None
    others: tuple[SmallMap, ...] = ()
    others_title: str = ""
    foot: tuple[str, ...] = ()
    even: bool = False
    curves: Mapping[str, Any] | None = None
    map_name: str = ""
    faithfulness: Faithfulness | None = None
    evidence: EvidenceOutline | None = None
    unreadable: int = 0
    artefacts: tuple[Artefact, ...] = ()
    region_names: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    of: str = ""
    beside: SecondSlide | None = None

    @property
    def score_title(self) -> str:
        """The score in words, with its class or head, and with its bag if a slide has several."""
        return f"{self._score}, {self.of}" if self.of else self._score

    @property
    def _score(self) -> str:
        if self.kind is None:
            name = plain_words(self.score_name)
            return f"{name} · {self.class_name}" if self.class_name else name
        of_class = (
            self.prediction is not None
            and self.prediction.task in ("classification", "multilabel")
            and self.class_name in self.prediction.classes
        )
        return score_words(self.score_name, self.kind, self.class_name, of_class=of_class)


def head_runs(drawing: Drawing, text: FigureText) -> list[list[Run]]:
    """Return case, label, prediction and region as groups of runs that stay together.

    For a region, the words say where it is and that the prediction is for the whole slide.
    """
    groups: list[list[Run]] = []
    prediction = text.prediction
    if text.case is not None:
        groups.append([(short(text.case, 160), INK, False)])
    if text.label is not None:
        groups.append([("label ", GREY, False), (short(text.label, 120), INK, True)])
    if prediction is not None:
        what, value = prediction.headline
        colour, verdict = INK, ""
        if prediction.task == "classification" and text.label in prediction.classes:
            right = prediction.classes[prediction.predicted] == text.label
            # Words and a sign as well, because not everybody can tell the colours apart.
            colour = GOOD if right else BAD
            verdict = "  \N{CHECK MARK} as labelled" if right else "  \N{BALLOT X} not as labelled"
        groups.append([(f"{what} ", GREY, False), (short(value, 160), colour, True), (verdict, colour, False)])
        details = prediction.details
        more = f"{len(details) - _DETAILS} more" if len(details) > _DETAILS else ""
        groups += [[(words, GREY, False)] for words in (*(short(d, 120) for d in details[:_DETAILS]), more) if words]
    if text.group:
        groups.append([(text.group, INK, True)])
    if not drawing.frame.whole:
        whole = " (the prediction is of the whole slide)" if prediction is not None else ""
        groups.append([("region ", GREY, False), (f"{region_words(drawing)} at level 0{whole}", INK, False)])
    return groups


def belief_lines(text: FigureText) -> list[Run]:
    """Return the lines on how far the map can be trusted, how this was measured, and what is outlined."""
    told: list[Run] = []
    if (faithful := text.faithfulness) is not None:
        told += [(faithful.sentence, BAD if faithful.doubtful else INK, False), (faithful.method, GREY, False)]
    if text.evidence is not None:
        told.append((text.evidence.words, INK, False))
    return told


def foot_lines(drawing: Drawing, text: FigureText) -> list[str]:
    """Return the grey lines of the foot from top to bottom, not yet wrapped."""
    slide, size = drawing.slide, drawing.grid.size_l0
    patch = f"patches {size[0]} × {size[1]} px at level 0"
    if slide.mpp is not None:
        patch += f" ({size[0] * slide.mpp:.0f} µm)"
    resolution = f"{slide.mpp:.4g} µm/px" if slide.mpp is not None else "pixel size unknown, so no scale bar"
    if slide.resolution.by_hand:
        resolution += f", given by hand ({slide.resolution.source})"
    made = [
        f"model {text.model}" if text.model else "",
        f"checkpoint {text.checkpoint[:_HASH]}" if text.checkpoint else "",
        f"encoder {text.encoder}" if text.encoder else "",
        f"run {text.run}" if text.run else "",
        f"scored {text.date}" if text.date else "",
        text.version or "",
    ]
    uneven = "" if is_even(drawing.cmap) else " (not perceptually even: equal steps look unequal)"
    drawn = [patch, resolution, f"colormap {drawing.cmap}{uneven}", _profile_words(drawing)]
    return [line for line in (*text.foot, text.method or "", join(drawn), join(made)) if line]


def _profile_words(drawing: Drawing) -> str:
    """Return how the slide's colour profile was used; empty if the slide has none."""
    if drawing.slide.icc_profile is None:
        return ""
    return {
        "convert": "colours converted to sRGB by the slide's profile",
        "embed": "colours as stored, the slide's profile in the file",
        "ignore": "colours as stored, without the slide's profile",
    }[drawing.color_profile]


def slide_title(drawing: Drawing) -> str:
    """Return the title of the slide's picture."""
    if not drawing.frame.whole:
        return "region of interest"
    return "slide" if shown_extent(drawing)[0] == drawing.frame.corner_l0 else "slide, the area that was scanned"


def region_words(drawing: Drawing) -> str:
    """Return the box of a drawing in level-0 pixels."""
    frame = drawing.frame
    ranges = [
        f"{axis} {corner} to {corner + round(side * factor)}"
        for axis, corner, side, factor in zip("xy", frame.corner_l0, frame.size_px, frame.downsample, strict=True)
    ]
    return f"{ranges[0]}, {ranges[1]}"


def map_title(drawing: Drawing, text: FigureText) -> str:
    """Return the title of the map: how its colours lie over the slide."""
    words = "colours alone" if drawing.alpha == 1 else f"heatmap, colours at {drawing.alpha:.0%}"
    if drawing.blank_canvas:
        words += " on white" if drawing.alpha < 1 else ""
    if drawing.smooth != "none":
        words += f", smoothed ({drawing.smooth})"
    words += ", without the blur of the picture beside it" if drawing.blur_px is not None else ""
    return words + (" \N{EN DASH} attention is nearly even" if text.even else "")


def among(drawing: Drawing, text: FigureText) -> str:
    """Return the words for patches ranked only among those drawn, if the slide may have others; else nothing."""
    return "" if drawing.frame.whole and not text.method else " of those drawn"
