"""The case in which a slide's scores were computed: its slides, and how the attention falls on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mil_heatmaps.numpy_later import np
from mil_heatmaps.scores.patch_scores import SHARE_KINDS, PatchScores
from mil_heatmaps.words import share_in_words


@dataclass(frozen=True)
class CaseSlide:
    """One slide of a case.

    Attributes
    ----------
    patches : int
    share : float or None
        Share of the case's attention, 0 to 1; None where the model has no attention that is a share.
    without : float or None
        The output of the model for the case without this slide; `CaseShare.full` is the same number for the whole case.
    """

    slide_id: str
    patches: int
    share: float | None = None
    without: float | None = None


@dataclass(frozen=True)
class CaseShare:
    """The case of some scores.

    Attributes
    ----------
    slides : in the order of the bag
    number : int
        Number of the slide with the scores, counted from 1; 0: all slides, one after the other.
    lacking : listed slides that are not in the bag, each with the reason
    output, full : str and float, or None
        Name of the number in `CaseSlide.without`, such as ``p(tumour)``, and its value for the whole case.
    """

    case_id: str
    slides: tuple[CaseSlide, ...]
    number: int = 0
    lacking: tuple[str, ...] = ()
    output: str | None = None
    full: float | None = None

    @property
    def own(self) -> CaseSlide:
        """The slide with the scores."""
        return self.slides[self.number - 1]

    def rows(self, number: int) -> slice:
        """Return the rows of a slide, counted from 1, in the case's bag."""
        start = sum(slide.patches for slide in self.slides[: number - 1])
        return slice(start, start + self.slides[number - 1].patches)

    @property
    def place(self) -> str:
        """Which slide of which case."""
        return f"case {self.case_id}, slide {self.number} of {len(self.slides)}"

    @property
    def words(self) -> str:
        """The slide's place in the case, and its share of the attention."""
        if self.own.share is None:
            return self.place
        return f"{self.place}; {share_in_words(self.own.share)} of the attention lies on this slide"

    @property
    def without_words(self) -> list[str]:
        """The prediction without each slide, one sentence per slide."""
        if self.output is None or self.full is None:
            return []
        told = [(number, slide.without) for number, slide in enumerate(self.slides, 1) if slide.without is not None]
        return [_moved(number, self.output, self.full, value) for number, value in told]

    def plain(self) -> dict[str, Any]:
        """Return the JSON form."""
        slides = [{k: v for k, v in vars(slide).items() if v is not None} for slide in self.slides]
        told = {"case_id": self.case_id, "number": self.number, "slides": slides}
        more = {"lacking": list(self.lacking), "output": self.output, "full": self.full}
        return told | {key: value for key, value in more.items() if value not in (None, [])}

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> CaseShare | None:
        """Return the case from what `plain` wrote, None for anything else."""
        try:
            if told is None:
                return None
            slides = tuple(CaseSlide(**slide) for slide in told["slides"])
            lacking = tuple(map(str, told.get("lacking", ())))
            output, full = told.get("output"), told.get("full")
            output = None if output is None else str(output)
            whole = all(_sound(slide) for slide in slides) and _number_or_none(full)
            if not whole or not slides or told["number"] not in range(len(slides) + 1):
                return None
            return cls(str(told["case_id"]), slides, told["number"], lacking, output, full)
        except (KeyError, TypeError, ValueError):
            return None


def _sound(slide: CaseSlide) -> bool:
    """Whether what a file says of a slide is of the right kinds."""
    counted = type(slide.patches) is int and slide.patches >= 0
    return counted and isinstance(slide.slide_id, str) and all(map(_number_or_none, (slide.share, slide.without)))


def _number_or_none(value: object) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(cast("float", value)))


def _moved(number: int, output: str, full: float, value: float) -> str:
    if f"{full:.2f}" == f"{value:.2f}":
        return f"without slide {number} {output} stays at {full:.2f}"
    return f"without slide {number} {output} {'falls' if value < full else 'rises'} from {full:.2f} to {value:.2f}"


def shares_of(scores: Sequence[PatchScores], patches: Sequence[int]) -> list[float | None]:
    """Return each slide's share of the case's attention, by the first of the scores that is attention.

    Logits go through a softmax over the whole case, as in the model; several heads or classes are averaged.
    Without attention every share is None.
    """
    for score in scores:
        if score.kind == "attention_logit" or score.kind in SHARE_KINDS:
            values = score.values.astype(np.float64)
            if score.kind == "attention_logit":
                values = np.exp(values - values.max(axis=0))
            total = values.sum(axis=0)
            if (total > 0).all() and np.isfinite(total).all():
                ends = np.cumsum([0, *patches])[:-1]
                parts = np.add.reduceat(values, ends, axis=0) / total
                return [float(part) for part in parts.mean(axis=1)]
    return [None] * len(patches)
