"""Predictions beside labels over the cohort: ROC curves and confusion, where the list says what slides are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mil_heatmaps.report.slides import ReportedSlide

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config


@dataclass
class Predictions:
    """What the slides' labels and predictions are, filled slide by slide.

    Attributes
    ----------
    rows : one a slide: its name, class and chances
    columns : which columns of the table have anything to show
    """

    config: Config
    rows: list[dict[str, Any]] = field(default_factory=list)
    columns: dict[str, bool] = field(
        default_factory=lambda: dict.fromkeys(("label", "chance", "verdict", "effective"), False)
    )

    def add(self, slide: ReportedSlide) -> None:
        """Take a slide into account."""
        outcome, columns = slide.outcome, self.columns
        columns["label"] |= bool(slide.label)
        columns["chance"] |= bool(outcome.probabilities)
        columns["verdict"] |= bool(outcome.faithfulness)
        columns["effective"] |= "effective_patches" in outcome.spread
        if outcome.probabilities:
            chances = dict(zip(outcome.classes, outcome.probabilities, strict=True))
            self.rows.append({"slide_id": slide.slide_id, "label": slide.label, "chances": chances})


def outcome_panels(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the panels of the cohort."""
    return []
