"""The figure for people: a slide beside its heatmap, with everything needed to read it.

Slide and map side by side, a colour bar that names score, class, normalisation and range, a scale bar where the pixel
size is known, slide, label and prediction, the spread of the scores, the highest and the lowest patches. Drawn with
matplotlib's objects (no pyplot state), so that threads and processes can draw at once; the PNG holds pixels only, so
that equal input gives equal bytes.
"""

import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.scores.patch_scores import Prediction
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization import figure_parts as parts
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.faithfulness_words import EvidenceOutline, Faithfulness
from mil_heatmaps.visualization.figure_parts import BAD, GOOD, GREY, INK, SMALL, TEXT, TITLE
from mil_heatmaps.visualization.frame import Frame, choose_frame
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.patch_arguments import as_scores
from mil_heatmaps.visualization.picture_files import save_picture
from mil_heatmaps.visualization.sampling import Choice, Mode, SampledPatch, sample_patches
from mil_heatmaps.words import printable

DPI = 150
_PANEL_PX = 1000  # longer side of slide and map, before matplotlib fits them
_MARGIN, _GAP, _FOOT, _BAR, _LINE = 0.4, 0.3, 0.42, 1.6, 0.17  # inches
_PATCHES, _TILE, _CAPTION = 4, 1.12, 0.62
_BLOCK = _PATCHES * _TILE + (_PATCHES - 1) * 0.1, _TILE + _CAPTION
"""(width, height) of a row of patches."""
_SIDE = max(_BLOCK[0], 3.6), 2.3 + (2 * _BLOCK[1] + 0.3)
"""(width, height) of the histogram above two rows of patches."""
_SHOWN: tuple[tuple[Mode, str], ...] = (("topk", "highest"), ("reverse_topk", "lowest"))
_PANEL_MOST = 5.6

_CHARACTERS_AN_INCH = 15
_NOTICE_LINES = 6

_DETAILS = 4
"""So many further classes, or survival probabilities, stand beside the prediction."""


@dataclass(frozen=True)
class FigureText:
    """The words of a figure; whatever is left out is not shown.

    Attributes
    ----------
    score_name : str
        What the number is, such as ``attention``.
    class_name : str or None
        Whose score it is, when there is one a class or head.
    slide_id, label, model : str or None
    prediction : Prediction or None
    group : str or None
        Whether a risk or value is high or low, and beside what.
    method : str or None
        How the map was made, in a line of its own.
    notices : tuple of str
        What is to know of the slide, in red at the foot, before what is to know of the drawing.
    artefacts : tuple of Artefact
        What of the attention lies on artefacts, as a line of swatches above the foot.
    faithfulness : Faithfulness or None
        How far the map can be believed, at the foot.
    evidence : EvidenceOutline or None
        Outlined on the map, and told at the foot.
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
    artefacts: tuple[parts.Artefact, ...] = ()
    faithfulness: Faithfulness | None = None
    evidence: EvidenceOutline | None = None


def write_figure(
    path: str | os.PathLike[str],
    drawing: Drawing,
    scores: npt.ArrayLike,
    text: FigureText | None = None,
    *,
    legend: bool = True,
) -> None:
    """Write the figure as PNG, JPEG or any format of `save_picture`; see `draw_figure`."""
    save_picture(path, draw_figure(drawing, scores, text, legend=legend))


def draw_figure(
    drawing: Drawing,
    scores: npt.ArrayLike,
    text: FigureText | None = None,
    *,
    legend: bool = True,
) -> UInt8Array:
    """Return the figure of a drawing, (height, width, 3), 150 dots an inch.

    Parameters
    ----------
    drawing : Drawing
        Any scale and region; the map is drawn anew at the size of the figure.
    scores : (N,)
        Of the drawing's patches, for the histogram and the captions.
    text : FigureText
    legend : bool
        With the colour bar and the scale bar.
    """
    own = as_scores(scores, len(drawing.grid))
    return compose_figure(drawing, own, text or FigureText(), legend=legend).rendered()


class Page:
    """A figure whose axes are placed in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure: Figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def write(self, left: float, top: float, words: str, **style: Any) -> Any:
        return self.figure.text(left / self.width, 1 - top / self.height, printable(words, "\n"), **style)

    def rendered(self) -> UInt8Array:
        """Return the pixels, (height, width, 3)."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def compose_figure(drawing: Drawing, scores: npt.NDArray[Any], text: FigureText, *, legend: bool) -> Page:
    """Return the page of `draw_figure` with everything on it, as matplotlib's objects."""
    small = replace(drawing, frame=panel_frame(drawing), blur_px=None)
    slide_alone = replace(small, alpha=0.0, blank_canvas=False, tissue=None, smooth="none")
    pictures = [panel_picture(draw(slide_alone)), panel_picture(draw(small))]
    high = pictures[0].shape[0] / pictures[0].shape[1]
    width = _PANEL_MOST if high <= 1 else max(_PANEL_MOST / high, 1.6)
    head = 0.78 if text.label is None and text.prediction is None else 1.1
    panel = width, width * high
    bar = _BAR if legend else 0.0
    tall = high > 1.15
    if tall:
        content = 2 * panel[0] + _GAP + bar + 2 * _GAP + _SIDE[0]
        body = max(panel[1], _SIDE[1])
    else:
        content = max(2 * panel[0] + _GAP + bar, 3.0 + 2 * (_BLOCK[0] + 2 * _GAP))
        body = panel[1] + 0.55 + _BLOCK[1] + 0.1
    notices = _notice_lines((*text.notices, *drawing.notes), content)
    said = _said_lines(text, content)
    lines = bool(text.method) + max(len(notices) - 1, 0) + len(said) + 2 * bool(text.artefacts)
    foot = _FOOT + _LINE * lines
    page = Page(2 * _MARGIN + content, head + body + foot)
    _write_head(page, drawing, text)
    for nth, (picture, title) in enumerate(zip(pictures, (_slide_title(drawing), _map_title(drawing)), strict=True)):
        axes = page.axes(_MARGIN + nth * (panel[0] + _GAP), head, *panel)
        parts.show_picture(axes, picture, title)
        if drawing.region is not None:
            parts.draw_outlines(axes, drawing.region, drawing.frame)
        if nth and text.evidence is not None:
            parts.draw_outlines(axes, text.evidence.outlines_l0, drawing.frame)
        if legend and drawing.slide.mpp is not None:
            width_l0 = drawing.frame.size_px[0] * drawing.frame.downsample[0]
            parts.draw_scale_bar(axes, width_l0 * drawing.slide.mpp)
    if legend:
        name = f"{text.score_name} · {text.class_name}" if text.class_name else text.score_name
        left = _MARGIN + 2 * panel[0] + _GAP + 0.2
        parts.draw_colour_bar(page.axes(left, head, 0.17, panel[1]), drawing, name)
    if tall:
        corner = _MARGIN + 2 * panel[0] + _GAP + bar + 2 * _GAP, head
        _draw_column(page, corner, drawing, scores, text)
    else:
        _draw_row(page, (_MARGIN, head + panel[1] + 0.55), drawing, scores, text)
    _write_foot(page, drawing, text, notices, said)
    return page


