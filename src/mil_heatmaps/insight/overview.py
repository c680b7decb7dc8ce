"""The overview of a run: slides with their maps on one scale, framed by right and wrong; confusion and ROC curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.insight.outcomes import Curve, classes_of, confusion, sorted_by_probability
from mil_heatmaps.insight.runs import StudyRun
from mil_heatmaps.insight.statistics import resampling_words
from mil_heatmaps.insight.tables import rows_of
from mil_heatmaps.insight.thumbnails import (
    drawn_column,
    on_scale,
    one_scale,
    picture_without_colours,
    thumbnail,
    tint,
)
from mil_heatmaps.scores.quick_read import QuickScores, read_quickly
from mil_heatmaps.scores.score_words import score_words
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_parts import BAD, GOOD, GREY, INK, LINE, PALE, SMALL, TEXT, TITLE, bare, short
from mil_heatmaps.visualization.palette import colour_table
from mil_heatmaps.visualization.picture_files import save_picture
from mil_heatmaps.words import counted, number_words

if TYPE_CHECKING:
    import pandas as pd

    from mil_heatmaps.scores.scale import CohortScale

ACROSS, DOWN = 5, 3
_WIDTH, _HEIGHT, _MARGIN, _HEAD = 13.33, 7.5, 0.4, 1.05  # a slide of a presentation
_BAR = 2.6


def write_overview(
    folder: Path, run: StudyRun, table: pd.DataFrame, curves: Sequence[Curve], patients: Mapping[str, str] | None
) -> list[Path]:
    """Write ``overview.pdf`` with all pages and ``overview_1.png``, ...; return the paths.

    `table` is `outcome_table`, `curves` are `roc_curves`; without labels the last page is left out.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "overview.pdf"]
    with atomic_path(paths[0]) as partial, PdfPages(partial, metadata={"CreationDate": None}) as pdf:
        for number, page in enumerate(_pages(run, table, curves, patients), start=1):
            pdf.savefig(page.figure, dpi=200)
            paths.append(folder / f"overview_{number}.png")
            save_picture(paths[-1], page.rendered())
    for stale in folder.glob("overview_*.png"):  # left from an earlier run with more pages
        if stale not in paths and stale.stem.removeprefix("overview_").isdigit():
            stale.unlink()
    return paths


