"""The cohort in numbers: ROC curves and confusion where slides have labels, and the sheets of `insight`."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.records.outcome_tables import in_order
from mil_heatmaps.records.rows import UNSPECIFIED
from mil_heatmaps.report.pages import plot
from mil_heatmaps.report.slides import ReportedSlide
from mil_heatmaps.words import counted, printable, reason_of

if TYPE_CHECKING:
    import pandas as pd

    from mil_heatmaps.config.config import Config
    from mil_heatmaps.insight.outcomes import Curve

SHEETS = {
    "concentration.png": "How concentrated the scores are",
    "agreement.png": "How far models agree",
    "annotations.png": "Maps beside annotations",
}
"""Pictures of the cohort that `insight_arguments` produce, by file name."""
SHEET_PX, SHEET_QUALITY = 1400, 70
_COLOURS = ("#1a5fb4", "#b3261e", "#1a7f37", "#8a5a00", "#6b3fa0", "#00697a")


@dataclass
class Predictions:
    """The slides' labels and predictions, filled slide by slide.

    Attributes
    ----------
    rows : one per slide with a prediction of classes: its name, class and probabilities
    columns : the columns of the table that have content
    measures : columns of measures of the scores, in order
    """

    config: Config
    rows: list[dict[str, Any]] = field(default_factory=list)
    columns: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(("label", "chance", "verdict"), False))
    measures: list[str] = field(default_factory=list)

    def add(self, slide: ReportedSlide) -> None:
        """Add a slide."""
        from mil_heatmaps.insight.outcomes import class_of_label

        outcome = slide.outcome
        self.columns["label"] |= bool(slide.label)
        self.columns["chance"] |= bool(outcome.probabilities)
        self.columns["verdict"] |= bool(outcome.faithfulness)
        if new := {name for name, _ in outcome.measures}.difference(self.measures):
            self.measures = in_order((*self.measures, *new))
        names = self.config.output_names or sorted(outcome.classes)
        if outcome.probabilities and outcome.status == "processed" and outcome.classes[0] in names:
            label = "" if slide.own_label == UNSPECIFIED else slide.own_label
            chances = dict(zip(outcome.classes, map(float, outcome.probabilities), strict=True))
            self.rows.append({
                "slide_id": slide.slide_id,
                "class": class_of_label(label, names, self.config.data_arguments.label_dict),
                "predicted": outcome.classes[0],
                **{f"p_{name}": chances[name] for name in names if name in chances},
            })  # fmt: skip

    def table(self) -> pd.DataFrame | None:
        """Return one row per slide, as in `insight.outcomes`; None where no slide has class and prediction."""
        import pandas as pd

        if self.config.model_arguments.task != "classification" or not any(row["class"] for row in self.rows):
            return None
        table = pd.DataFrame(self.rows)
        table["p"] = [row[f"p_{row['predicted']}"] for row in self.rows]
        return table


def outcome_panels(predictions: Predictions, insight: Path) -> list[dict[str, Any]]:
    """Return the panels of the cohort; `insight` is the folder of results of `insight_arguments`."""
    table = predictions.table()
    panels = [] if table is None else [_confusion(table), _roc(table)]
    return [*panels, *_sheets(insight)]


def _panel(title: str, words: str = "", **shown: Any) -> dict[str, Any]:
    return {"title": title, "words": words, "svg": "", "alt": title, "picture": "", "head": (), "rows": (), **shown}


def _confusion(table: pd.DataFrame) -> dict[str, Any]:
    """Return how many slides of each class are predicted as each, as a table."""
    from mil_heatmaps.insight.outcomes import confusion

    counts = confusion(table)
    numbers = counts.to_numpy(int)
    known, right = int(numbers.sum()), int(numbers.trace())
    rows = [(printable(str(name)), [int(count) for count in line]) for name, line in
            zip(counts.index, numbers, strict=True)]  # fmt: skip
    head = [f"predicted {printable(str(name))}" for name in counts.columns]
    said = f"{right} of {counted(known, 'labelled slide')} predicted as labelled"
    return _panel("Confusion", said, head=head, rows=rows)


def _roc(table: pd.DataFrame) -> dict[str, Any]:
    """Return the ROC curves, or why there are none."""
    from mil_heatmaps.insight.outcomes import roc_curves

    try:
        curves = roc_curves(table)
    except HeatmapError as error:  # scikit-learn belongs to an extra
        return _panel("ROC curves", f"not made: {reason_of(error)}")
    if not curves:
        return _panel("ROC curves", "not made: they need labelled slides of at least two classes")
    words = "; ".join(f"{printable(curve.name)}: AUROC {curve.auroc.words}" for curve in curves)
    return _panel("ROC curves", f"{words}. {curves[0].auroc.method}", svg=plot(_roc_svg(curves)), alt=f"ROC: {words}")


def _roc_svg(curves: Sequence[Curve]) -> str:
    from mil_heatmaps.visualization.figure_page import Page
    from mil_heatmaps.visualization.figure_parts import GREY, INK, PALE, SMALL, short
    from mil_heatmaps.visualization.svg_page import page_svg

    page = Page(4.2, 4.0)
    axes = page.axes(0.6, 0.15, 3.4, 3.3)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(curve.false_positive, curve.true_positive, color=colour, linewidth=1.6, label=short(curve.name, 30))
    axes.set_xlabel("false positive rate", fontsize=SMALL, color=INK)
    axes.set_ylabel("true positive rate", fontsize=SMALL, color=INK)
    axes.tick_params(labelsize=SMALL, colors=GREY)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.legend(fontsize=SMALL, loc="lower right", frameon=False)
    return page_svg(page.figure, salt="roc")


def _sheets(insight: Path) -> list[dict[str, Any]]:
    """Return the pictures of the cohort, each reduced in size."""
    from PIL import Image, UnidentifiedImageError

    panels = []
    for name, title in SHEETS.items():
        path = insight / name
        if not path.is_file():
            continue
        try:
            with Image.open(path) as picture:
                small = picture.convert("RGB")
        except (OSError, ValueError, UnidentifiedImageError) as error:
            panels.append(_panel(title, f"{name} cannot be read ({reason_of(error)}); insight_arguments make it again"))
            continue
        small.thumbnail((SHEET_PX, SHEET_PX))
        file = io.BytesIO()
        small.save(file, "WEBP", quality=SHEET_QUALITY)
        data = base64.b64encode(file.getvalue()).decode("ascii")
        panels.append(_panel(title, f"{name}, made of the cohort", picture=f"data:image/webp;base64,{data}"))
    return panels