def _slide_title(drawing: Drawing) -> str:
    """Name the left picture; of a region say that the prediction is not about it alone."""
    return "slide" if drawing.frame.whole else "region of interest (the prediction is of the whole slide)"


def _among(drawing: Drawing, text: FigureText) -> str:
    """Say that patches are ranked among those drawn, where the colours or the slide have others besides."""
    return "" if drawing.frame.whole and not text.method else " of those drawn"


def _draw_column(
    page: Page, corner: tuple[float, float], drawing: Drawing, scores: npt.NDArray[Any], text: FigureText
) -> None:
    """Histogram, highest and lowest patches from top to bottom."""
    left, top = corner
    parts.draw_histogram(page.axes(left + 0.35, top, _SIDE[0] - 0.35, 1.65), scores, drawing, text.score_name)
    for mode, title in _SHOWN:
        top += 2.6 if mode == "topk" else _TILE + _CAPTION + 0.3
        _draw_patches(page, (left, top), title + _among(drawing, text), _sampled(drawing, scores, mode))


def _draw_row(
    page: Page, corner: tuple[float, float], drawing: Drawing, scores: npt.NDArray[Any], text: FigureText
) -> None:
    """Histogram, highest and lowest patches from left to right."""
    left, top = corner
    room = page.width - 2 * _MARGIN - 2 * (_BLOCK[0] + 2 * _GAP)
    parts.draw_histogram(page.axes(left + 0.35, top, room - 0.35, 1.25), scores, drawing, text.score_name)
    for nth, (mode, title) in enumerate(_SHOWN):
        place = left + room + 2 * _GAP + nth * (_BLOCK[0] + 2 * _GAP), top
        _draw_patches(page, place, title + _among(drawing, text), _sampled(drawing, scores, mode))


def _draw_patches(page: Page, corner: tuple[float, float], title: str, patches: Sequence[SampledPatch]) -> None:
    if patches:
        page.write(corner[0], corner[1] - 0.09, title, fontsize=TEXT, color=GREY, va="bottom")
    for nth, patch in enumerate(patches):
        parts.draw_patch(page.axes(corner[0] + nth * (_TILE + 0.1), corner[1], _TILE, _TILE), patch)


def _sampled(drawing: Drawing, scores: npt.NDArray[Any], mode: Mode) -> list[SampledPatch]:
    slide, size_l0 = drawing.slide, drawing.grid.size_l0
    level = slide.level_for_downsample(max(1.0, max(size_l0) / (_TILE * DPI)))
    factors = slide.level_downsamples[level]
    size = max(1, round(size_l0[0] / factors[0])), max(1, round(size_l0[1] / factors[1]))
    return sample_patches(scores, drawing.grid, slide, Choice(_PATCHES, mode), size_px=size, level=level)