def _pages(
    run: StudyRun, table: pd.DataFrame, curves: Sequence[Curve], patients: Mapping[str, str] | None
) -> Iterator[Page]:
    rows = rows_of(sorted_by_probability(table))
    scale, first = _scale(run, rows)
    per_page = ACROSS * DOWN
    pages = max(1, -(-len(rows) // per_page))
    for number in range(pages):
        page = _grid(run, rows[number * per_page : (number + 1) * per_page], scale, number + 1, pages, table)
        if first is not None:
            _colour_bar(page, first, scale)
        yield page
    if table["class"].notna().any():
        yield _statistics(run, table, curves, patients)


def _scale(run: StudyRun, rows: Sequence[Mapping[str, Any]]) -> tuple[CohortScale, QuickScores | None]:
    """Return one scale for all drawn scores, and the first of these scores."""
    columns: list[tuple[str, npt.NDArray[Any]]] = []
    first: QuickScores | None = None
    for row in rows:
        read = _read(run, row)
        if read is not None:
            first = first or read
            columns.append((read.scores.kind, drawn_column(read).scores))
    return one_scale(columns), first


def _colour_bar(page: Page, first: QuickScores, scale: CohortScale) -> None:
    """Draw the colours of all maps over white, with what the two ends stand for."""
    scaled, cmap = on_scale(first, drawn_column(first), scale)
    colours = tint(255, colour_table(cmap).astype(float))
    axes = page.axes(_WIDTH - _MARGIN - _BAR, 0.3, _BAR, 0.14)
    axes.imshow(colours[None], aspect="auto", interpolation="none")
    bare(axes)
    ends = (number_words(scaled.vmin), number_words(scaled.vmax))
    for at, text, align in ((0.0, ends[0], "left"), (1.0, ends[1], "right")):
        axes.text(at, -0.35, text, transform=axes.transAxes, fontsize=SMALL, color=INK, ha=align, va="top")
    said = f"{score_words(first.scores.score, first.scores.kind)}: {scaled.label}"
    page.write(_WIDTH - _MARGIN, 0.7, short(said, 90), fontsize=SMALL, color=GREY, va="center", ha="right")


def _read(run: StudyRun, row: Mapping[str, Any]) -> QuickScores | None:
    try:
        return read_quickly(run.slides[row["slide_id"]].scores)
    except (HeatmapError, OSError):
        return None


def _grid(
    run: StudyRun, rows: Sequence[Mapping[str, Any]], scale: CohortScale, number: int, pages: int, table: pd.DataFrame
) -> Page:
    page = Page(_WIDTH, _HEIGHT)
    classes = classes_of(table)
    name = short(run.name, 50) + (f"  ({number} of {pages})" if pages > 1 else "")
    page.write(_MARGIN, 0.38, name, fontsize=TITLE, weight="bold", color=INK, va="center")
    order = f"the probability of {classes[1]}" if len(classes) == 2 else "prediction and probability"
    words = f"{counted(len(table), 'slide')}, sorted by {order}; one colour scale for all slides"
    page.write(_MARGIN, 0.7, words, fontsize=TEXT, color=GREY, va="center")
    width = (_WIDTH - 2 * _MARGIN + 0.2) / ACROSS
    height = (_HEIGHT - _HEAD - 0.35) / DOWN
    without = 0
    for nth, row in enumerate(rows):
        y, x = divmod(nth, ACROSS)
        left, top = _MARGIN + x * width, _HEAD + y * height
        right = row["right"]
        colour = LINE if right is None or right != right else GOOD if right else BAD
        axes = page.axes(left, top, width - 0.2, height - 0.5)
        read = _read(run, row)
        if read is not None:
            picture = picture_without_colours(run, run.slides[row["slide_id"]])
            without += picture is None
            pixels = thumbnail(read, drawn_column(read), scale, picture)
            axes.imshow(_padded(pixels, (width - 0.2) / (height - 0.5)), aspect="auto", interpolation="antialiased")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(colour)
            spine.set_linewidth(2.4)
        page.write(left, top + height - 0.38, short(str(row["slide_id"]), 27), fontsize=SMALL, color=INK, va="center")
        page.write(left, top + height - 0.22, _caption(row), fontsize=SMALL, va="center",
                   color=GREY if colour == LINE else colour)  # fmt: skip
    foot = "frame: green right, red wrong, grey without a label that names a class"
    foot += f"; {without} here without a picture of the slide (save_orig)" if without else ""
    page.write(_MARGIN, _HEIGHT - 0.16, foot, fontsize=SMALL, color=GREY, va="center")
    return page


def _padded(pixels: npt.NDArray[np.uint8], ratio: float) -> npt.NDArray[np.uint8]:
    """Return a picture with white added so that its width is `ratio` times its height."""
    high, wide = pixels.shape[:2]
    x, y = max(0, round(high * ratio) - wide), max(0, round(wide / ratio) - high)
    return np.pad(pixels, ((y // 2, y - y // 2), (x // 2, x - x // 2), (0, 0)), constant_values=255)


def _caption(row: Mapping[str, Any]) -> str:
    if isinstance(row["predicted"], str) and row["p"] == row["p"]:
        label = row["class"] if isinstance(row["class"], str) else row["label"] or "no label"
        if f"p_{row['predicted']}" not in row:
            return short(f"{label} → {row['predicted']}", 34)
        return f"{short(str(label), 12)} → {short(row['predicted'], 12)} {row['p']:.2f}"
    return short(str(row["error"]), 34)


def _statistics(
    run: StudyRun, table: pd.DataFrame, curves: Sequence[Curve], patients: Mapping[str, str] | None
) -> Page:
    page = Page(_WIDTH, _HEIGHT)
    page.write(_MARGIN, 0.38, short(run.name, 50), fontsize=TITLE, weight="bold", color=INK, va="center")
    known = int(table["class"].notna().sum())
    words = f"{known} of {counted(len(table), 'slide')} have a label that names a class"
    page.write(_MARGIN, 0.7, words, fontsize=TEXT, color=GREY, va="center")
    counts = confusion(table)
    names, numbers = [short(str(name), 18) for name in counts.index], counts.to_numpy(int)
    side = 4.6
    axes = page.axes(1.9, 1.45, side, side)
    shares = numbers / numbers.sum(axis=1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i in range(len(names)):
        for j in range(len(names)):
            axes.text(j, i, str(numbers[i, j]), ha="center", va="center", fontsize=TEXT + 2,
                      color="white" if shares[i, j] > 0.6 else INK)  # fmt: skip
    axes.set_xticks(range(len(names)), names, fontsize=SMALL, rotation=30 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted", fontsize=TEXT, color=INK)
    axes.set_ylabel("label", fontsize=TEXT, color=INK)
    axes.set_title("slides by label and prediction", loc="left", fontsize=TEXT, color=GREY, pad=6)
    roc = page.axes(7.7, 1.45, side, side)
    roc.plot([0, 1], [0, 1], color=LINE, linewidth=1.0, linestyle=(0, (4, 3)))
    for curve in curves:
        label = f"{short(curve.name, 16)}: {curve.auroc.words}"
        roc.plot(curve.false_positive, curve.true_positive, linewidth=1.8, label=label)
    if curves:
        roc.legend(loc="lower right", fontsize=SMALL, frameon=False, title="AUROC", title_fontsize=SMALL)
    else:
        why = "labelled slides are all of one class:\nno ROC curve"
        roc.text(0.5, 0.3, why, ha="center", fontsize=TEXT, color=GREY)
    roc.set_xlim(-0.01, 1.01)
    roc.set_ylim(-0.01, 1.01)
    roc.set_xlabel("false positive rate", fontsize=TEXT, color=INK)
    roc.set_ylabel("true positive rate", fontsize=TEXT, color=INK)
    roc.set_title("ROC, each class against the others", loc="left", fontsize=TEXT, color=GREY, pad=6)
    roc.tick_params(labelsize=SMALL, colors=GREY)
    roc.grid(color=PALE, linewidth=0.8)
    method = curves[0].auroc.method + "; " if curves else ""
    page.write(_MARGIN, _HEIGHT - 0.2, f"{method}{resampling_words(patients)}", fontsize=SMALL, color=GREY, va="center")
    return page
