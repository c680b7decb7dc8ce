"""Find patches like a given one in a run's slides: a list with scores and labels, and a sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mil_heatmaps.cohort.jobs import layout_of
from mil_heatmaps.config.config import Config
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import frame_text
from mil_heatmaps.insight.runs import StudyRun
from mil_heatmaps.insight.similar_patches import similar_patches
from mil_heatmaps.insight.study_files import StudyFiles
from mil_heatmaps.insight.tables import rows_of
from mil_heatmaps.records.layout import safe_name
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_parts import GREY, INK, SMALL, TEXT, TITLE, bare, short
from mil_heatmaps.visualization.picture_files import save_picture
from mil_heatmaps.words import counted

_ACROSS, _TILE, _LINE = 10, 1.05, 1.62


def search_run(
    config: Config, folder: Path, slide_id: str, place: tuple[int, int], say: Callable[[str], None] = print
) -> list[Path]:
    """Write ``where_else_<slide>_<x>_<y>.csv``, ``.json`` and ``.png``; return the paths.

    Parameters
    ----------
    place : (x, y)
        Level-0 pixels; the patch that contains the place is the query.

    Raises
    ------
    ConfigError
        There is no such slide, or no patch at the place.
    """
    run, layout = StudyRun(folder), layout_of(config)
    layout.clear_beside_slides()
    with StudyFiles(run) as files:
        found = similar_patches(run, files, slide_id, place, say)
        query, *table = rows_of(found)
        stem = f"where_else_{safe_name(slide_id)}_{query['x']}_{query['y']}"
        out = layout.insight
        out.mkdir(parents=True, exist_ok=True)
        _write_sheet(out / f"{stem}.png", query, table, files)
    write_text(out / f"{stem}.csv", frame_text(found.iloc[1:]))
    told = {"format": "mil-heatmaps where else", "version": 1, "query": query, "patches": table}
    write_text(out / f"{stem}.json", json.dumps(told, indent=1))
    return [out / f"{stem}.{ending}" for ending in ("csv", "json", "png")]


def _write_sheet(path: Path, query: dict[str, Any], table: list[dict[str, Any]], files: StudyFiles) -> None:
    rows = max(1, -(-len(table) // _ACROSS))
    page = Page(1.0 + (_ACROSS + 1) * (_TILE + 0.1), 1.15 + rows * _LINE + 0.3)
    page.write(0.35, 0.36, "Where else?", fontsize=TITLE, weight="bold", color=INK, va="center")
    page.write(0.35, 0.68, _shares(table), fontsize=TEXT, color=GREY, va="center")
    for nth, patch in enumerate([query, *table]):
        line, column = divmod(nth - 1, _ACROSS)
        at = (0.35, 1.1) if not nth else (0.65 + (column + 1) * (_TILE + 0.1), 1.1 + line * _LINE)
        axes = page.axes(*at, _TILE, _TILE)
        try:
            pixels = files.picture(patch)
        except HeatmapError:
            pixels = None
        if pixels is not None:
            axes.imshow(pixels, aspect="auto", interpolation="antialiased")
        bare(axes)
        said = "asked for" if not nth else f"{patch['cosine']:.4f}"
        lines = [said, short(str(patch["slide_id"]), 16), f"rank {patch['rank']:.2f} {short(patch['label'], 9)}"]
        for number, words in enumerate(lines):
            axes.text(0, -0.06 - 0.13 * number, words, transform=axes.transAxes, fontsize=SMALL - 0.5, va="top",
                      color=INK if number == 0 else GREY)  # fmt: skip
    save_picture(path, page.rendered())


def _shares(table: list[dict[str, Any]]) -> str:
    """Return the share of each label among the patches, for the line below the title."""
    labels = [row["label"] or "no label" for row in table]
    parts = ", ".join(f"{name} {labels.count(name) / len(labels):.0%}" for name in sorted(set(labels)))
    slides = len({row["slide_id"] for row in table})
    found = f"{counted(len(table), 'patch', 'patches')} of {counted(slides, 'slide')}"
    return f"{found} by cosine, at most three a slide; {parts}"