def panel_frame(drawing: Drawing) -> Frame:
    """Return the drawing's frame at the size of a panel, or the next finer level for a region."""
    frame, slide = drawing.frame, drawing.slide
    longer_l0 = max(side * factor for side, factor in zip(frame.size_px, frame.downsample, strict=True))
    wanted = max(1.0, longer_l0 / _PANEL_PX)
    if frame.whole:
        return choose_frame(slide, downsample=wanted)
    corners = [round(c + s * f) for c, s, f in zip(frame.corner_l0, frame.size_px, frame.downsample, strict=True)]
    level = slide.level_for_downsample(wanted)
    return choose_frame(slide, level, top_left=frame.corner_l0, bot_right=corners)


def panel_picture(picture: UInt8Array) -> UInt8Array:
    """Return a picture no larger than a panel needs."""
    scale = _PANEL_PX / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _map_title(drawing: Drawing) -> str:
    opacity = "colours alone" if drawing.alpha == 1 else f"heatmap, colours at {drawing.alpha:.0%}"
    return opacity if drawing.smooth == "none" else f"{opacity}, smoothed ({drawing.smooth})"


def _write_head(page: Page, drawing: Drawing, text: FigureText) -> None:
    name = parts.short(text.slide_id or drawing.slide.slide_id, 90)
    page.write(_MARGIN, 0.36, name, fontsize=TITLE, weight="bold", color=INK, va="center")
    left = _MARGIN
    prediction = text.prediction
    pieces: list[tuple[str, str, str]] = []
    if text.label is not None:
        pieces.append(("label ", text.label, INK))
    if prediction is not None:
        what, value = prediction.headline
        colour = INK
        if prediction.task == "classification" and text.label in prediction.classes:
            colour = GOOD if prediction.classes[prediction.predicted] == text.label else BAD
        pieces.append((f"{what} ", parts.short(value, 80), colour))
        if text.group:
            pieces.append(("", text.group, INK))
        details = prediction.details
        more = f"{len(details) - _DETAILS} more" if len(details) > _DETAILS else ""
        pieces.append((parts.join([*details[:_DETAILS], more]), "", GREY))
    for words, strong, colour in pieces:
        for content, style in ((words, {"color": GREY}), (strong, {"color": colour, "weight": "bold"})):
            if content:
                left = _after(page, page.write(left, 0.69, content, fontsize=TEXT + 0.5, va="center", **style))
        left += 0.22


def _after(page: Page, written: Any) -> float:
    """Return where words end, in inches from the left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(page.figure).get_renderer()
    # Spaces at the end have no extent of their own.
    spaces = len(written.get_text()) - len(written.get_text().rstrip())
    return float(written.get_window_extent(renderer).x1) / DPI + 0.045 * spaces


def _notice_lines(notices: Iterable[str], width: float) -> list[str]:
    """Return the notices, each once, as lines no wider than `width` inches; the last says how many are left out."""
    most = int(width * _CHARACTERS_AN_INCH)
    joined = textwrap.wrap(parts.join(list(dict.fromkeys(notices))), most, break_on_hyphens=False)
    if len(joined) <= _NOTICE_LINES:
        return joined
    return [*joined[: _NOTICE_LINES - 1], "… and more: the column `notes` of the process list has them all"]


def _said_lines(text: FigureText, width: float) -> list[tuple[str, str]]:
    """Return lines and their colours: how far the map can be believed, how that was measured, what is outlined."""
    most = int(width * _CHARACTERS_AN_INCH)
    lines: list[tuple[str, str]] = []
    if (faithful := text.faithfulness) is not None:
        colour = BAD if faithful.doubtful else INK
        lines += [(line, colour) for line in parts.wrapped(faithful.sentence, most)]
        lines += [(line, GREY) for line in parts.wrapped(faithful.method, most)]
    if text.evidence is not None:
        lines += [(line, INK) for line in parts.wrapped(text.evidence.words, most)]
    return lines


def _write_foot(
    page: Page, drawing: Drawing, text: FigureText, notices: Sequence[str], said: Sequence[tuple[str, str]]
) -> None:
    slide, size = drawing.slide, drawing.grid.size_l0
    patch = f"patches {size[0]} × {size[1]} px at level 0"
    if slide.mpp is not None:
        patch += f" ({size[0] * slide.mpp:.0f} µm)"
    resolution = f"{slide.mpp:.4g} µm/px" if slide.mpp is not None else "pixel size unknown, so no scale bar"
    if slide.resolution.by_hand:
        resolution += f", given by hand ({slide.resolution.source})"
    known = parts.join([text.model or "", patch, resolution, f"colormap {drawing.cmap}"])
    # From the bottom upwards.
    method = [(text.method, GREY)] if text.method else []
    lines = [(known, GREY), *method, *said[::-1], *((line, BAD) for line in notices[::-1])]
    for nth, (words, colour) in enumerate(lines):
        page.write(_MARGIN, page.height - 0.2 - nth * _LINE, words, fontsize=SMALL, color=colour, va="center")
    if text.artefacts:
        top = page.height - 0.28 - len(lines) * _LINE - 0.12
        parts.draw_artefacts(page.axes(_MARGIN, top, page.width - 2 * _MARGIN, 0.2), text.artefacts)
