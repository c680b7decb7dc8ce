"""Files of sampled patches: one PNG per patch under CLAM's names, a table, and a contact sheet."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import csv_text
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.fonts import figure_font
from mil_heatmaps.visualization.picture_files import FileFacts, save_picture
from mil_heatmaps.visualization.sampling import SampledPatch
from mil_heatmaps.words import numbers_apart, printable

_INK, _GREY, _FRAME, _PAPER = (25, 28, 33), (110, 116, 125), (205, 209, 214), (255, 255, 255)
_TILE_PX = 224
_COLUMNS = ("rank", "percentile", "score", "x", "y", "index", "file")


def write_samples(
    folder: str | os.PathLike[str],
    slide_id: str,
    patches: Sequence[SampledPatch],
    *,
    title: str = "",
    score_name: str = "score",
    facts: Sequence[str] = (),
    table: bool = True,
    sheet: bool = True,
    icc_profile: bytes | None = None,
) -> list[Path]:
    """Write the pictures, ``{slide_id}_patches.csv`` and ``{slide_id}_contact_sheet.png``; return all paths.

    Pictures are named ``{i}_{slide_id}_x_{x}_y_{y}_a_{percentile:.3f}.png``, where `i` counts from 0. Without patches,
    nothing is written.
    """
    if not patches:
        return []
    place, file_facts = Path(folder), FileFacts(icc_profile=icc_profile)
    paths = [place / patch_file_name(i, slide_id, patch) for i, patch in enumerate(patches)]
    for path, patch in zip(paths, patches, strict=True):
        save_picture(path, patch.image, facts=file_facts)
    if table:
        paths.append(place / f"{slide_id}_patches.csv")
        write_text(paths[-1], _table(slide_id, patches))
    if sheet:
        paths.append(place / f"{slide_id}_contact_sheet.png")
        shown = contact_sheet(patches, title=title or slide_id, score_name=score_name, facts=facts)
        save_picture(paths[-1], shown, facts=file_facts)
    return paths


def _table(slide_id: str, patches: Sequence[SampledPatch]) -> str:
    rows = (
        (
            patch.rank, f"{patch.percentile:.3f}", repr(patch.score), *patch.coords_l0, patch.index,
            patch_file_name(i, slide_id, patch),
        )
        for i, patch in enumerate(patches)
    )  # fmt: skip
    return csv_text(_COLUMNS, rows)


def patch_file_name(position: int, slide_id: str, patch: SampledPatch) -> str:
    """Return CLAM's name for a sampled patch."""
    x, y = patch.coords_l0
    return f"{position}_{slide_id}_x_{x}_y_{y}_a_{patch.percentile:.3f}.png"


def contact_sheet(
    patches: Sequence[SampledPatch], *, title: str, score_name: str = "score", facts: Sequence[str] = ()
) -> UInt8Array:
    """Return all patches on one page, each above its rank, percentile and score; `facts` are lines of the head."""
    title, score_name, facts = printable(title), printable(score_name), [printable(fact) for fact in facts]
    columns = min(5, max(1, len(patches)))
    gap, caption, line = _TILE_PX // 12, _TILE_PX // 4, _TILE_PX // 10
    head = _TILE_PX // 3 + line * len(facts)
    rows = -(-len(patches) // columns)
    bold, plain = figure_font(_TILE_PX // 14, bold=True), figure_font(_TILE_PX // 16)
    titles = figure_font(_TILE_PX // 10, bold=True)
    told = max([titles.getlength(title), *(plain.getlength(fact) for fact in facts)])
    width = max(columns * (_TILE_PX + gap) + gap, int(told) + 2 * gap)
    values = numbers_apart([patch.score for patch in patches])
    sheet = Image.new("RGB", (width, head + rows * (_TILE_PX + caption + gap)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((gap, _TILE_PX // 6), title, _INK, titles, anchor="lm")
    for nth, fact in enumerate(facts):
        pen.text((gap, _TILE_PX // 6 + (nth + 1) * line), fact, _GREY, plain, anchor="lm")
    for i, patch in enumerate(patches):
        left, top = gap + i % columns * (_TILE_PX + gap), head + i // columns * (_TILE_PX + caption + gap)
        picture = _fitted(patch.image, _TILE_PX)
        x, y = left + (_TILE_PX - picture.shape[1]) // 2, top + (_TILE_PX - picture.shape[0]) // 2
        sheet.paste(Image.fromarray(picture), (x, y))
        pen.rectangle((x - 1, y - 1, x + picture.shape[1], y + picture.shape[0]), outline=_FRAME)
        below = top + _TILE_PX + caption // 3
        pen.text((left, below), f"#{patch.rank}", _INK, bold, anchor="lm")
        pen.text((left + _TILE_PX, below), f"percentile {patch.percentile:.1f}", _INK, bold, anchor="rm")
        pen.text((left, below + caption // 3), f"{score_name} {values[i]}".strip(), _GREY, plain, anchor="lm")
    return np.asarray(sheet)


def _fitted(image: UInt8Array, side_px: int) -> UInt8Array:
    scale = side_px / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
